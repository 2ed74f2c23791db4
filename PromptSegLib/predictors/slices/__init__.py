"""What systems share that look at one slice at a time, and how they are carried through a volume."""
