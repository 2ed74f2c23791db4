"""VISTA3D: 127 structures in CT, by name or click."""
