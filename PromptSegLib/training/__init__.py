"""How the shipped default model is made: synthetic images, simulated prompts and the training on them."""
