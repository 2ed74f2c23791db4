"""Interactive segmentation of medical images: prompts in, labelmaps out."""
