"""MONAI bundles: networks with their preparation, as metadata.json and inference.json describe them."""
