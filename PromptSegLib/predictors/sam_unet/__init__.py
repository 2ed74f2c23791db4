"""The networks of SAM-UNet."""
