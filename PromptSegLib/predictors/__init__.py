"""Systems that turn prompts into masks, a folder each, and the families that they belong to."""
