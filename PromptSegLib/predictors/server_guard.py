"""What a server answers, looked at before nnInteractive's client believes it: how much, how long, which voxels."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

_MAGIC = b"NNIA"  # of the client's packed arrays: nnInteractive/inference/remote/serialization.py
_SMALL_BYTES = 16 << 20  # of an answer without voxels, and on top of one with them
_ITEM_BYTES = {b"bool": 1, b"uint8": 1, b"int8": 1}
_SHORTEST_CHUNK = 32  # bytes of a compressed chunk's own header


class AnswerError(ValueError):
    """An answer that is none, or more than was asked for."""


@cache
def guarded(client: type[Any]) -> type[Any]:
    """Return a kind of `client`, nnInteractiveRemoteInferenceSession, whose answers are checked.

    An answer is at most as large as the mask; it arrives within the time limits of its request, all together, however
    slowly a server sends; it is not compressed by the way, where a small one could unpack to anything; and the box
    and the voxels in it lie within the image.
    """

    class Guarded(client):  # type: ignore[misc]
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "_http":
                # The client makes its connection and uses it at once: there is no later moment.
                guard = _Guard()
                object.__setattr__(self, "_guard", guard)
                guard.watch(value)
            super().__setattr__(name, value)

        def set_target_buffer(self, target_buffer: Any) -> None:
            self._guard.shape = tuple(target_buffer.shape)
            super().set_target_buffer(target_buffer)

    return Guarded


class _Guard:
    """Watches the requests of one client. shape: of the mask, once there is an image."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self._sockets: list[socket.socket] = []

    def watch(self, http: Any) -> None:
        http.headers["Accept-Encoding"] = "identity"
        http.event_hooks = {"request": [self._asked], "response": [self._answered]}

    def _asked(self, request: Any) -> None:
        """End the request's connection when its time is over: time limits of single reads know no sum."""
        is_large = int(request.headers.get("Content-Length", 0)) > _SMALL_BYTES
        steps = ("pool", "connect", "write", "read") if is_large else ("connect", "read")
        limits = request.extensions.get("timeout", {})
        timer = threading.Timer(sum(limits.get(step) or 0.0 for step in steps), self._end_connections)
        timer.daemon = True
        timer.start()
        request.extensions["promptseg_timer"] = timer
        request.extensions["trace"] = self._traced

    def _traced(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            found = info["return_value"].get_extra_info("socket")
            if found is not None:
                self._sockets = [*self._sockets[-7:], found]

    def _end_connections(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _answered(self, response: Any) -> None:
        """Read an answer that was just begun, and check it."""
        try:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise AnswerError("it is compressed, which was not asked for")
            response.stream = _bounded(response.stream, _SMALL_BYTES + math.prod(self.shape))
            content = response.read()
        finally:
            response.request.extensions["promptseg_timer"].cancel()
        self._check_box(response.headers.get("X-Meta"))
        if content.startswith(_MAGIC):
            _check_packed(content, math.prod(self.shape))

    def _check_box(self, text: str | None) -> None:
        box = json.loads(text).get("bbox") if text is not None else None
        if box is None:
            return
        sides = [(int(low), int(high)) for low, high in box]
        fits = (0 <= low <= high <= side for (low, high), side in zip(sides, self.shape, strict=True))
        if not all(fits):
            raise AnswerError(f"its box {sides} is not within the image, {self.shape}")


def _bounded(stream: Any, most_bytes: int) -> Any:
    """Return the stream of an answer's bytes, which ends in an error when there are too many."""
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


def _check_packed(content: bytes, voxels: int) -> None:
    """Refuse packed voxels that claim more than the mask has, or chunks that are not there."""
    try:
        dimensions, name_bytes = content[6], content[7]
        item_bytes = _ITEM_BYTES.get(content[8 : 8 + name_bytes], 0)
        at = 8 + name_bytes
        shape = struct.unpack_from(f"<{dimensions}q", content, at)
        (chunks,) = struct.unpack_from("<I", content, at + 8 * dimensions)
        at += 8 * dimensions + 4
        if item_bytes != 1 or min(shape, default=0) < 0 or math.prod(shape) > voxels:
            raise AnswerError(f"it claims a mask of shape {shape}, the image has {voxels:,} voxels")
        unpacked = 0
        for _ in range(chunks):
            claimed, packed = struct.unpack_from("<QQ", content, at)
            at += 16 + packed
            unpacked += claimed
            if packed < _SHORTEST_CHUNK or at > len(content) or unpacked > voxels:
                raise AnswerError("its voxels are not all there")
    except (struct.error, IndexError) as error:
        raise AnswerError("its voxels are cut off") from error
