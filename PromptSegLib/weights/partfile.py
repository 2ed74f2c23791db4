"""A file in the making: it gets its name only when it is whole, checked and on the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError

ByteProgress = Callable[[int, int | None], None]
"""Called with the bytes done and, where it is known, the bytes in all."""

CHUNK_BYTES = 1 << 20


class WrongContentError(WeightsError):
    """A whole file that is not the expected one."""


_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class PartFile:
    """Bytes on their way to `target`, kept in `target.part` until `finish`. One writer at a time (locks.py)."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def open(self, keep_bytes: int = 0, cancel: CancelToken | None = None) -> None:
        """Start, going on after the first `keep_bytes` of what an earlier attempt left."""
        self.close()
        self.size, self._digest = 0, hashlib.sha256()
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what was written is with the operating system, so a killed process loses none of it.
            self._file = self.path.open("r+b" if keep_bytes and self.path.exists() else "wb", buffering=0)
            while self.size < keep_bytes:
                _stop_if(cancel)
                chunk = self._file.read(min(CHUNK_BYTES, keep_bytes - self.size))
                if not chunk:
                    break
                self._count(chunk)
            self._file.truncate(self.size)
        except OSError as error:
            raise self._write_error(error) from error

    def write(self, chunk: bytes | memoryview) -> None:
        """Append; a full disk takes back all that was written, so that it is not left full.

        Raises:
            WeightsError: the disk is full or refuses.
        """
        if self._file is None:
            raise RuntimeError("open() comes before write()")
        try:
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.discard()
            raise self._write_error(error) from error
        self._count(chunk)

    def sync(self) -> None:
        """Bring what was written to the disk itself, so that not even a power cut takes it."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def finish(self, expected_bytes: int | None = None, expected_sha256: str | None = None) -> str:
        """Check, bring to the disk, give the final name; the SHA-256 in hexadecimal.

        Raises:
            PromptSegError: as `seal` and `put`.
        """
        sha256 = self.seal(expected_bytes, expected_sha256)
        self.put()
        return sha256

    def seal(self, expected_bytes: int | None = None, expected_sha256: str | None = None) -> str:
        """Check and bring to the disk, still under the part's name; the SHA-256 in hexadecimal.

        Raises:
            WrongContentError: size or hash differ from what is expected; nothing is kept.
            WeightsError: the disk is full or refuses; nothing is kept.
        """
        sha256 = self._digest.hexdigest()
        if expected_bytes is not None and self.size != expected_bytes:
            size = self.size
            self.discard()
            raise WrongContentError(f"{self.target.name}: expected {expected_bytes} bytes, got {size}")
        if expected_sha256 is not None and sha256 != expected_sha256:
            self.discard()
            raise WrongContentError(f"{self.target.name}: expected SHA-256 {expected_sha256}, got {sha256}")
        try:
            self.sync()
            self.close()
        except OSError as error:
            self.discard()
            raise self._write_error(error) from error
        return sha256

    def put(self) -> None:
        """Give what was sealed its final name.

        Raises:
            WeightsError: nothing is kept.
        """
        try:
            os.replace(self.path, self.target)
            _sync_folder(self.target.parent)
        except OSError as error:
            self.discard()
            raise self._write_error(error) from error

    def close(self) -> None:
        """Let go of the file; what it holds can be resumed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Take back what was written."""
        self.close()
        self.size = 0
        with suppress(OSError):  # a folder that was closed meanwhile: the reason for discarding is what is told
            self.path.unlink(missing_ok=True)

    def _count(self, chunk: bytes | memoryview) -> None:
        self._digest.update(chunk)
        self.size += len(chunk)

    def _write_error(self, error: OSError) -> WeightsError:
        if error.errno in _NO_ROOM:
            return WeightsError(
                f"no room left for {self.target.name} in {self.target.parent}: the disk is full. "
                "Free some space, or choose another folder, and try again."
            )
        return WeightsError(f"cannot write {self.target}: {error.strerror or error}")


def stage_copy(
    source: Path,
    target: Path,
    expected_bytes: int | None,
    expected_sha256: str | None,
    progress: ByteProgress | None = None,
    cancel: CancelToken | None = None,
) -> tuple[PartFile, str]:
    """Copy `source` beside `target`, checking size and hash; the sealed part, to be put there, and its SHA-256."""
    part = PartFile(target)
    try:
        with source.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            if expected_bytes is not None and total != expected_bytes:
                raise WrongContentError(f"{source}: expected {expected_bytes} bytes, got {total}")
            require_room(target.parent, total, target.name)
            part.open()
            # No more than it had at the start: a device or a file that grows has no end.
            while chunk := file.read(min(CHUNK_BYTES, total - part.size)):
                _stop_if(cancel)
                part.write(chunk)
                if progress is not None:
                    progress(part.size, total)
        return part, part.seal(total, expected_sha256)
    except BaseException:
        part.discard()
        raise


def put_all(parts: Sequence[PartFile]) -> None:
    """Give sealed parts their names, all or none: where one is refused, the files that were there come back.

    Raises:
        WeightsError: the weights are missing, damaged or do not fit.
    """
    before: list[tuple[Path, Path | None]] = []
    try:
        for part in parts:
            kept = part.target.with_name(part.target.name + ".before")
            try:
                os.replace(part.target, kept)
            except FileNotFoundError:
                before.append((part.target, None))
            else:
                before.append((part.target, kept))
            part.put()
    except OSError:  # WeightsError is one
        for target, earlier in reversed(before):
            with suppress(OSError):
                if earlier is None:
                    target.unlink(missing_ok=True)
                else:
                    os.replace(earlier, target)
        for part in parts:
            part.discard()
        raise
    for _, earlier in before:
        if earlier is not None:
            earlier.unlink(missing_ok=True)


def sha256_of(path: Path, cancel: CancelToken | None = None) -> str:
    """SHA-256 of a file, in hexadecimal; 1 MiB in memory at a time."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                _stop_if(cancel)
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def require_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse before the work when the folder's disk cannot take that much.

    Raises:
        WeightsError: there is less room; says how much there is.
    """
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise WeightsError(f"cannot write in {folder}: {error.strerror or error}") from error
    if free < needed_bytes:
        raise WeightsError(f"{what} needs {needed_bytes:,} bytes, but the disk of {folder} has {free:,} left")


def _stop_if(cancel: CancelToken | None) -> None:
    if cancel is not None and cancel.cancelled:
        raise Cancelled("cancelled; nothing that was there before has changed")


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk too, where the system knows how (Windows and some network disks do not)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
