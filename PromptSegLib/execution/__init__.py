"""Where predictions run: at once, in a thread of its own, in a process of its own."""
