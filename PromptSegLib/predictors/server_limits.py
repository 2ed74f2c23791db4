"""What a server may take and send: time limits of whole requests, and the most bytes of an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

SMALL_BYTES = 16 << 20
"""Of an answer without voxels, and on top of one with them."""


class AnswerError(ValueError):
    """An answer that is none, or more than was asked for."""


class TimeLimits:
    """Ends requests of an httpx client when their time is over: time limits of single reads know no sum."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def begin(self, request: Any) -> None:
        """Begin to count: to be called for a request before it is sent; its own limits are added up."""
        is_large = int(request.headers.get("Content-Length", 0)) > SMALL_BYTES
        steps = ("pool", "connect", "write", "read") if is_large else ("connect", "read")
        limits = request.extensions.get("timeout", {})
        timer = threading.Timer(sum(limits.get(step) or 0.0 for step in steps), self._end_connections)
        timer.daemon = True
        timer.start()
        request.extensions["promptseg_timer"] = timer
        request.extensions["trace"] = self._traced

    @staticmethod
    def end(request: Any) -> None:
        """Count no further: the answer is here, or there will be none."""
        timer = request.extensions.get("promptseg_timer")
        if timer is not None:
            timer.cancel()

    def _traced(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            found = info["return_value"].get_extra_info("socket")
            if found is not None:
                self._sockets = [*self._sockets[-7:], found]

    def _end_connections(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def check_uncompressed(response: Any) -> None:
    """Raise AnswerError for an answer that is packed by the way: a small one could unpack to anything."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise AnswerError("it is compressed, which was not asked for")


def bounded(stream: Any, most_bytes: int) -> Any:
    """Return the stream of an answer's bytes, which ends in an AnswerError when there are too many."""
    import httpx

    class Bounded(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            left = most_bytes
            for piece in stream:
                left -= len(piece)
                if left < 0:
                    raise AnswerError(f"it has more than the {most_bytes:,} bytes that an answer can have")
                yield piece

        def close(self) -> None:
            stream.close()

    return Bounded()
