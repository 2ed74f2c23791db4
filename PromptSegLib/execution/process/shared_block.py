"""Voxels handed to another process of this computer: written once to memory that the other one maps.

A block is a file in the folder that is kept in memory (`/dev/shm` on Linux), else in that for temporary files. Not
`multiprocessing.shared_memory`: before Python 3.13 it starts a tracker process by `sys.executable`, which in Slicer
is Slicer itself, and warns at exit about memory that another process took over; and where the folder is full, this
process ends with a bus error and not with an OSError.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IN_MEMORY = Path("/dev/shm")
PREFIX = "promptseg-"
_SUFFIX = ".block"
_ABANDONED_S = 3600.0  # A worker maps a block within seconds of its writing.
ALIGNMENT = 64  # Arrays start where vector instructions like it.


def write_block(arrays: Sequence[NDArray[Any]]) -> Path:
    """Write the voxels of `arrays`, one after the other, to a new block.

    Raises:
        OSError: there is no room.
    """
    for folder in {IN_MEMORY, Path(tempfile.gettempdir())}:
        _remove_abandoned(folder)
    if IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK):
        # Containers often have no more than 64 MiB there.
        with suppress(OSError):
            return _write_to(IN_MEMORY, arrays)
    return _write_to(None, arrays)


def offsets_of(arrays: Sequence[NDArray[Any]]) -> list[int]:
    """Return where in their block each of `arrays` starts, in bytes."""
    ends = np.cumsum([-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in arrays])
    return [0, *ends[:-1].tolist()]


def map_block(path: Path) -> mmap.mmap:
    """Map a block, writable, and remove its name: nobody else can find it, and it lives as long as the map."""
    # On Windows a file that is mapped cannot be removed, but it can be told to go with its last handle.
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_TEMPORARY", 0))
    try:
        return mmap.mmap(handle, 0)
    finally:
        os.close(handle)
        remove_block(path)


def remove_block(path: Path) -> None:
    """Remove a block that was perhaps never mapped."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return  # Mapped, on Windows: it goes with its map.


def _remove_abandoned(folder: Path) -> None:
    """Remove blocks of processes that were killed: one that is in use lost its name when it was mapped."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(PREFIX) and entry.name.endswith(_SUFFIX) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):  # another user's
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
                        os.unlink(entry.path)


def _write_to(folder: Path | None, arrays: Sequence[NDArray[Any]]) -> Path:
    handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=_SUFFIX, dir=folder)
    try:
        with open(handle, "wb", buffering=0) as file:
            for array, offset in zip(arrays, offsets_of(arrays), strict=True):
                file.seek(offset)
                _write_voxels(file, array)
    except OSError:
        remove_block(Path(name))
        raise
    return Path(name)


def _write_voxels(file: Any, array: NDArray[Any]) -> None:
    # Slice by slice: a view that is not contiguous needs no second copy of all voxels.
    for layer in array:
        view = np.ascontiguousarray(layer).reshape(-1).view(np.uint8).data
        while view.nbytes:
            view = view[file.write(view) :]
