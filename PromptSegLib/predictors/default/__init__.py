"""The default model: small networks that ship inside, trained on synthetic images alone."""
