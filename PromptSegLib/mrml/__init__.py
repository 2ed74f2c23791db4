"""The MRML scene: nodes in, segments out. Takes nodes and scenes as arguments; knows neither Qt nor the application."""
