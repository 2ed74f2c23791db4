"""A worker's standard input and error as its parent has them: neither keeps it waiting, nor fills its memory."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from typing import IO

_AT_ONCE_S = 0.05
_KEPT_BYTES = 16 << 10
_LAST_WORDS = 2000  # Characters of what the worker printed that go into a message: some 25 lines.


class Outbox:
    """Writes to `sink` in a thread of its own: a pipe takes 64 KiB, then whoever writes waits for the other end.

    When the other end is gone, what is left is dropped.
    """

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._todo: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._is_empty = threading.Event()
        self._thread = threading.Thread(target=self._write, name="PromptSeg worker's outbox", daemon=True)
        self._thread.start()

    def put(self, content: bytes) -> None:
        """Have `content` written; waits a moment, in which it mostly is.

        Without that moment it would wait in Slicer for the next turn of a timer: only then do threads run there.
        """
        was_empty = self._is_empty.is_set() or self._todo.empty()
        self._is_empty.clear()
        self._todo.put(content)
        if was_empty:
            self._is_empty.wait(_AT_ONCE_S)

    def end(self) -> None:
        """Close the sink once all is written."""
        self._todo.put(None)

    def join(self) -> None:
        """Wait for the thread to end, which it does when all is written or the other end is gone."""
        self._thread.join(timeout=2.0)

    def _write(self) -> None:
        with suppress(OSError):
            while (content := self._todo.get()) is not None:
                self._sink.write(content)
                self._sink.flush()
                if self._todo.empty():
                    self._is_empty.set()
        self._is_empty.set()
        with suppress(OSError):
            self._sink.close()


class LastWords:
    """Reads `source` in a thread of its own to its end, and keeps the end only: a worker may print gigabytes."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._kept = b""
        self._thread = threading.Thread(target=self._read, name="PromptSeg worker's last words", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Return what was printed last, up to some 25 lines."""
        self._thread.join(timeout=1.0)
        return self._kept.decode(errors="replace").strip()[-_LAST_WORDS:]

    def close(self) -> None:
        """Let go of the source, unless a child of the worker still holds its other end."""
        self._thread.join(timeout=1.0)
        if not self._thread.is_alive():
            self._source.close()

    def _read(self) -> None:
        with suppress(OSError):
            while piece := os.read(self._source.fileno(), 1 << 16):
                self._kept = (self._kept + piece)[-_KEPT_BYTES:]
