"""Arrays as the bytes of a file, compressed piece by piece; and how much a compressed file may unpack to."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError

_PIECE_BYTES = 1 << 22

MOST_RATIO = 200
"""Images seldom shrink to a tenth; only what is empty shrinks to a thousandth, which is the most that deflate can."""
SMALL_BYTES = 400_000_000
"""Voxels that may shrink as they like: labelmaps are empty but for a structure. 512 x 512 x 1500 of one byte."""
LARGE_BYTES = 1 << 30
"""Voxels of which it is said first, in the log, that they are going to be read."""

_log = logging.getLogger(__name__)


def check_claim(path: object, claimed_bytes: int, stored_bytes: int) -> None:
    """Compare the bytes of voxels that the header of `path` claims, as they will be in memory, with those in files.

    Raises:
        VolumeError: no image shrinks like that: 2 MB of a .nii.gz can unpack to 2 GB.
    """
    if claimed_bytes > max(SMALL_BYTES, MOST_RATIO * stored_bytes):
        raise VolumeError(
            f"expected a file whose size explains its voxels, got {path}: {stored_bytes:,} bytes claim "
            f"{claimed_bytes:,}; if that is right, save it uncompressed"
        )
    if claimed_bytes > LARGE_BYTES:
        _log.warning("%s is large: its voxels take %.1f GB in memory", path, claimed_bytes / 1e9)


def voxel_chunks(array: NDArray[Any]) -> Iterator[bytes]:
    """Yield the little-endian bytes of `array`, its last axis fastest."""
    flat = array.reshape(-1)
    step = _PIECE_BYTES // array.dtype.itemsize
    for start in range(0, flat.size, step):
        yield flat[start : start + step].astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def compressed(chunks: Iterator[bytes], gzip: bool) -> Iterator[bytes]:
    """Yield `chunks` compressed, with a header and checksum as gzip files have them, or as zlib's streams."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31 if gzip else 15)
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()
