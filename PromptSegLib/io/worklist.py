"""Cases to work through one after the other, from a folder or a CSV file; where one stopped is remembered."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from PromptSegLib.errors import VolumeError

_IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_SEGMENTATION_SUFFIX = ".seg.nrrd"
_POSITION_FILE = "promptseg-worklist.json"


@dataclass(frozen=True)
class WorklistCase:
    """One image, and the file that its segmentation is saved to."""

    name: str
    image: Path
    segmentation: Path

    @property
    def is_done(self) -> bool:
        """Whether its segmentation was saved."""
        return self.segmentation.is_file()


class Worklist:
    """Cases in order, one of them the current. output: the folder of the segmentations and of the position."""

    def __init__(self, cases: Sequence[WorklistCase], output: Path) -> None:
        self.cases = tuple(cases)
        self.output = output
        self._index = 0

    @classmethod
    def open(cls, source: str | Path) -> Self:
        """Return the cases of a folder of images, or of a CSV file, at the one where work stopped.

        A CSV file has a column `image`, and one `segmentation` if need be; paths are relative to the file.
        Otherwise segmentations go to a folder `segmentations` beside the images.

        Raises:
            VolumeError: there is no case.
        """
        path = Path(source).absolute()
        worklist = cls.from_csv(path) if path.suffix.lower() == ".csv" else cls.from_folder(path)
        worklist._resume()
        return worklist

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        if not folder.is_dir():
            raise VolumeError(f"expected a folder of images or a CSV file, got {folder}, which is neither")
        images = sorted(path for path in folder.iterdir() if _stem(path) and path.is_file())
        return cls._of([(image, None) for image in images], folder)

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise VolumeError(f"expected a CSV file of cases, got {path}: {error.strerror}") from error
        if not rows or "image" not in rows[0]:
            raise VolumeError(f"expected a column 'image' with at least one row, got none in {path}")
        pairs = [
            (path.parent / row["image"], path.parent / row["segmentation"] if row.get("segmentation") else None)
            for row in rows
        ]
        return cls._of(pairs, path.parent)

    @classmethod
    def _of(cls, pairs: Sequence[tuple[Path, Path | None]], folder: Path) -> Self:
        output = folder / "segmentations"
        cases = []
        for image, segmentation in pairs:
            name = _stem(image) or image.name
            cases.append(WorklistCase(name, image, segmentation or output / f"{name}{_SEGMENTATION_SUFFIX}"))
        if not cases:
            raise VolumeError(f"expected images ({', '.join(_IMAGE_SUFFIXES)}) in {folder}, got none")
        return cls(cases, output)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def index(self) -> int:
        return self._index

    @property
    def current(self) -> WorklistCase:
        return self.cases[self._index]

    @property
    def done(self) -> int:
        """How many cases have a saved segmentation."""
        return sum(case.is_done for case in self.cases)

    @property
    def has_next(self) -> bool:
        return self._index + 1 < len(self.cases)

    @property
    def has_previous(self) -> bool:
        return self._index > 0

    def go(self, index: int) -> WorklistCase:
        """Make the case at `index` the current one, and remember it."""
        if not 0 <= index < len(self.cases):
            raise IndexError(f"expected a case from 0 to {len(self.cases) - 1}, got {index}")
        self._index = index
        self.output.mkdir(parents=True, exist_ok=True)
        (self.output / _POSITION_FILE).write_text(json.dumps({"image": self.current.image.name}), encoding="utf-8")
        return self.current

    def _resume(self) -> None:
        """Go where work stopped, or to the first case that is not done."""
        position = self.output / _POSITION_FILE
        if position.is_file():
            name = json.loads(position.read_text(encoding="utf-8-sig")).get("image")
            found = [index for index, case in enumerate(self.cases) if case.image.name == name]
            self._index = found[0] if found else 0
        else:
            self._index = next((index for index, case in enumerate(self.cases) if not case.is_done), 0)


def _stem(path: Path) -> str:
    """Return an image file's name without its ending; nothing for other files and for segmentations."""
    name = path.name.lower()
    if name.endswith(_SEGMENTATION_SUFFIX):
        return ""
    for suffix in _IMAGE_SUFFIXES:
        if name.endswith(suffix):
            return path.name[: -len(suffix)]
    return ""
