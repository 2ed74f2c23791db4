"""What is known about a file on this machine since it was checked: it need not be hashed again at every start."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FIRST_USE = "first use"


@dataclass(frozen=True)
class Record:
    """One file, checked.

    path, bytes, mtime_ns: which file it was; another size or time, and it is hashed again.
    known_by: who vouches for the hash: "official" or "third-party" (the catalogue's sha256_source), or "first use".
    origin: the address or file it came from. copy_sha256: of its safetensors copy, None while there is none.
    """

    path: str
    bytes: int
    mtime_ns: int
    sha256: str
    known_by: str
    origin: str
    copy_sha256: str | None = None

    @classmethod
    def of(cls, path: Path, sha256: str, known_by: str, origin: str) -> Record:
        """The record of a file as it is now."""
        found = path.stat()
        return cls(str(path), found.st_size, found.st_mtime_ns, sha256, known_by, origin)

    @classmethod
    def read(cls, record_path: Path) -> Record | None:
        """The record kept there, None when there is none that makes sense."""
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads(record_path.read_text(encoding="utf-8-sig")))
        return None

    def write(self, record_path: Path) -> None:
        """Keep it. Where the folder cannot be written, the file is just hashed again next time."""
        with suppress(OSError):
            write_text_atomically(record_path, json.dumps(asdict(self), indent=1))

    def is_about(self, path: Path) -> bool:
        """Whether the file is still the one that was checked."""
        found = path.stat()
        return (str(path), found.st_size, found.st_mtime_ns) == (self.path, self.bytes, self.mtime_ns)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
