"""What the user sees of a command: a progress bar, tables, JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from PromptSegLib.session.observer import SessionObserver

_BAR_WIDTH = 30
_PATIENCE_S = 0.5


class ProgressBar(SessionObserver):
    """A bar on standard error, where that is a terminal, once something has taken half a second.

    Args:
        is_wanted: False beside output for machines.
    """

    def __init__(self, is_wanted: bool = True) -> None:
        self._is_shown = False
        self._started = time.monotonic()
        self._has_a_reader = is_wanted and sys.stderr.isatty()

    def progress(self, fraction: float, what: str) -> None:
        if not self._has_a_reader or time.monotonic() - self._started < _PATIENCE_S:
            return
        filled = round(_BAR_WIDTH * min(max(fraction, 0.0), 1.0))
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        print(f"\r[{bar}] {fraction:4.0%} {what}\x1b[K", end="", file=sys.stderr, flush=True)
        self._is_shown = True

    def busy_changed(self, busy: bool) -> None:
        self._started = time.monotonic()
        if not busy:
            self.clear()

    def clear(self) -> None:
        """Wipe the bar away, so that a line can be printed in its place."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_shown = False


@contextmanager
def progress_bar(is_wanted: bool = True) -> Iterator[ProgressBar]:
    """Show the progress of one piece of work, and wipe it away when that ends, however it does.

    Args:
        is_wanted: False beside output for machines.
    """
    bar = ProgressBar(is_wanted)
    try:
        yield bar
    finally:
        bar.clear()


def warn(message: str) -> None:
    """Tell the user something that does not stop the command."""
    print(f"promptseg: {message}", file=sys.stderr)


def print_json(content: Any) -> None:
    """Print `content` for machines."""
    print(json.dumps(content, indent=1, allow_nan=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` in columns as wide as they need."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
