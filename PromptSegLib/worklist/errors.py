"""What can be wrong with a list of cases."""

from __future__ import annotations

from PromptSegLib.errors import PromptSegError, VolumeError


class WorklistError(VolumeError):
    """A list of cases that cannot be read, or cannot be written."""


class CaseTakenError(PromptSegError, RuntimeError):
    """A case that is not in a state in which this may be done: somebody else has it, or has decided."""
