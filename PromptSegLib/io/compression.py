"""Arrays as the bytes of a file, compressed piece by piece."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

_PIECE_BYTES = 1 << 22


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
