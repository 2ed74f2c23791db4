"""Segmentation by edges and intensities alone."""
