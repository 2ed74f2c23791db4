"""The commands of the command line, one file each: `add_parser` declares it, what it sets as `run` does it."""
