"""DICOM files: a single one, or a folder with series of which one is read as a volume."""

from __future__ import annotations

import filecmp
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PromptSegLib.errors import VolumeError
from PromptSegLib.io.compression import check_claim
from PromptSegLib.io.dicom_frames import Frame, frames_of
from PromptSegLib.io.dicom_header import DicomFile, is_dicom, is_directory, read_header
from PromptSegLib.io.dicom_pixels import read_stack
from PromptSegLib.io.dicom_stacks import lie_alike, matrix_of, stacks_of
from PromptSegLib.io.image_file import ImageFile
from PromptSegLib.volume import Volume

__all__ = ["is_dicom", "open_file", "open_series", "series_headers"]

_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass
class _Series:
    """Frames of a series that lie alike: of one size and direction."""

    uid: str
    frames: list[Frame]
    notes: list[str]

    @property
    def files(self) -> list[DicomFile]:
        return list({id(frame.file): frame.file for frame in self.frames}.values())

    def described(self) -> str:
        first, count = self.files[0], len(self.files)
        parts = [first.text("Modality"), first.text("SeriesDescription"), f"{count} files"]
        return f"{' '.join(part for part in parts if part)}, {self.uid}"


@dataclass
class _Folder:
    """What is in a folder. unreadable: DICOM files that cannot be read, and why."""

    path: Path
    series: list[_Series] = field(default_factory=list)
    unreadable: list[tuple[Path, VolumeError]] = field(default_factory=list)


def open_file(path: Path) -> ImageFile:
    """Read the header of a DICOM file, see `read_volume`.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    file = read_header(path)
    if file.pixels is None:
        kind = "a list of files (DICOMDIR)" if is_directory(file) else file.text("Modality") or "no modality"
        raise VolumeError(f"expected a DICOM file with an image, got {path}: {kind}")
    found = frames_of(file)
    return _image_file(path, found.frames, str(path), found.notes)


def open_series(folder: Path, series: str | None) -> ImageFile:
    """Read the headers of a series in `folder`, see `read_volume`.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    found = _look_through(folder)
    if not found.series and found.unreadable:
        raise found.unreadable[0][1]
    if not found.series:
        raise VolumeError(f"expected a folder with DICOM files, got {folder}: none of its files can be read as DICOM")
    chosen = _chosen(found, series)
    _check_none_is_left_out(found, chosen)
    frames, notes = _without_copies(chosen)
    return _image_file(folder, frames, str(folder), [*chosen.notes, *notes])


def series_headers(folder: Path, series: str | None) -> list[DicomFile]:
    """Return the headers of the files that `open_series` reads.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    return _chosen(_look_through(folder), series).files


def _image_file(path: Path, frames: Sequence[Frame], source: str, notes: Sequence[str]) -> ImageFile:
    stacks = stacks_of(frames, source)
    notes = list(notes)
    if not frames[0].is_placed and len(stacks[0]) > 1:
        notes.append("its frames have no position; they lie 1 mm apart")
    return ImageFile(path, "DICOM", len(stacks), partial(_read, stacks), notes=tuple(dict.fromkeys(notes)))


def _read(stacks: Sequence[Sequence[Frame]], time_point: int) -> Volume:
    stack = stacks[time_point]
    files = {frame.file.path for frame in stack}
    claimed = len(stack) * math.prod(stack[0].shape_ji)  # of a byte at least: each slice may be small, and all large
    check_claim(stack[0].file.path.parent, claimed, sum(path.stat().st_size for path in files))
    return Volume(read_stack(stack), matrix_of(stack))


def _look_through(folder: Path) -> _Folder:
    """Read the headers of all DICOM files in a folder, not in those within it."""
    found = _Folder(folder)
    for path in sorted(folder.iterdir()):
        is_named_so = path.suffix.lower() in _SUFFIXES
        if path.is_symlink() and not path.exists():
            error = VolumeError(f"expected a file, got {path}: a link to {path.readlink()}, which is not there")
            found.unreadable.append((path, error))
        elif path.is_file() and (is_named_so or is_dicom(path) or not path.suffix):
            try:
                _sort_in(found, read_header(path))
            except VolumeError as error:
                if is_named_so or is_dicom(path):
                    found.unreadable.append((path, error))
    found.series.sort(key=lambda series: series.uid)
    return found


def _sort_in(found: _Folder, file: DicomFile) -> None:
    if file.pixels is None:
        return
    frames = frames_of(file)
    uid = file.text("SeriesInstanceUID")
    for frame in frames.frames:
        alike = (one for one in found.series if one.uid == uid and lie_alike(one.frames[0], frame))
        series = next(alike, None)
        if series is None:
            series = _Series(uid, [], [])
            found.series.append(series)
        series.frames.append(frame)
        series.notes.extend(frames.notes)


def _chosen(found: _Folder, series: str | None) -> _Series:
    if series is None and len(found.series) == 1:
        return found.series[0]
    if series is not None and series.isdecimal() and 1 <= int(series) <= len(found.series):
        return found.series[int(series) - 1]
    of_uid = [one for one in found.series if one.uid == series]
    if len(of_uid) == 1:
        return of_uid[0]
    uids = {one.uid for one in found.series}
    listed = "; ".join(f"{number}: {one.described()}" for number, one in enumerate(found.series, start=1))
    if len(uids) == 1 or of_uid:
        raise VolumeError(
            f"expected slices of one size and direction in {found.path}, got {len(of_uid or found.series)} kinds in "
            f"one series; choose by number: {listed}"
        )
    asked = "one series" if series is None else f"a series, not {series!r}"
    raise VolumeError(f"expected {asked} out of {len(found.series)} in {found.path}; choose by number or UID: {listed}")


def _check_none_is_left_out(found: _Folder, chosen: _Series) -> None:
    """Raise VolumeError when a file that cannot be read could be a slice of the series."""
    others = [one.uid for one in found.series if one.uid != chosen.uid]
    for path, error in found.unreadable:
        head = b""
        if path.exists():
            with path.open("rb") as file:
                head = file.read(1 << 16)
        # The UID of another series in it, and not that of this one: it is not missing here.
        if chosen.uid.encode() not in head and any(uid.encode() in head for uid in others):
            continue
        raise error


def _without_copies(series: _Series) -> tuple[list[Frame], list[str]]:
    """Return the frames of a series without those of files that are there twice, and a note on each of these."""
    first: dict[str, DicomFile] = {}
    copies: set[Path] = set()
    notes = []
    for file in series.files:
        uid = file.text("SOPInstanceUID")
        if not uid or uid not in first:
            first[uid] = file
            continue
        if not filecmp.cmp(first[uid].path, file.path, shallow=False):
            raise VolumeError(
                f"expected one file of each SOPInstanceUID in {file.path.parent}, got {first[uid].path.name} and "
                f"{file.path.name}, which differ"
            )
        copies.add(file.path)
        notes.append(f"{file.path.name} is a copy of {first[uid].path.name}; it is left out")
    return [frame for frame in series.frames if frame.file.path not in copies], notes
