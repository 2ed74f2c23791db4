"""Files that appear whole or not at all, and whether they can be written, found out before anything is lost."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from PromptSegLib.errors import PromptSegError, VolumeError


def check_can_be_written(path: Path) -> None:
    """Raise VolumeError when a file could not be written to `path`. Nothing is left, and no folder is made."""
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        target = _followed(path)
        folder = target.parent
        missing = [target.name]
        while not folder.exists():
            if folder.is_symlink():
                raise OSError(errno.ENOENT, f"the link {folder.name} leads nowhere")
            missing.append(folder.name)
            folder = folder.parent
        for name in missing:
            with suppress(FileNotFoundError):
                os.lstat(folder / name)  # raises for a name that is too long, or is none
        # Tried and not asked for: permissions do not tell of file systems that are read-only, or of quotas.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise _no_place(path, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` once it is complete. Folders are made, symbolic links are followed.

    Raises:
        VolumeError: it cannot be written; what was there stays then.
    """
    with replacing_file(path) as part, part.open("wb") as file:
        yield file


@contextmanager
def replacing_file(path: Path, ending: str = "") -> Iterator[Path]:
    """Yield where to write a file that then takes the place of `path`: as `replacing`, for writers that want a name.

    ending: of that name, for writers that go by it.

    Raises:
        VolumeError: it cannot be written; what was there stays then.
    """
    if "\0" in str(path):
        raise _no_place(path, ValueError("a name holds no NUL"))
    try:
        target = _followed(path)
        part = target.with_name(f"{_beginning(target)}{os.getpid()}.part{ending}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _clear_left_over(target)
            yield part
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, PromptSegError):
            raise
        raise _no_place(path, error) from error


def _followed(path: Path) -> Path:
    """Return what a symbolic link leads to, which need not exist; other paths as they are."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _beginning(target: Path) -> str:
    """Return how the names of unfinished files begin, on this computer: short, however long the name of `target` is."""
    name = f"{platform.node()}/{target.name}".encode("utf-8", "surrogateescape")
    return f".promptseg-{hashlib.sha256(name).hexdigest()[:16]}-"


def _clear_left_over(target: Path) -> None:
    """Remove what writers of `target` left that were killed."""
    beginning = _beginning(target)
    for part in target.parent.glob(f"{beginning}*.part*"):
        number = part.name[len(beginning) :].partition(".")[0]
        if number.isdecimal() and not _is_running(int(number)):
            part.unlink(missing_ok=True)


def _is_running(process_id: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere a signal cannot ask
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _no_place(path: Path, error: Exception) -> VolumeError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return VolumeError(f"expected a place where {_shortened(str(path))} can be written: {reason}")


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:140]}…{text[-140:]}"
