"""A case of a list: an image, where its segmentation is, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_SEGMENTATION_SUFFIX = ".seg.nrrd"
IMAGE_SUFFIXES = ", ".join(_SUFFIXES)


class CaseState(StrEnum):
    """What became of a case."""

    TODO = "to do"
    PROPOSED = "proposed"
    IN_WORK = "in work"
    ACCEPTED = "accepted"
    REJECTED = "rejected"

    @classmethod
    def of(cls, text: str) -> CaseState | None:
        """Return the state that `text` names, in any case and with any space; nothing is to do. None: unknown."""
        plain = "".join(letter for letter in text.casefold() if letter.isalnum())
        return next((state for state in cls if state.replace(" ", "") == plain), None) if plain else cls.TODO


@dataclass(frozen=True)
class WorklistCase:
    """One reading of one image.

    An image that two people read is two cases, with a segmentation each. prompts: a file of prompts to propose from.
    channels: further images, by their names. reader: whose the case is. seconds, clicks: spent on it so far. model,
    version: of the proposal. unsure: 0, sure, to 1; None where nothing is known. change: number of the newest row
    about it, 0 where it only stands in the list. extra: what columns of others say. line: of its newest row, 0 for an
    image of a folder that no row is about yet.
    """

    image: Path
    segmentation: Path
    name: str = ""
    prompts: Path | None = None
    channels: Mapping[str, Path] = field(default_factory=dict, hash=False)
    state: CaseState = CaseState.TODO
    reader: str = ""
    comment: str = ""
    seconds: int = 0
    clicks: int = 0
    model: str = ""
    version: str = ""
    unsure: float | None = None
    date: str = ""
    change: int = 0
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)
    line: int = 0

    @property
    def key(self) -> tuple[Path, Path]:
        """What rows about the same case have in common: its image and its segmentation."""
        return self.image, self.segmentation

    @property
    def is_saved(self) -> bool:
        """Whether there is a segmentation."""
        return self.segmentation.is_file()

    @property
    def is_done(self) -> bool:
        """Whether somebody made its segmentation, or agreed to it: a mere proposal, or a rejected one, is not."""
        return self.state in (CaseState.IN_WORK, CaseState.ACCEPTED) and self.is_saved

    @property
    def certainty_file(self) -> Path:
        """Where it lies how sure the proposal is of each voxel, see `PromptSegLib.io.certainty_file`."""
        return self.segmentation.with_name(f"{_plain(self.segmentation.name)}.certainty.npz")

    def is_others(self, reader: str) -> bool:
        """Whether somebody other than `reader` works on it, or has decided."""
        is_held = self.state in (CaseState.IN_WORK, CaseState.ACCEPTED, CaseState.REJECTED)
        return is_held and bool(self.reader) and self.reader != reader


def by_unsureness(cases: Iterable[WorklistCase]) -> list[WorklistCase]:
    """Return the most unsure first; those of which nothing is known last."""
    return sorted(cases, key=lambda case: -1.0 if case.unsure is None else case.unsure, reverse=True)


def image_stem(path: Path) -> str:
    """Return an image file's name without its ending; nothing for other files and for segmentations."""
    name = path.name.lower()
    if name.endswith(_SEGMENTATION_SUFFIX):
        return ""
    return next((path.name[: -len(suffix)] for suffix in _SUFFIXES if name.endswith(suffix)), "")


def default_segmentation(folder: Path, name: str) -> Path:
    """Return where the segmentation of the image called `name` goes where a list in `folder` does not say."""
    return folder / "segmentations" / f"{name}{_SEGMENTATION_SUFFIX}"


def reading_of(segmentation: Path, reader: str) -> Path:
    """Return where another reader's segmentation goes, beside this one."""
    plain = _plain(segmentation.name)
    called = "".join(letter if letter.isalnum() else "_" for letter in reader)
    return segmentation.with_name(f"{plain}.{called}{segmentation.name[len(plain) :]}")


def _plain(name: str) -> str:
    endings = (_SEGMENTATION_SUFFIX, *_SUFFIXES)
    ending = next((end for end in endings if name.lower().endswith(end)), Path(name).suffix)
    return name[: len(name) - len(ending)]
