"""Systems that turn prompts into masks, one file each."""
