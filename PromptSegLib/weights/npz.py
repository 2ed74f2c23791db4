"""State dicts in .npz files, read with numpy alone: how the shipped weights come."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.archives import SMALL_BYTES, ArchiveError, check_sizes, opened_zip
from PromptSegLib.errors import WeightsError

_DAMAGE = (
    *(OSError, ValueError, TypeError, EOFError, LookupError, ArithmeticError, RuntimeError, SyntaxError, MemoryError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What zipfile and numpy raise for damaged files; MemoryError: of a header whose brackets are nested too deeply."""

# Deflate shrinks weights to no less than a third; a bomb reaches 1000, and with 50 a file of 26 MB took 1.1 GB.
_MOST_COMPRESSED, _MOST_COMPRESSED_LARGE = 50, 8
_LARGE_BYTES = 64 << 20


def is_npz(path: Path) -> bool:
    """Whether the file is a zip archive of .npy files and nothing else."""
    try:
        with path.open("rb") as file, opened_zip(file) as archive:
            names = archive.namelist()
    except (ArchiveError, OSError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name, in the types they were saved in (fp16 stays fp16). Objects are never unpickled.

    Raises:
        WeightsError: damaged, holds objects, or claims more than its size allows.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file, opened_zip(file) as archive:
            members = archive.infolist()
            claimed = check_sizes(members, size, max(_MOST_COMPRESSED_LARGE * size, SMALL_BYTES))
            if claimed > (_MOST_COMPRESSED if claimed <= _LARGE_BYTES else _MOST_COMPRESSED_LARGE) * size:
                raise ValueError(f"its arrays claim {claimed:,} bytes, the file has {size:,}")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except _DAMAGE as error:
        raise WeightsError(f"{path} is no .npz file of plain arrays: {error}") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, after its header was compared with the bytes that are there."""
    with archive.open(member) as stream:
        count, itemsize = _header(stream)
        if count * itemsize != member.file_size - stream.tell():
            raise ValueError(f"{member.filename} claims {count} elements in {member.file_size:,} bytes")
    with archive.open(member) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _header(stream: IO[bytes]) -> tuple[int, int]:
    """(elements, bytes of one) that the header of a .npy file states."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    return int(np.prod([int(side) for side in shape], dtype=object)), dtype.itemsize
