"""Slicer's scene and views without the application: for scripts, pictures and tests."""
