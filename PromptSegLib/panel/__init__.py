"""What the panel shows and asks, without Qt."""
