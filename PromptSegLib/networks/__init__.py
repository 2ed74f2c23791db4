"""Network architectures as plain torch modules: no I/O, no geometry, no state."""
