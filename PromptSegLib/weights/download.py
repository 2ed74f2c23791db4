"""Fetch a file over HTTP: a cut, a kill or a cancel costs only what is missing, nothing unchecked is used."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError
from PromptSegLib.weights.partfile import ByteProgress, PartFile, WrongContentError, require_room
from PromptSegLib.weights.transfer import Transfer, TransferError

_SYNC_BYTES = 32 << 20  # how much a power cut may cost where no hash could tell its damage
_WORTH_BYTES = 1 << 20  # an attempt that got so much farther than all before is progress: failures count anew
_LONGEST_NOTE = 1 << 16
_LONGEST_NUMBER = 18  # digits of a size in bytes
_MOST_UNKNOWN = 0.5  # of the free disk, for a file whose size nobody tells


def download(
    urls: Sequence[str],
    target: Path,
    *,
    expected_bytes: int | None = None,
    expected_sha256: str | None = None,
    progress: ByteProgress | None = None,
    cancel: CancelToken | None = None,
    timeout_s: float = 30.0,
    about_bytes: int | None = None,
    attempts: int = 4,
    pause_s: float = 0.5,
) -> str:
    """Fetch the first of `urls` that gives the expected file, put it at `target`, return its SHA-256.

    What an earlier call got is kept in `target.part` and resumed. The caller holds a lock (see locks.py).

    Args:
        expected_bytes: the length that the file must have; None where it is not known.
        expected_sha256: the digest that it must have; None where it is not known.
        progress: called with the bytes got and the bytes in all (None when the server does not tell).
        cancel: ends the download within about 0.1 s.
        timeout_s: longest silence of a server.
        about_bytes: roughly its size, where it is not known: twice that is the most that is taken.
        attempts: how often in a row one address may fail for a passing reason without bringing more than before.
        pause_s: wait before the second attempt, doubled for each further one.

    Raises:
        WeightsError: no address gave the file (each with its reason), or it cannot be written.
        Cancelled: `cancel` was set; what came so far is kept for the next call.
    """
    failures = []
    for url in urls:
        attempt = _Download(url, target, expected_bytes, expected_sha256, progress, cancel, timeout_s, about_bytes)
        try:
            return attempt.persist(attempts, pause_s)
        except TransferError as error:
            failures.append(f"{url}: {error}")
        finally:
            attempt.part.close()
    raise WeightsError(f"could not download {target.name}:\n  " + "\n  ".join(failures))


@dataclass
class _Note:
    """Kept beside the part file: where it came from and what of it may be trusted."""

    url: str
    validator: str | None  # strong ETag, else Last-Modified: with If-Range, no two versions are ever mixed
    synced_bytes: int

    @classmethod
    def read(cls, path: Path) -> _Note | None:
        with suppress(OSError, ValueError, TypeError, RecursionError):
            with path.open("rb") as file:
                note = cls(**json.loads(file.read(_LONGEST_NOTE)))
            is_sized = type(note.synced_bytes) is int and note.synced_bytes >= 0
            if is_sized and isinstance(note.url, str) and isinstance(note.validator, str | None):
                return note
        return None


@dataclass
class _Download:
    """One address and one target."""

    url: str
    target: Path
    expected_bytes: int | None
    expected_sha256: str | None
    progress: ByteProgress | None
    cancel: CancelToken | None
    timeout_s: float
    about_bytes: int | None = None

    def __post_init__(self) -> None:
        self.part = PartFile(self.target)
        self.note_path = self.target.with_name(self.target.name + ".part.json")
        self.pieces = 0  # how many answers and leftovers the part file is made of
        self.second_chance = True
        self.farthest = 0  # bytes of the longest part so far: a server that begins anew each time is no progress

    def persist(self, attempts: int, pause_s: float) -> str:
        """Try until the file is whole; each cut goes on where it was."""
        failed = 0
        while True:
            if not self.part.is_open:
                self._open_part()
            self.farthest = max(self.farthest, self.part.size)
            try:
                self._receive()
                return self._finish()
            except TransferError as error:
                failed = 1 if self.part.size - self.farthest >= _WORTH_BYTES else failed + 1
                if not error.again or failed >= attempts:
                    raise
            self._wait(pause_s * 2 ** (failed - 1))

    def _open_part(self) -> None:
        """Open the part file with what may be kept of an earlier call.

        With a known hash everything may be kept: the hash decides in the end. Without one, only what a
        validator ties to the same version of the file and what is surely on the disk.
        """
        try:
            have = self.part.path.stat().st_size
        except OSError:
            have = 0
        if self.expected_sha256 is None:
            note = _Note.read(self.note_path)
            have = min(have, note.synced_bytes) if note is not None and self._known_validator() else 0
        if self.expected_bytes is not None and have > self.expected_bytes:
            have = 0
        self.part.open(have, self.cancel)
        self.pieces = 1 if self.part.size else 0

    def _receive(self) -> None:
        """Ask for what is missing and append it."""
        if self.part.size and self.part.size == self.expected_bytes:
            return
        headers = {"User-Agent": "PromptSeg", "Accept-Encoding": "identity"}
        validator = self._known_validator()
        if validator is None and self.expected_sha256 is None:
            self.part.open()  # nothing could tell whether two pieces are of one version
        if self.part.size:
            headers["Range"] = f"bytes={self.part.size}-"
            if validator is not None:
                headers["If-Range"] = validator
        try:
            with Transfer(self.url, headers, self.timeout_s, self.cancel) as answer:
                total = self._prepare(answer)
                self._append(answer, total)
        except TransferError as error:
            if error.status == 416:  # no such range: what is kept is not the beginning of this file
                self.part.discard()
                raise TransferError(str(error), again=True) from error
            raise

    def _prepare(self, answer: Transfer) -> int | None:
        """Check what the server is about to send; the size of the whole file, None when nobody knows it."""
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise TransferError("a web page came instead of the file (a login or proxy page?)", again=False)
        start, total = 0, _integer(answer.headers.get("Content-Length"))
        if answer.status == 206:
            start, total = _content_range(answer.headers.get("Content-Range", ""))
            if self.expected_sha256 is None and _validator(answer.headers) != self._known_validator():
                self.part.discard()
                raise TransferError("the server went on with another version of the file", again=True)
        if start not in (0, self.part.size):
            raise TransferError(f"the server went on at byte {start}, not at {self.part.size}", again=False)
        if start < self.part.size:  # the server begins anew: it knows no ranges, or the file has changed
            self.part.open()
            self.pieces = 0
        if self.expected_bytes is not None and total not in (None, self.expected_bytes):
            raise TransferError(f"expected {self.expected_bytes} bytes, the server has {total}", again=False)
        total = self.expected_bytes if total is None else total
        if total is None and self.expected_sha256 is None:
            raise TransferError("the server does not tell the size, and no hash is known", again=False)
        if total is not None:
            require_room(self.target.parent, total - self.part.size, self.target.name)
        self.pieces += 1
        return total

    def _append(self, answer: Transfer, total: int | None) -> None:
        """Write what comes until it ends; `total` is the size of the whole file."""
        self._write_note(answer.headers)
        unsynced, most = 0, self._most_bytes() if total is None else total
        try:
            for chunk in answer:
                self.part.write(chunk)
                if self.part.size > most:
                    self.part.discard()
                    if total is None:
                        raise TransferError(
                            f"it does not end: stopped at {most:,} bytes, before the disk is full", False
                        )
                    raise TransferError(f"expected {total} bytes, the server sends more", again=False)
                unsynced += len(chunk)
                if unsynced >= _SYNC_BYTES:
                    unsynced = 0
                    self._write_note(answer.headers)
                if self.progress is not None:
                    self.progress(self.part.size, total)
        finally:
            self._write_note(answer.headers)
        if total is not None and self.part.size < total:
            raise TransferError(f"the connection ended at byte {self.part.size} of {total}", again=True)

    def _most_bytes(self) -> int:
        """What is taken of a file whose size nobody tells: a server that never ends must not fill the disk."""
        if self.about_bytes is not None:
            return 2 * self.about_bytes
        return self.part.size + int(_MOST_UNKNOWN * shutil.disk_usage(self.target.parent).free)

    def _finish(self) -> str:
        try:
            sha256 = self.part.finish(self.expected_bytes, self.expected_sha256)
        except WrongContentError as error:
            # A damaged beginning may be to blame: what came in pieces gets one more chance, from byte 0.
            self._drop_note()
            again, self.second_chance = self.pieces > 1 and self.second_chance, False
            raise TransferError(str(error), again) from error
        self._drop_note()
        return sha256

    def _drop_note(self) -> None:
        with suppress(OSError):
            self.note_path.unlink(missing_ok=True)

    def _write_note(self, headers: Mapping[str, str]) -> None:
        """Say what is on the disk; where that fails, a later call just starts from the first byte."""
        with suppress(OSError):
            if not self.part.is_open:  # it was taken back, and so is its note
                self.note_path.unlink(missing_ok=True)
                return
            self.part.sync()
            note = _Note(self.url, _validator(headers), self.part.size)
            self.note_path.write_text(json.dumps(asdict(note)), encoding="utf-8")

    def _known_validator(self) -> str | None:
        """What this address said of the version that the part file belongs to."""
        note = _Note.read(self.note_path)
        return note.validator if note is not None and note.url == self.url else None

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.cancel is not None and self.cancel.cancelled:
                raise Cancelled("the download was cancelled; it goes on from here when it is asked for again")
            time.sleep(min(left, 0.05))


def _validator(headers: Mapping[str, str]) -> str | None:
    """What tells one version of a file from another: a strong ETag, else the date."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _integer(text: str | None) -> int | None:
    """A size that a server states, None without one.

    Raises:
        TransferError: for one that no file has.
    """
    if text is None or not (text.isascii() and text.isdecimal()):
        return None
    if len(text.lstrip("0")) > _LONGEST_NUMBER:
        raise TransferError(f"the server states a size of {len(text)} digits", again=False)
    return int(text)


def _content_range(text: str) -> tuple[int, int | None]:
    """(start, total) of a Content-Range header; total is None for `*`."""
    match = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)", text.strip())
    start = _integer(match[1]) if match else None
    if match is None or start is None:
        raise TransferError(f"the server sent a part without saying which ({text[:80]!r})", again=False)
    return start, _integer(match[2])
