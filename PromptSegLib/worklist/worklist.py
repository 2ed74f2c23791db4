"""Cases to work through, from a folder or a CSV file: their states, whose they are, and where one stopped.

    worklist = Worklist.open("cases.csv", reader="Ann")
    case = worklist.claim(worklist.cases[0])
    worklist.record(case, state=CaseState.ACCEPTED, comment="clear borders")

What is recorded is a row at the end of the file, written while its lock is held, after what others added was read: no
row is ever changed or taken away. The newest row about a case holds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from PromptSegLib.worklist.case import (
    IMAGE_SUFFIXES,
    CaseState,
    WorklistCase,
    image_stem,
    reading_of,
)
from PromptSegLib.worklist.errors import CaseTakenError, WorklistError
from PromptSegLib.worklist.list_file import ListFile

FOLDER_LIST = "promptseg-list.csv"
"""The list of a folder of images, made with the first thing that is recorded."""
_POSITION_FILE = "promptseg-worklist.json"
FREE = frozenset({CaseState.TODO})
"""States in which a proposal may be made."""


class Worklist:
    """Cases in order, one of them the current. reader: who works on it here."""

    def __init__(self, path: Path, folder_of_images: Path | None = None, reader: str = "") -> None:
        self.path = path
        self.reader = reader
        self._folder = folder_of_images
        self._file = ListFile(path, self._images if folder_of_images is not None else tuple)
        self._index = 0
        self._done: int | None = None
        self.cases: tuple[WorklistCase, ...] = ()
        self.refresh()

    @classmethod
    def open(cls, source: str | Path, reader: str = "") -> Self:
        """Return the cases of a folder of images, or of a CSV file, at the one where `reader` stopped.

        A CSV file has a column `image`, and others as of `table.COLUMNS` if need be; paths are relative to the file.
        Where it names no segmentation, that goes to a folder `segmentations` beside it.

        Raises:
            WorklistError: there is no case, or the file cannot be read.
        """
        path = Path(source).absolute()
        if path.name == FOLDER_LIST:
            path = path.parent
        if path.suffix.lower() == ".csv":
            if not path.is_file():
                raise WorklistError(f"expected a CSV file of cases, got {path}: there is no such file")
            worklist = cls(path, reader=reader)
            if not worklist.cases:
                raise WorklistError(f"expected a column 'image' with at least one row, got none in {path}")
        elif path.is_dir():
            worklist = cls(path / FOLDER_LIST, path, reader)
            if not worklist.cases:
                raise WorklistError(f"expected images ({IMAGE_SUFFIXES}) in {path}, got none")
        else:
            raise WorklistError(f"expected a folder of images or a CSV file, got {path}, which is neither")
        worklist._resume()
        return worklist

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the list, a line each; all that is right counts."""
        return tuple(self._file.table.problems)

    @property
    def counts(self) -> Mapping[CaseState, int]:
        """How many cases are in each state."""
        found = Counter(case.state for case in self.cases)
        return {state: found[state] for state in CaseState}

    @property
    def done(self) -> int:
        """How many cases have a segmentation that somebody made or agreed to; looked at once for each change."""
        if self._done is None:
            self._done = sum(case.is_done for case in self.cases)
        return self._done

    def refresh(self) -> bool:
        """Take in what others recorded since. Returns whether anything changed.

        Raises:
            WorklistError: the list cannot be read any more.
        """
        self._file.refresh()
        before = self.cases
        self._take_cases()
        return self.cases != before

    def find(self, case: WorklistCase) -> WorklistCase:
        """Return `case` as it is now.

        Raises:
            WorklistError: it is not in the list any more.
        """
        found = self._file.table.cases.get(case.key)
        if found is None:
            raise WorklistError(f"expected a case of {self.path}, got {case.name}: it is not in the list")
        return found

    def readings(self, case: WorklistCase) -> tuple[WorklistCase, ...]:
        """Return all cases with the image of `case`, itself among them."""
        return tuple(other for other in self.cases if other.image == case.image)

    # What is recorded

    def record(
        self,
        case: WorklistCase,
        *,
        only_from: Collection[CaseState] | None = None,
        add_seconds: float = 0,
        add_clicks: int = 0,
        before: Callable[[], None] = lambda: None,
        **changes: Any,
    ) -> WorklistCase:
        """Record `changes`, fields of `case` by name, and return the case as it is then.

        Other fields stay as whoever wrote last left them. only_from: states out of which it may be done. add_seconds,
        add_clicks: what was spent on it besides. before: done while the list is held, before the row is written, such
        as to move a file in place; when it raises, nothing is recorded.

        Raises:
            CaseTakenError: its state is none of `only_from`.
            WorklistError: the list is locked or cannot be written, or holds no such case.
        """
        with self._file.writing():
            now = self.find(case)
            if only_from is not None and now.state not in only_from:
                whose = f" by {now.reader}" if now.reader else ""
                raise CaseTakenError(f"expected {now.name} {' or '.join(sorted(only_from))}, got it {now.state}{whose}")
            before()
            spent = {"seconds": now.seconds + round(add_seconds), "clicks": now.clicks + add_clicks}
            state = CaseState(changes.pop("state", now.state))
            self._add(replace(now, **{**spent, **changes, "state": state}))
        return self._recorded(case)

    def claim(self, case: WorklistCase, reader: str = "") -> WorklistCase:
        """Record that `reader`, by default who works here, begins with `case`, unless somebody else has it.

        Raises:
            CaseTakenError: another reader works on it, or has decided.
            WorklistError: as `record`.
        """
        reader = reader or self.reader
        with self._file.writing():
            now = self.find(case)
            if now.is_others(reader):
                raise CaseTakenError(
                    f"expected {now.name} free for {reader or 'anybody'}, got it {now.state} by {now.reader}: "
                    "make a second reading of it"
                )
            if (now.state, now.reader) != (CaseState.IN_WORK, reader):
                self._add(replace(now, state=CaseState.IN_WORK, reader=reader))
        return self._recorded(case)

    def add_reading(self, case: WorklistCase, reader: str = "") -> WorklistCase:
        """Add a reading of the image of `case`, with a segmentation of its own, for `reader`; return the one there is.

        Raises:
            WorklistError: as `record`.
        """
        reader = reader or self.reader
        first = self.readings(case)[0] if self.readings(case) else case
        wanted = replace(
            WorklistCase(case.image, reading_of(first.segmentation, reader or "second"), case.name),
            prompts=case.prompts,
            channels=case.channels,
            extra=case.extra,
            reader=reader,
        )
        with self._file.writing():
            if wanted.key not in self._file.table.cases:
                self._add(wanted)
        return self._recorded(wanted)

    def _add(self, case: WorklistCase) -> None:
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        self._file.add(replace(case, date=date, change=self._file.table.change + 1))

    def _recorded(self, case: WorklistCase) -> WorklistCase:
        self._take_cases()
        return self.find(case)

    def _take_cases(self) -> None:
        current = self.cases[self._index].key if self.cases else None
        self.cases, self._done = tuple(self._file.table.cases.values()), None
        found = [index for index, case in enumerate(self.cases) if case.key == current]
        self._index = found[0] if found else 0

    def _images(self) -> tuple[Path, ...]:
        assert self._folder is not None
        return tuple(sorted(path for path in self._folder.iterdir() if image_stem(path) and path.is_file()))

    # Where one is

    @property
    def index(self) -> int:
        return self._index

    @property
    def current(self) -> WorklistCase:
        return self.cases[self._index]

    @property
    def has_next(self) -> bool:
        return self._index + 1 < len(self.cases)

    @property
    def has_previous(self) -> bool:
        return self._index > 0

    def go(self, index: int) -> WorklistCase:
        """Make the case at `index` the current one, and remember it, where that can be written."""
        if not 0 <= index < len(self.cases):
            raise IndexError(f"expected a case from 0 to {len(self.cases) - 1}, got {index}")
        self._index = index
        case = self.current
        places = self._positions() | {
            self.reader: {"image": case.image.name, "segmentation": case.segmentation.name},
            "image": case.image.name,
        }
        with suppress(OSError):  # a list that can only be read is looked through all the same
            self._position_path.parent.mkdir(parents=True, exist_ok=True)
            self._position_path.write_text(json.dumps(places), encoding="utf-8")
        return case

    @property
    def _position_path(self) -> Path:
        return self.path.parent / "segmentations" / _POSITION_FILE

    def _positions(self) -> dict[str, Any]:
        """Return where each reader stopped; nothing where the file is damaged or there is none."""
        try:
            places = json.loads(self._position_path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            return {}
        return places if isinstance(places, dict) else {}

    def _resume(self) -> None:
        """Go where the reader stopped, or to the first case that is not done."""
        places = self._positions()
        place = places.get(self.reader)
        image = place.get("image") if isinstance(place, dict) else places.get("image")
        segmentation = place.get("segmentation") if isinstance(place, dict) else None
        named = [index for index, case in enumerate(self.cases) if case.image.name == image]
        exact = [index for index in named if self.cases[index].segmentation.name == segmentation]
        open_cases = (index for index, case in enumerate(self.cases) if not case.is_done)
        self._index = next(iter(exact or named or open_cases), 0)
