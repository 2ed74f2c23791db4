"""What systems share that find structures by name."""
