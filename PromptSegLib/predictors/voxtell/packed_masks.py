"""Masks as a VoxTell server packs them: a head, then chunks that blosc2 compressed; checked before unpacked."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.predictors.server_limits import AnswerError

_MAGIC = b"VXA2"
_HEADER_BYTES = 32  # of a compressed chunk; its length unpacked is in it
_UNPACKED_AT = 4


def unpacked(content: bytes, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Return the masks, of `shape`, bool, that `content` holds.

    Raises:
        AnswerError: it holds something else, claims more than that, or is cut off.
        ModuleNotFoundError: blosc2 is not here.
    """
    try:
        return _unpacked(content, tuple(shape))
    except (struct.error, IndexError) as error:
        raise AnswerError("its masks are cut off") from error


def _unpacked(content: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if content[:4] != _MAGIC:
        raise AnswerError("it holds no masks")
    at = 5 + content[4]
    kind, dimensions = content[5:at], content[at]
    claimed = struct.unpack_from(f"<{dimensions}q", content, at + 1)
    at += 1 + 8 * dimensions
    (total,) = struct.unpack_from("<Q", content, at)
    if kind not in (b"|u1", b"|b1") or claimed != shape or total != np.prod(shape):
        raise AnswerError(f"it claims masks of shape {claimed}, {total:,} bytes, where {shape} were asked for")
    at, done = at + 8, 0
    voxels = np.empty(total, np.uint8)
    while at < len(content):
        length, packed = struct.unpack_from("<QQ", content, at)
        chunk = content[at + 16 : at + 16 + packed]
        if len(chunk) != packed or packed < _HEADER_BYTES or done + length > total:
            raise AnswerError("its masks are not all there")
        if struct.unpack_from("<i", chunk, _UNPACKED_AT) != (length,):
            raise AnswerError("its chunks are longer than they say")
        voxels[done : done + length] = np.frombuffer(_decompressed(chunk), np.uint8)
        at, done = at + 16 + packed, done + length
    if done != total:
        raise AnswerError("its masks are not all there")
    masks: NDArray[np.bool_] = voxels.reshape(shape) != 0
    return masks


def _decompressed(chunk: bytes) -> Any:
    try:
        import blosc2
    except ImportError as error:
        raise ModuleNotFoundError("blosc2 is not installed here: pip install blosc2", name="blosc2") from error
    try:
        return blosc2.decompress(chunk)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise AnswerError(f"its masks cannot be unpacked: {error}") from error
