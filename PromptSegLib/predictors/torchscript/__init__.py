"""TorchScript networks with a small description of what they want and find."""
