"""Predictions in a process of their own: volumes through shared memory, prompts and answers through pipes."""
