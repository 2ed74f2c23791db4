"""Embeddings of slices, kept in memory and on disk: a slice is encoded once.

Keys are hashes of everything that an embedding follows from (the pixels that the network sees, the network's
weights), so that an entry can never be out of date. Files are .npz, read without pickle, whose checksum tells a
damaged one; they appear whole or not at all, and several processes may share the folder.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.weights.npz import read_npz

_PART = ".part"
_ABANDONED_S = 3600.0  # an embedding is written in a second

_log = logging.getLogger(__name__)


class EmbeddingCache:
    """The embeddings used last, by key. Thread-safe.

    memory_bytes: kept in memory; 64 slices of SAM are 256 MiB. folder: where files are kept, None for nowhere.
    disk_bytes: kept in files. Whatever exceeds a budget goes, what was used longest ago first. A folder that cannot
    be written makes it slower, and is no error.
    """

    def __init__(self, folder: Path | None = None, *, memory_bytes: int = 256 * 2**20, disk_bytes: int = 2**30) -> None:
        self.folder = folder
        self.memory_bytes = memory_bytes
        self.disk_bytes = disk_bytes
        self._memory: OrderedDict[str, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._memory or (self.folder is not None and os.path.isfile(self._path(self.folder, key)))

    @property
    def nbytes(self) -> int:
        """Memory that the embeddings in memory take."""
        return sum(array.nbytes for array in self._memory.values())

    @property
    def disk_nbytes(self) -> int:
        """What the embeddings in files take."""
        found = 0
        for path in self._files(self.folder) if self.folder is not None else ():
            with suppress(OSError):  # another process was faster, or the folder is closed
                found += path.stat().st_size
        return found

    def get(self, key: str) -> NDArray[Any] | None:
        """Return the embedding, read only, or None."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
            array = self._read(self.folder, key) if self.folder is not None else None
            if array is not None:
                self._remember(key, array)
            return array

    def put(self, key: str, array: NDArray[Any]) -> None:
        """Keep an embedding; it must not be written to any more."""
        array.setflags(write=False)
        with self._lock:
            self._remember(key, array)
            if self.folder is not None:
                try:
                    self._write(self.folder, key, array)
                    self._make_room(self.folder)
                except OSError as error:
                    _log.warning("no embedding is kept in %s: %s", self.folder, error)
                    self.folder = None

    def clear(self) -> None:
        """Forget all embeddings, and delete their files; those that are refused stay, and are logged."""
        with self._lock:
            self._memory.clear()
            for path in self._files(self.folder) if self.folder is not None else ():
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    _log.warning("the embedding %s cannot be deleted: %s", path, error)

    def _remember(self, key: str, array: NDArray[Any]) -> None:
        self._memory[key] = array
        self._memory.move_to_end(key)
        while len(self._memory) > 1 and self.nbytes > self.memory_bytes:
            self._memory.popitem(last=False)

    def _read(self, folder: Path, key: str) -> NDArray[Any] | None:
        path = self._path(folder, key)
        try:
            array = read_npz(path)["embedding"]
        except FileNotFoundError:
            return None
        except (OSError, KeyError) as error:  # WeightsError is an OSError
            if not os.path.isfile(path):
                return None
            _log.warning("the damaged embedding %s is deleted: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # used just now
        array.setflags(write=False)
        return array

    def _write(self, folder: Path, key: str, array: NDArray[Any]) -> None:
        # What is kept follows from images of patients: for their reader's eyes only.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(suffix=_PART, dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, embedding=array)
            os.replace(scratch, self._path(folder, key))
        finally:
            with suppress(OSError):
                os.unlink(scratch)

    def _make_room(self, folder: Path) -> None:
        files = []
        for path in self._files(folder):
            with suppress(FileNotFoundError):  # another process was faster
                found = path.stat()
                if path.suffix == _PART and time.time() - found.st_mtime > _ABANDONED_S:
                    path.unlink(missing_ok=True)  # left by a process that was killed
                    continue
                files.append((found.st_mtime_ns, found.st_size, path))
        excess = sum(size for _, size, _ in files) - self.disk_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        """All files of the cache, also what a process that was killed left half written."""
        try:
            return [*folder.glob("*.npz"), *folder.glob(f"*{_PART}")]
        except OSError:  # a closed folder
            return []

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}.npz"
