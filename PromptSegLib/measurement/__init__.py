"""What is measured of segments: sizes, intensities, lesions over time."""
