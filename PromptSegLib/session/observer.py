"""What a session tells its host."""

from __future__ import annotations

from collections.abc import Mapping

from PromptSegLib.errors import PromptSegError
from PromptSegLib.geometry import Extent


class SessionObserver:
    """Told what changes in a session, on the session's thread. Override what you need."""

    def prompts_changed(self, target: str) -> None:
        """The prompts of `target` changed."""

    def masks_changed(self, boxes: Mapping[str, Extent]) -> None:
        """The masks of these targets changed within these boxes."""

    def answer_changed(self, target: str) -> None:
        """The newest answer to the prompts of `target` is another one, or there is none any more."""

    def busy_changed(self, busy: bool) -> None:
        """A prediction started, or the last one ended."""

    def progress(self, fraction: float, what: str) -> None:
        """The running prediction got so far, 0 to 1."""

    def failed(self, error: PromptSegError) -> None:
        """A prediction failed; prompts and masks are as they were before the prompt that started it."""
