"""What a server answers, looked at before nnInteractive's client believes it: how much, how long, which voxels."""

from __future__ import annotations

import json
import math
import struct
from functools import cache
from typing import Any

from PromptSegLib.predictors.server_limits import SMALL_BYTES, AnswerError, TimeLimits, bounded, check_uncompressed

_MAGIC = b"NNIA"  # of the client's packed arrays: nnInteractive/inference/remote/serialization.py
_ITEM_BYTES = {b"bool": 1, b"uint8": 1, b"int8": 1}
_SHORTEST_CHUNK = 32  # bytes of a compressed chunk's own header


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
        self._limits = TimeLimits()

    def watch(self, http: Any) -> None:
        http.headers["Accept-Encoding"] = "identity"
        http.event_hooks = {"request": [self._limits.begin], "response": [self._answered]}

    def _answered(self, response: Any) -> None:
        """Read an answer that was just begun, and check it."""
        try:
            check_uncompressed(response)
            response.stream = bounded(response.stream, SMALL_BYTES + math.prod(self.shape))
            content = response.read()
        finally:
            self._limits.end(response.request)
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
