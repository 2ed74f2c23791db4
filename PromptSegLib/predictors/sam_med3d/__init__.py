"""SAM-Med3D."""
