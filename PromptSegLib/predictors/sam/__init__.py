"""Segment Anything and its medical relatives: SAM, SAM-Med2D, FT-SAM, MedSAM."""
