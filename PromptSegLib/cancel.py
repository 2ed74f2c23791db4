"""How a running computation is told to stop, and how it tells how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable

from PromptSegLib.errors import Cancelled

Progress = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1, and what is being done."""


def no_progress(fraction: float, what: str) -> None:
    """Ignore the progress."""


class CancelToken:
    """Set by whoever wants a computation to stop; checked by the computation between its steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise Cancelled when somebody asked for it."""
        if self._event.is_set():
            raise Cancelled("the prediction was cancelled")
