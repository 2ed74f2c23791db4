"""SAM 2.1 and MedSAM2."""
