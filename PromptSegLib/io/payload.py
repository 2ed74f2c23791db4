"""The voxels of a NRRD or MetaImage file as bytes: unpacked, counted, and their checksum compared.

ITK fills what it cannot unpack with whatever lay in memory, and compares no checksum; hence this.
"""

from __future__ import annotations

import bz2
import io
import math
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError
from PromptSegLib.io.compression import check_claim

_PIECE_BYTES = 1 << 20

# Deflate packs no more than 1032 bytes into one: a header that promises more is damaged.
_BEST_COMPRESSION = 1032


@dataclass(frozen=True)
class Voxels:
    """Where the voxels of an image are, and how they are packed.

    kind: what people call the format. header: the file that tells all this.
    files: one, or several that follow each other, of as many voxels each. offset: where the (packed) voxels begin in
    each, -1 for as far before the end as they take. packed_bytes: how many there are, None for all to the end.
    packing: raw, deflate (zlib's streams and gzip's) or bzip2, or text. skipped: bytes to leave out once unpacked.
    shape: slowest axis first.
    """

    kind: str
    header: Path
    files: tuple[Path, ...]
    offset: int
    packing: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    packed_bytes: int | None = None
    skipped: int = 0

    @property
    def bytes_each(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize // len(self.files)

    def check_size(self) -> None:
        """Raise VolumeError when a file is too short for what the header promises, or cannot unpack to as much."""
        if math.prod(self.shape) % len(self.files):
            raise self._error(f"{len(self.files)} files cannot share {self.shape} voxels", self.header)
        for path in self.files:
            if not path.is_file():
                raise self._error("there is no such file with its voxels", path)
            there = path.stat().st_size - max(self.offset, 0)
            least = {"raw": self.bytes_each, "deflate": self.bytes_each // _BEST_COMPRESSION, "bzip2": 1, "text": 1}
            needed = max(least[self.packing], self.packed_bytes or 0)
            if there < needed:
                raise self._error(f"{needed} bytes of voxels are needed, {max(there, 0)} are there; was it cut?", path)
        check_claim(self.header, self.bytes_each * len(self.files), sum(path.stat().st_size for path in self.files))

    def read(self) -> NDArray[Any]:
        """Return the voxels, of `shape`, in the machine's byte order.

        Raises:
            VolumeError: a file is cut or damaged, or holds more than it should.
        """
        if self.packing == "text":
            return self._read_text()
        array = np.empty(self.shape, self.dtype)
        rest = array.reshape(-1).view(np.uint8).data
        for number, path in enumerate(self.files):
            part = rest[number * self.bytes_each : (number + 1) * self.bytes_each]
            try:
                with path.open("rb") as file:
                    self._fill(part, file)
            except (EOFError, OSError, ValueError, zlib.error) as error:
                raise self._error(f"its voxels are cut or damaged: {error}", path) from error
        return array.astype(self.dtype.newbyteorder("="), copy=False)

    def _error(self, reason: str, path: Path) -> VolumeError:
        beside = "" if path == self.header else f"{path}: "
        return VolumeError(f"expected a readable {self.kind} file, got {self.header}: {beside}{reason}")

    def _fill(self, part: memoryview, file: IO[bytes]) -> None:
        if self.offset < 0:
            file.seek(-len(part), io.SEEK_END)
        else:
            file.seek(self.offset)
        if self.packing == "raw":
            _fill_exactly(part, lambda most: file.read(most))
            return
        opened: AbstractContextManager[Any] = bz2.BZ2File(file) if self.packing == "bzip2" else _Inflated(file, self)
        with opened as unpacked:
            for _ in range(0, self.skipped, _PIECE_BYTES):
                unpacked.read(min(_PIECE_BYTES, self.skipped))
            _fill_exactly(part, unpacked.read)
            # Reads to the end, where the checksum is; damage can make a stream longer.
            if unpacked.read(1):
                raise EOFError(f"more than {len(part)} bytes when unpacked")

    def _read_text(self) -> NDArray[Any]:
        words = b" ".join(path.read_bytes()[self.offset :] for path in self.files).split()
        if len(words) != math.prod(self.shape):
            raise self._error(f"{math.prod(self.shape)} numbers are needed, {len(words)} are there", self.files[0])
        try:
            return np.array([float(word) for word in words]).astype(self.dtype.newbyteorder("=")).reshape(self.shape)
        except ValueError as error:
            raise self._error(str(error), self.files[0]) from error


def _fill_exactly(part: memoryview, read: Callable[[int], bytes]) -> None:
    filled = 0
    while filled < len(part):
        piece = read(min(_PIECE_BYTES, len(part) - filled))
        if not piece:
            raise EOFError(f"the last {len(part) - filled} of {len(part)} bytes are missing")
        part[filled : filled + len(piece)] = piece
        filled += len(piece)


class _Inflated:
    """A stream of zlib or gzip, or several of gzip one after the other; what follows them is left alone."""

    def __init__(self, file: IO[bytes], voxels: Voxels) -> None:
        self._file = file
        self._left = voxels.packed_bytes
        self._unpacker = zlib.decompressobj(47)
        self._packed = b""

    def __enter__(self) -> _Inflated:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def read(self, most: int) -> bytes:
        """Return up to `most` bytes, none only at the end.

        Raises:
            EOFError: it ends too early.
            zlib.error: for damage.
        """
        while True:
            if self._unpacker.eof:
                rest = self._unpacker.unused_data or self._more()
                if not rest.startswith(b"\x1f\x8b"):
                    return b""
                self._unpacker, self._packed = zlib.decompressobj(31), rest
            packed = self._packed or self._more()
            if not packed:
                raise EOFError("the end of the compressed voxels is missing")
            piece = self._unpacker.decompress(packed, most)
            self._packed = self._unpacker.unconsumed_tail
            if piece:
                return piece

    def _more(self) -> bytes:
        piece = self._file.read(_PIECE_BYTES if self._left is None else min(_PIECE_BYTES, self._left))
        if self._left is not None:
            self._left -= len(piece)
        return piece
