"""The sections of the PromptSeg module's panel."""
