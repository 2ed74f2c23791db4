"""What is known about a file on this machine since it was checked: it need not be hashed again at every start."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

FIRST_USE = "first use"
SCRATCH_SUFFIX = ".new"


@dataclass(frozen=True)
class Record:
    """One file, checked.

    path, bytes, mtime_ns: which file it was; another size or time, and it is hashed again.
    known_by: who vouches for the hash: "official" or "third-party" (the catalogue's sha256_source), or "first use".
    origin: the address or file it came from. copy_sha256: of its safetensors copy, None while there is none;
    copy_bytes, copy_mtime_ns: as of the copy when it was last hashed.
    """

    path: str
    bytes: int
    mtime_ns: int
    sha256: str
    known_by: str
    origin: str
    copy_sha256: str | None = None
    copy_bytes: int | None = None
    copy_mtime_ns: int | None = None

    @classmethod
    def of(cls, path: Path, sha256: str, known_by: str, origin: str) -> Record:
        """The record of a file as it is now."""
        found = path.stat()
        return cls(str(path), found.st_size, found.st_mtime_ns, sha256, known_by, origin)

    @classmethod
    def read(cls, record_path: Path) -> Record | None:
        """The record kept there, None when there is none that makes sense."""
        with suppress(OSError, ValueError, TypeError, RecursionError):
            with record_path.open("rb") as file:
                record = cls(**json.loads(file.read(_MOST_BYTES)))
            if all(isinstance(getattr(record, name), kinds) for name, kinds in _KINDS.items()):
                return record
        return None

    def write(self, record_path: Path) -> None:
        """Keep it. Where the folder cannot be written, the file is just hashed again next time."""
        with suppress(OSError):
            write_text_atomically(record_path, json.dumps(asdict(self), indent=1))

    def is_about(self, path: Path) -> bool:
        """Whether the file is still the one that was checked."""
        found = path.stat()
        return (str(path), found.st_size, found.st_mtime_ns) == (self.path, self.bytes, self.mtime_ns)

    def with_copy(self, copy: Path, sha256: str) -> Record:
        """This record, with the safetensors copy as it is now."""
        found = copy.stat()
        return replace(self, copy_sha256=sha256, copy_bytes=found.st_size, copy_mtime_ns=found.st_mtime_ns)

    def is_about_copy(self, copy: Path) -> bool:
        """Whether the copy is still the one that was checked."""
        found = copy.stat()
        return (found.st_size, found.st_mtime_ns) == (self.copy_bytes, self.copy_mtime_ns)


_MOST_BYTES = 1 << 20
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("path", "sha256", "known_by", "origin"), (str,)),
    **dict.fromkeys(("bytes", "mtime_ns"), (int,)),
    **dict.fromkeys(("copy_bytes", "copy_mtime_ns"), (int, type(None))),
    "copy_sha256": (str, type(None)),
}


def write_text_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}{SCRATCH_SUFFIX}")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
