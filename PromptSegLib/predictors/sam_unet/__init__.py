"""SAM-UNet."""
