"""How long somebody works on a case: pauses are not counted."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_LOOK_S = 60.0
"""Somebody who does nothing for longer looks at something else: of a longer time without a sign, so much counts."""


class Stopwatch:
    """Counts from one sign of somebody to the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest = clock()
        self._seconds = 0.0

    def touch(self) -> None:
        """Note that somebody did something."""
        now = self._clock()
        self._seconds += min(now - self._newest, LONGEST_LOOK_S)
        self._newest = now

    def take(self) -> float:
        """Return the seconds since this was asked last, up to now."""
        self.touch()
        seconds, self._seconds = self._seconds, 0.0
        return seconds
