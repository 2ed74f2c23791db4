"""The rows of a list as cases: later rows about a case take the place of earlier ones.

A row with a number in the column `change` was written by PromptSeg and says all there is to say of its case: the one
with the highest number holds, in whatever order a spreadsheet has put them. The columns of a list that lacks some of
ours are named anew, in a second line of heads, before the first such row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from PromptSegLib.io.one_line import one_line
from PromptSegLib.worklist.case import CaseState, WorklistCase, default_segmentation, image_stem
from PromptSegLib.worklist.dialect import Record
from PromptSegLib.worklist.errors import WorklistError

COLUMNS = (
    "image",
    "segmentation",
    "prompts",
    "state",
    "reader",
    "comment",
    "seconds",
    "clicks",
    "model",
    "version",
    "unsure",
    "date",
    "change",
)
_OUTPUT = "output"  # what `promptseg segment --list` calls the segmentation
_CHANNEL = "channel "
_TORN = "torn"
# A spreadsheet takes what begins like this for a formula, and puts what comes of it, or an error, in its place.
_FORMULA = re.compile(r"'*[=+\-@]")
_LONGEST = 30_000  # letters in a cell: no spreadsheet keeps more, and what is far longer cannot be read as CSV
_MOST_UNSURE = 0.9999  # without a digit before the point, no spreadsheet makes a date or a thousand of it


class Head:
    """The names of a list's columns, from a line of heads."""

    def __init__(self, cells: Sequence[str]) -> None:
        known = {*COLUMNS, _OUTPUT}
        self.names = tuple(name.casefold() if name.casefold() in known else name for name in cells)
        self.width = len(self.names)

    @property
    def is_ours(self) -> bool:
        """Whether a row under it can say all there is to say."""
        return self.names[-1:] == ("change",) and all(self._place(name) is not None for name in COLUMNS)

    def completed(self) -> Head:
        """Return one with these columns and those of ours that lack, `change` at the end."""
        names = [name for name in self.names if name and name != "change"]
        has = [*names, "segmentation"] if _OUTPUT in names else names
        return Head([*names, *(name for name in COLUMNS[:-1] if name not in has), "change"])

    def cell(self, record: Record, name: str) -> str:
        """Return the cell of a row in this column; nothing where there is none."""
        place = self._place(name)
        return record.cells[place] if place is not None and place < len(record.cells) else ""

    def is_head(self, record: Record) -> bool:
        """Whether `record` is another line of heads."""
        return self.cell(record, "image").casefold() == "image" and "change" in record.cells

    def others(self, record: Record) -> dict[str, str]:
        """Return what columns that are not ours say."""
        pairs = zip(self.names, record.cells, strict=False)
        return {name: cell for name, cell in pairs if name and name not in COLUMNS and name != _OUTPUT}

    def _place(self, name: str) -> int | None:
        if name in self.names:
            return self.names.index(name)
        if name == "segmentation" and _OUTPUT in self.names:
            return self.names.index(_OUTPUT)
        return None


class Table:
    """What the rows of a list in `folder` come to. problems: what is wrong with it, a line each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.head: Head | None = None
        self.cases: dict[tuple[Path, Path], WorklistCase] = {}
        self.problems: list[str] = []
        self.change = 0
        self._is_sorted = False  # rows without a number are then older than all others, wherever they stand
        self._names: dict[str, Path] = {}
        self._cells: dict[tuple[Path, Path], dict[str, str]] = {}

    def copy(self) -> Table:
        other = Table(self.folder)
        other.head, other.change, other._is_sorted = self.head, self.change, self._is_sorted
        other.cases, other.problems = dict(self.cases), list(self.problems)
        other._names, other._cells = dict(self._names), dict(self._cells)
        return other

    def take(self, records: Iterable[Record]) -> None:
        """Take further rows.

        Raises:
            WorklistError: the first line names no column `image`.
        """
        rows = [row for row in records if any(row.cells) and not row.cells[0].lower().startswith("sep=")]
        if self.head is None and (head := _head_of_sorted(rows)) is not None:
            self.head, self._is_sorted = head, True
            rows = rows[1:]
        for record in rows:
            if self.head is None:
                self._take_head(record)
            elif self.head.is_head(record):
                if record.is_whole:
                    self._take_head(record)
            elif self._is_torn(record):
                self._note(record, "a row that was not finished: left out")
            else:
                self._take_row(self.head, record)

    def add_images(self, images: Iterable[Path]) -> None:
        """Take images that no row may be about yet."""
        there = {case.image for case in self.cases.values()}
        for image in images:
            if image not in there:
                name = self._name(image)
                case = WorklistCase(image, default_segmentation(self.folder, name), name)
                self.cases[case.key] = replace(case, state=_state_of_saved(case))

    def cells(self, case: WorklistCase, head: Head) -> list[str]:
        """Return `case` as a row under `head`."""
        before = self._cells.get(case.key, {})
        own = {
            "image": before.get("image") or self._written(case.image),
            "segmentation": before.get("segmentation") or self._written(case.segmentation),
            "prompts": before.get("prompts") or (self._written(case.prompts) if case.prompts else ""),
            "state": case.state.value,
            "reader": _shielded(case.reader),
            "comment": _shielded(case.comment),
            "seconds": str(case.seconds),
            "clicks": str(case.clicks),
            "model": _shielded(case.model),
            "version": _shielded(case.version),
            "unsure": "" if case.unsure is None else f"{min(max(case.unsure, 0.0), _MOST_UNSURE):.4f}",
            "date": case.date,
            "change": str(case.change),
        }
        own[_OUTPUT] = own["segmentation"]
        # A cell with a line end in it stays where it is: what is added takes one line, which is whole or is not.
        extra = {name: "" if "\n" in cell else cell for name, cell in case.extra.items()}
        return [own.get(name, extra.get(name, "")) for name in head.names]

    # Within

    def _take_head(self, record: Record) -> None:
        head = Head(record.cells)
        if "image" not in head.names:
            found = ", ".join(name for name in head.names if name) or "none"
            raise WorklistError(f"expected a column 'image' with at least one row, got the columns {found}")
        self.head = head

    def _is_torn(self, record: Record) -> bool:
        """Whether it is what a writer left that was killed, with a line end of the next one or without."""
        assert self.head is not None
        if self.head.cell(record, "change").endswith(_TORN):
            return True
        return not record.is_whole and self.head.is_ours

    def _take_row(self, head: Head, record: Record) -> None:
        if not record.is_closed:
            self._note(record, "expected a quote at the end of a cell, got none: left out")
            return
        if any(record.cells[head.width :]):
            self._note(record, f"expected {head.width} cells, got {len(record.cells)}: the first ones count")
        case = self._case(head, record)
        if case is None:
            return
        before = self.cells_of(case.key)
        known = self.cases.get(case.key)
        if known is not None and case.change < known.change and (case.change or self._is_sorted):
            return
        if known is not None and not case.change:
            self._note(record, f"{known.name} is in line {known.line}, too: the later row counts")
        if known is not None:
            extra = {**known.extra, **{name: cell for name, cell in case.extra.items() if cell}}
            case = replace(case, extra=extra, channels={**known.channels, **case.channels}, name=known.name)
        self.cases[case.key] = case
        self._cells[case.key] = before | {
            name: cell for name in ("image", "segmentation", "prompts") if (cell := head.cell(record, name))
        }
        self.change = max(self.change, case.change)

    def cells_of(self, key: tuple[Path, Path]) -> dict[str, str]:
        """Return how the list writes the paths of a case."""
        return self._cells.get(key, {})

    def _case(self, head: Head, record: Record) -> WorklistCase | None:
        def cell(name: str) -> str:
            return head.cell(record, name)

        if not cell("image"):
            self._note(record, "expected an image, got none: left out")
            return None
        image = self._path(cell("image"))
        name = self._name(image)
        segmentation = cell("segmentation")
        others = head.others(record)
        case = WorklistCase(
            image,
            self._path(segmentation) if segmentation else default_segmentation(self.folder, name),
            name,
            prompts=self._path(cell("prompts")) if cell("prompts") else None,
            channels={
                column.removeprefix(_CHANNEL).strip(): self._path(value)
                for column, value in others.items()
                if column.startswith(_CHANNEL) and value
            },
            reader=_unshielded(cell("reader")),
            comment=_unshielded(cell("comment")),
            seconds=int(self._number(record, "seconds", cell("seconds")) or 0),
            clicks=int(self._number(record, "clicks", cell("clicks")) or 0),
            model=_unshielded(cell("model")),
            version=_unshielded(cell("version")),
            unsure=self._number(record, "unsure", cell("unsure"), 1.0),
            date=cell("date"),
            change=int(self._number(record, "change", cell("change")) or 0),
            extra=others,
            line=record.line,
        )
        return replace(case, state=self._state(record, cell("state"), case))

    def _state(self, record: Record, text: str, case: WorklistCase) -> CaseState:
        state = CaseState.of(text)
        if state is None:
            expected = ", ".join(CaseState)
            self._note(record, f"expected a state out of {expected}, got {one_line(text)!r}: counts as in work")
            return CaseState.IN_WORK
        return state if text else _state_of_saved(case)

    def _number(self, record: Record, name: str, text: str, most: float = 1e12) -> float | None:
        if not text:
            return None
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            value = -1.0
        if not 0 <= value <= most:
            self._note(record, f"expected a number from 0 on as {name}, got {one_line(text)!r}: left out")
            return None
        return value

    def _note(self, record: Record, text: str) -> None:
        self.problems.append(f"line {record.line}: {text}")

    def _name(self, image: Path) -> str:
        """Return what an image is called: its file's name, with its folder's before it where another has that."""
        stem = image_stem(image) or image.name
        name = stem
        for folder in image.parents:
            if self._names.setdefault(name, image) == image:
                break
            name = f"{folder.name}-{name}" if folder.name else f"{name}-2"
        return name

    def _path(self, text: str) -> Path:
        if os.sep == "/" and "\\" in text and not (self.folder / text).exists():
            text = text.replace("\\", "/")
        return Path(os.path.normpath(self.folder / text)) if "\0" not in text else self.folder / text

    def _written(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else str(path)


def _head_of_sorted(rows: Sequence[Record]) -> Head | None:
    """Return the second line of heads where a spreadsheet has sorted the rows, and with them that line; else None.

    It then no longer stands above its rows. It goes on from the first line, so that it fits the other rows, too.
    """
    first = rows[0].cells if rows else ()
    second = next((at for at in range(1, len(rows)) if Head(first).is_head(rows[at])), None)
    if second is None or not (head := Head(rows[second].cells)).is_ours:
        return None
    while first and not first[-1]:  # a spreadsheet gives all rows the same number of cells
        first = first[:-1]
    if head.names[: len(first)] != Head(first).names:
        return None
    is_sorted = second == 1 or any(head.cell(row, "change") for row in rows[1:second])
    return head if is_sorted else None


def _state_of_saved(case: WorklistCase) -> CaseState:
    """Return the state of a case that no row gives one: where there is a segmentation, somebody made it."""
    return CaseState.IN_WORK if case.is_saved else CaseState.TODO


def torn_end(record: Record, head: Head) -> list[str]:
    """Return the cells that make a row of what a killed writer left, so that readers leave it out."""
    missing = head.width - len(record.cells)
    return ["", *[""] * (missing - 1), _TORN] if missing > 0 else [_TORN]


def _shielded(text: str) -> str:
    text = one_line(text)[:_LONGEST]
    return f"'{text}" if _FORMULA.match(text) else text


def _unshielded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
