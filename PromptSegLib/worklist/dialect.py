"""The text of a list: as spreadsheets write it, and as a writer that was killed leaves it.

Rows are only ever added at the end. So a reader goes on where it stopped, and what a killed writer leaves is at most
one line at the end that is not whole.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PromptSegLib.worklist.errors import WorklistError

_DELIMITERS = ",;\t"
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Dialect:
    """How a list is written. encoding: UTF-8, or what spreadsheets on Windows write besides."""

    delimiter: str = ","
    line_end: str = "\n"
    encoding: str = "utf-8"

    def row(self, cells: Sequence[str]) -> bytes:
        """Return a row, with its line end. Letters that the encoding lacks are written as UTF-8, which is read."""
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator=self.line_end).writerow(cells)
        try:
            return text.getvalue().encode(self.encoding)
        except UnicodeEncodeError:
            return text.getvalue().encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Record:
    """A row of cells, without space around them. is_whole: its line has an end. is_closed: its quotes have one."""

    line: int
    cells: tuple[str, ...]
    is_whole: bool = True
    is_closed: bool = True


@dataclass(frozen=True)
class Text:
    """What was read of a list.

    settled: rows that stay as they are whatever is added. open: those at the end that may be parts of something.
    length, lines: of what is settled, in bytes and lines.
    """

    dialect: Dialect
    settled: tuple[Record, ...]
    open: tuple[Record, ...]
    length: int
    lines: int


def dialect_of(content: bytes) -> Dialect:
    """Return how a list is written, by its first rows.

    Raises:
        WorklistError: it is UTF-16.
    """
    if content.startswith(_UTF16_MARKS):
        raise WorklistError("expected a list in UTF-8, got UTF-16: save it as CSV UTF-8")
    lines = content.removeprefix(_UTF8_MARK).splitlines()
    head = next((_decoded(line) for line in lines if line.strip()), "")
    if head.lower().startswith("sep=") and len(head) > 4:  # spreadsheets begin with this where they are told to
        delimiter = head[4]
    else:
        counts = {mark: _names_an_image(head, mark) * 1000 + head.count(mark) for mark in _DELIMITERS}
        delimiter = max(counts, key=lambda mark: counts[mark])
    line_end = "\r\n" if b"\r\n" in content else "\n"
    # The last line may have been cut within a letter.
    is_utf8 = all(_is_utf8(line) for line in (lines if content.endswith(b"\n") else lines[:-1]))
    return Dialect(delimiter, line_end, "utf-8" if is_utf8 else "cp1252")


def read_text(content: bytes, dialect: Dialect, line: int = 1) -> Text:
    """Return the rows of `content`, which begins at `line`."""
    settled: list[Record] = []
    length, lines, first = 0, 0, line
    for record, nbytes, count in _records(content, dialect, line):
        if not (record.is_whole and record.is_closed):
            break
        settled.append(record)
        length, lines, first = length + nbytes, lines + count, first + count
    rest = [record for record, _, _ in _records(content[length:], dialect, first)]
    return Text(dialect, tuple(settled), tuple(rest), length, lines)


def _records(content: bytes, dialect: Dialect, line: int) -> Iterator[tuple[Record, int, int]]:
    """Yield each row with the bytes and the lines that it takes.

    A cell in quotes may hold line ends. Quotes that nothing closes end with their line, so that the rows after it are
    not swallowed.
    """
    physical = content.splitlines(keepends=True)
    at = 0
    while at < len(physical):
        stop, quotes = at + 1, physical[at].count(b'"')
        while quotes % 2 and stop < len(physical):
            quotes += physical[stop].count(b'"')
            stop += 1
        is_closed = quotes % 2 == 0
        if not is_closed:
            stop = at + 1
        raw = b"".join(physical[at:stop])
        is_whole = raw.endswith((b"\n", b"\r"))
        yield Record(line + at, _cells(raw, dialect), is_whole, is_closed), len(raw), stop - at
        at = stop


def _cells(raw: bytes, dialect: Dialect) -> tuple[str, ...]:
    text = "\n".join(_decoded(line) for line in raw.removeprefix(_UTF8_MARK).splitlines())
    if text.count('"') % 2:
        text += '"'
    try:
        cells = next(csv.reader([text], delimiter=dialect.delimiter), [])
    except csv.Error:  # a cell as long as no list has any
        return ()
    return tuple(cell.strip() for cell in cells)


def _decoded(line: bytes) -> str:
    # Line by line: a tool that knows no UTF-8 may have added some to a list that another wrote.
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _names_an_image(head: str, delimiter: str) -> bool:
    return any(cell.strip(' "').casefold() == "image" for cell in head.split(delimiter))
