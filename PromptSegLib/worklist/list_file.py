"""The file of a list: read as far as it was not yet, added to at its end, never written anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PromptSegLib.worklist.case import WorklistCase
from PromptSegLib.worklist.dialect import Dialect, Text, dialect_of, read_text
from PromptSegLib.worklist.errors import WorklistError
from PromptSegLib.worklist.lock import lock_beside
from PromptSegLib.worklist.table import COLUMNS, Head, Table, torn_end

_MARK_LENGTH = 256


class ListFile:
    """Rows in a CSV file, as `table`. images: those of a folder that need no row, where the list is a folder's."""

    def __init__(self, path: Path, images: Callable[[], Sequence[Path]] = lambda: ()) -> None:
        self.path = path
        self._images = images
        self._forget()
        self.table = Table(path.parent)

    def refresh(self) -> None:
        """Take in what was added since.

        Raises:
            WorklistError: the list cannot be read any more.
        """
        try:
            with self.path.open("rb") as file:
                self._read(file.fileno())
        except FileNotFoundError:
            self._forget()
            self._show()
        except OSError as error:
            raise WorklistError(f"expected a CSV file of cases, got {self.path}: {error.strerror}") from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the list, as it is now, for the time of the block: `add` is for within."""
        with lock_beside(self.path):
            self.refresh()
            yield

    def add(self, case: WorklistCase) -> None:
        """Add a row that says all there is of `case`.

        Raises:
            WorklistError: it cannot be written; the list is then as it was.
        """
        if any(not record.is_closed for record in self._text.open if record.is_whole):
            line = next(record.line for record in self._text.open if not record.is_closed)
            raise WorklistError(f"expected quotes that end in {self.path}, got none in line {line}: mend it first")
        head, dialect = self.table.head, self._text.dialect
        content = self._mended()
        if head is None or not head.is_ours:
            head = Head(COLUMNS) if head is None else head.completed()
            content += dialect.row(head.names)
        content += dialect.row(self.table.cells(case, head))
        self._append(content)
        self.refresh()

    # Within

    def _forget(self) -> None:
        self._settled: Table = Table(self.path.parent)
        self._text = Text(Dialect(), (), (), 0, 0)
        self._offset, self._line = 0, 1
        self._known: tuple[int, int] | None = None
        self._mark = b""

    def _read(self, number: int) -> None:
        about = os.fstat(number)
        known = about.st_size, about.st_mtime_ns
        if known == self._known:
            self._show()
            return
        if not self._goes_on(number, about.st_size):
            self._forget()
        is_new = self._offset == 0
        content = _read_from(number, self._offset)
        dialect = dialect_of(content) if is_new else self._text.dialect
        self._text = read_text(content, dialect, self._line)
        self._settled.take(self._text.settled)
        self._offset += self._text.length
        self._line += self._text.lines
        self._mark = (self._mark + content[: self._text.length])[-_MARK_LENGTH:]
        self._known = known
        self._show()

    def _goes_on(self, number: int, size: int) -> bool:
        """Whether the file is what was read before, with more at its end: a spreadsheet writes another."""
        if self._known is None or size <= self._known[0]:
            return False
        start = self._offset - len(self._mark)
        return _read_from(number, start, len(self._mark)) == self._mark

    def _show(self) -> None:
        """Make the cases anew, with the rows at the end that may be parts of something, and with images."""
        self.table = self._settled
        images = self._images()
        if self._text.open or images:
            self.table = self._settled.copy()
            self.table.take(self._text.open)
            self.table.add_images(images)

    def _mended(self) -> bytes:
        """Return what ends the last line, where that was left without an end."""
        last = self._text.open[-1] if self._text.open else None
        if last is None or last.is_whole:
            return b""
        dialect, head = self._text.dialect, self.table.head
        quote = '"' if not last.is_closed else ""
        if head is None or not head.is_ours or head.is_head(last):
            return f"{quote}{dialect.line_end}".encode()
        return f"{quote}{dialect.delimiter.join(torn_end(last, head))}{dialect.line_end}".encode()

    def _append(self, content: bytes) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            number = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                while content:
                    content = content[os.write(number, content) :]
                os.fsync(number)
            finally:
                os.close(number)
        except OSError as error:
            raise WorklistError(f"expected a list that can be written, got {self.path}: {error.strerror}") from error


def _read_from(number: int, offset: int, length: int | None = None) -> bytes:
    os.lseek(number, offset, os.SEEK_SET)
    parts = []
    left = length
    while left is None or left > 0:
        part = os.read(number, 1 << 20 if left is None else left)
        if not part:
            break
        parts.append(part)
        left = None if left is None else left - len(part)
    return b"".join(parts)
