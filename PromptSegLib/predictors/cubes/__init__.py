"""What systems share that look at cubes of a volume."""
