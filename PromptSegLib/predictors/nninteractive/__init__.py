"""nnInteractive, in process or on a server."""
