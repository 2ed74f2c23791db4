"""One image, its targets, their prompts and masks, and the history of both."""
