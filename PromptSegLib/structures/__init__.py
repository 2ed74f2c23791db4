"""Anatomical structures: their names, colours and codes."""
