"""Zip archives that come from elsewhere, unpacked: all of it inside one folder, and no more than there is room for.

Scenes, bundles, weights and uploads are zip archives; whatever unpacks one goes through `unpack`. What is refused:
names that lead outside (`../`, absolute, a drive's letter) or that two systems read differently, links and devices,
two entries of one name, encrypted entries, entries that lie upon each other, and sizes that neither the disk nor the
archive's own size can explain.
"""

from __future__ import annotations

import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PromptSegLib.cancel import CancelToken

MOST_ENTRIES = 100_000
MOST_RATIO = 200
"""Deflate makes at most 1032 bytes of one; scenes seldom shrink to a tenth, empty labelmaps to a thousandth."""
SMALL_BYTES = 1 << 30
"""What unpacks to no more than this may shrink as it likes."""

_MOST_DIRECTORY_BYTES = 8 << 20  # the list of entries; Python's take 20 times that, real ones have 100 bytes an entry
_RESERVE_BYTES = 64 << 20  # left free on the disk that is unpacked to
_CHUNK_BYTES = 1 << 20
_LONGEST_NAME = 1000
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in "123456789")}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, LookupError, RuntimeError)
"""What zipfile raises for damaged archives, beside OSError."""


class ArchiveError(ValueError):
    """An archive that is damaged, or that must not be unpacked; the message says why, without the archive's name."""


class _WaryFile:
    """A file that hands out only so much at a time while an archive's directory is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.is_wary = True
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        if not self.is_wary:
            return self._file.read(size)
        if size > _MOST_DIRECTORY_BYTES:
            raise ArchiveError(f"its directory claims {size:,} bytes, at most {_MOST_DIRECTORY_BYTES:,} are read")
        return self._file.read(_MOST_DIRECTORY_BYTES if size < 0 else size)


@contextmanager
def opened_zip(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Open the archive in `file`, whose directory has a bounded size; what zipfile raises becomes ArchiveError."""
    wary = _WaryFile(file)
    try:
        with zipfile.ZipFile(wary) as archive:
            wary.is_wary = False
            yield archive
    except ArchiveError:
        raise
    except _DAMAGE as error:
        raise ArchiveError(f"it is no whole zip archive: {str(error) or type(error).__name__}") from error


def check_sizes(entries: Sequence[zipfile.ZipInfo], archive_bytes: int, most_bytes: int | None = None) -> int:
    """Refuse an archive for the sizes in its directory; return the bytes that it unpacks to.

    archive_bytes: size of the archive's file. most_bytes: what it may unpack to, by default what its size explains.
    """
    claimed, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if packed > archive_bytes:
        raise ArchiveError(f"its entries lie upon each other: they take {packed:,} of {archive_bytes:,} bytes")
    limit = max(SMALL_BYTES, MOST_RATIO * archive_bytes) if most_bytes is None else most_bytes
    if claimed > limit:
        raise ArchiveError(f"it claims to unpack to {claimed:,} bytes, at most {limit:,} are expected of its size")
    return claimed


def unpack(path: Path, folder: Path, *, most_bytes: int | None = None, cancel: CancelToken | None = None) -> list[Path]:
    """Unpack the zip archive `path` into `folder`, an empty one of the caller's own; return the files.

    most_bytes: what it may unpack to, by default what its size explains.

    What was unpacked until then stays in `folder`, which the caller removes.

    Raises:
        ArchiveError: for an archive that is damaged or refused, see above.
        OSError: a file cannot be read or written.
        Cancelled: somebody asked for that.
    """
    with path.open("rb") as file, opened_zip(file) as archive:
        entries = archive.infolist()
        _check_names(entries)
        claimed = check_sizes(entries, path.stat().st_size, most_bytes)
        if (free := shutil.disk_usage(folder).free) < claimed + _RESERVE_BYTES:
            raise ArchiveError(f"it unpacks to {claimed:,} bytes, but the disk of {folder} has {free:,} left")
        unpacked = []
        for entry in entries:
            target = folder / entry.filename
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("xb") as sink:
                _copy(source, sink, entry, cancel)
            unpacked.append(target)
        return unpacked


def _check_names(entries: Sequence[zipfile.ZipInfo]) -> None:
    if len(entries) > MOST_ENTRIES:
        raise ArchiveError(f"it claims {len(entries):,} entries, at most {MOST_ENTRIES:,} are unpacked")
    files, folders = set[str](), set[str]()
    for entry in entries:
        _check_entry(entry)
        # As file systems that fold case and accents see it.
        name = unicodedata.normalize("NFC", entry.filename.rstrip("/")).casefold()
        folders |= {name[:at] for at, letter in enumerate(name) if letter == "/"}
        if entry.is_dir():
            folders.add(name)
        elif name in files:
            raise ArchiveError(f"two of its entries are called {entry.filename!r}")
        else:
            files.add(name)
    if both := sorted(files & folders):
        raise ArchiveError(f"its entry {both[0]!r} is a file and a folder")


def _copy(source: IO[bytes], sink: IO[bytes], entry: zipfile.ZipInfo, cancel: CancelToken | None) -> None:
    left = entry.file_size
    while chunk := source.read(_CHUNK_BYTES):
        if cancel is not None:
            cancel.check()
        left -= len(chunk)
        if left < 0:
            break
        sink.write(chunk)
    if left != 0:
        raise ArchiveError(f"its entry {entry.filename!r} is not of the size that the directory says")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    """Refuse an entry that could be written elsewhere, or is no plain file or folder."""
    shown = repr(entry.filename[:120])
    # `orig_filename`: zipfile ends a name at a NUL and replaces the separators of its system, others do not.
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    if (
        any(part in ("", ".", "..") or part != part.rstrip(" .") or len(part.encode()) > 255 for part in parts)
        or any(letter in '\\:*?"<>|' or ord(letter) < 32 for letter in name)
        or any(part.partition(".")[0].upper().rstrip() in _DEVICES for part in parts)
        or len(name) > _LONGEST_NAME
    ):
        raise ArchiveError(f"its entry {shown} has a name that leads outside of a folder, or that some systems read so")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    expected = stat.S_IFDIR if entry.is_dir() else stat.S_IFREG
    if kind not in (0, expected):
        raise ArchiveError(f"its entry {shown} is a link or a device, not a file")
    if entry.flag_bits & 0x1:
        raise ArchiveError(f"its entry {shown} is encrypted")
    if entry.compress_type not in _METHODS:
        raise ArchiveError(f"its entry {shown} is compressed by method {entry.compress_type}, not by deflate")
