"""The MRML scene: nodes in, segments out; nodes and scenes come as arguments, Qt and the application never."""
