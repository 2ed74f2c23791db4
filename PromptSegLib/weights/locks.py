"""One process at a time: a lock on a file, which the operating system drops when its holder dies."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError

POLL_S = 0.1

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def file_lock(path: Path, cancel: CancelToken | None = None) -> Iterator[None]:
    """Hold the lock of `path` (an empty file, made when missing, never deleted); wait as long as needed.

    Raises:
        Cancelled: while waiting.
        WeightsError: the folder cannot be written, or its file system knows no locks.
    """
    with _opened(path) as file:
        while not _locked(file, path):
            if cancel is not None and cancel.cancelled:
                raise Cancelled("cancelled while another process was busy with the same weights")
            time.sleep(POLL_S)
        try:
            yield
        finally:
            _unlock(file)


@contextmanager
def free_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of `path` if nobody else does; yields whether that is so.

    Raises:
        WeightsError: as `file_lock`.
    """
    with _opened(path) as file:
        is_mine = _locked(file, path)
        try:
            yield is_mine
        finally:
            if is_mine:
                _unlock(file)


def _opened(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise WeightsError(f"cannot write in {path.parent}: {error.strerror}") from error


def _locked(file: IO[bytes], path: Path) -> bool:
    try:
        return _try_lock(file)
    except OSError as error:
        raise WeightsError(f"{path.parent} does not support file locks: {error.strerror}") from error
