"""The models that ship inside: small networks trained on synthetic images alone, and edges and intensities alone."""
