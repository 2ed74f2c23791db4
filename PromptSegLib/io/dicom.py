"""A folder of DICOM files: its series, and one of them as a volume."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import FloatArray
from PromptSegLib.io.compression import check_claim
from PromptSegLib.io.dicom_structure import check_structure
from PromptSegLib.io.image_file import ImageFile
from PromptSegLib.io.itk import affine_of, claimed_bytes, open_itk, read_array, read_header
from PromptSegLib.volume import Volume

_MODALITY, _DESCRIPTION, _INSTANCE, _CLASS = "0008|0060", "0008|103e", "0020|0013", "0008|0016"

# Slices that lie this much of a step off an even grid count as evenly spaced: headers are rounded.
_UNEVEN = 0.05


@dataclass(frozen=True)
class _Slice:
    path: Path
    instance: int
    shape_ji: tuple[int, int]
    ijk_to_ras: FloatArray

    @property
    def origin_ras(self) -> FloatArray:
        return self.ijk_to_ras[:3, 3]


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM files do, whatever it is called."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def open_series(folder: Path, series: str | None) -> ImageFile:
    """Read the headers of a series in `folder`, see `read_volume`. Raises VolumeError."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            check_structure(path)
    uids = sorted(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))
    if not uids:
        raise VolumeError(f"expected a folder with DICOM files, got {folder}: none of its files can be read as DICOM")
    files = {uid: [Path(f) for f in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)] for uid in uids}
    uid = _chosen(folder, files, series)
    _check_none_is_damaged(folder, files, uid)
    if len(files[uid]) == 1:
        return open_itk(files[uid][0], ".dcm")
    stacks = _stacks([_slice(path) for path in files[uid]], folder)
    return ImageFile(folder, "DICOM", len(stacks), partial(_read, stacks))


def _chosen(folder: Path, files: dict[str, list[Path]], series: str | None) -> str:
    uids = list(files)
    if series is None and len(uids) == 1:
        return uids[0]
    if series in uids:
        return str(series)
    if series is not None and series.isdecimal() and 1 <= int(series) <= len(uids):
        return uids[int(series) - 1]
    asked = "one series" if series is None else f"a series, not {series!r}"
    listed = "; ".join(f"{number}: {_described(files[uid])}, {uid}" for number, uid in enumerate(uids, start=1))
    raise VolumeError(f"expected {asked} out of {len(uids)} in {folder}; choose by number or UID: {listed}")


def _described(files: Sequence[Path]) -> str:
    reader = read_header(files[0])
    parts = [_tag(reader, _MODALITY), _tag(reader, _DESCRIPTION), f"{len(files)} files"]
    return " ".join(part for part in parts if part)


def _tag(reader: sitk.ImageFileReader, key: str) -> str:
    return str(reader.GetMetaData(key)).strip(" \0") if reader.HasMetaDataKey(key) else ""


def _slice(path: Path) -> _Slice:
    reader = read_header(path)
    instance = _tag(reader, _INSTANCE)
    columns, rows = reader.GetSize()[:2]
    if reader.GetDimension() == 3 and reader.GetSize()[2] > 1:
        raise VolumeError(f"expected one slice in each file of a series, got {reader.GetSize()[2]} in {path}")
    return _Slice(path, int(instance) if instance.isdecimal() else 0, (rows, columns), affine_of(reader))


def _stacks(slices: list[_Slice], folder: Path) -> list[list[_Slice]]:
    """Sort slices into volumes, one for each time point, each from its first slice to its last.

    Raises VolumeError when they make no regular grid.
    """
    first = slices[0]
    axes = first.ijk_to_ras[:3, :2]
    for other in slices:
        if other.shape_ji != first.shape_ji or np.abs(other.ijk_to_ras[:3, :2] - axes).max() > 1e-4:
            raise VolumeError(
                f"expected slices of one size and direction in {folder}, got {first.path} and {other.path}"
            )
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    positions: dict[float, list[_Slice]] = {}
    for one in sorted(slices, key=lambda s: s.instance):
        positions.setdefault(round(float(normal @ one.origin_ras), 3), []).append(one)
    counts = {len(group) for group in positions.values()}
    if len(counts) > 1:
        raise VolumeError(
            f"expected as many slices at each position in {folder}, got {min(counts)} to {max(counts)}: "
            "are files missing?"
        )
    ordered = [positions[position] for position in sorted(positions)]
    stacks = [[group[time_point] for group in ordered] for time_point in range(counts.pop())]
    for stack in stacks:
        _check_even(stack, folder)
    return stacks


def _check_even(stack: list[_Slice], folder: Path) -> None:
    origins = np.array([one.origin_ras for one in stack])
    even = origins[0] + np.linspace(0, 1, len(stack))[:, None] * (origins[-1] - origins[0])
    steps_mm = np.linalg.norm(np.diff(origins, axis=0), axis=1)
    if len(stack) > 1 and np.linalg.norm(origins - even, axis=1).max() > _UNEVEN * np.median(steps_mm):
        raise VolumeError(
            f"expected evenly spaced slices in {folder}, got steps of {steps_mm.min():.3f} to {steps_mm.max():.3f} "
            "mm: are files missing?"
        )


def _read(stacks: list[list[_Slice]], time_point: int) -> Volume:
    stack = stacks[time_point]
    claimed = len(stack) * claimed_bytes(read_header(stack[0].path))
    check_claim(stack[0].path.parent, claimed, sum(one.path.stat().st_size for one in stack))
    array = np.stack([read_array(read_header(one.path), one.path, "DICOM")[0] for one in stack])
    matrix = stack[0].ijk_to_ras.copy()
    if len(stack) > 1:
        # From slice to slice as the positions say, not along the normal: a tilted gantry shears the grid.
        matrix[:3, 2] = (stack[-1].origin_ras - stack[0].origin_ras) / (len(stack) - 1)
    return Volume(array, matrix)


def _check_none_is_damaged(folder: Path, files: dict[str, list[Path]], uid: str) -> None:
    """Raise VolumeError when a file of the series is there but was left out, because it cannot be read."""
    listed = {path for paths in files.values() for path in paths}
    sop_class = _tag(read_header(files[uid][0]), _CLASS)
    for path in sorted(folder.iterdir()):
        if path in listed or not path.is_file() or not is_dicom(path):
            continue
        with path.open("rb") as file:
            head = file.read(1 << 16)
        if uid.encode() in head and _storage_class(head) == sop_class:
            raise VolumeError(f"expected a whole DICOM file, got {path}: it was cut, or is damaged")


def _storage_class(head: bytes) -> str:
    """Return the SOP class in the meta information at the head of a DICOM file (PS3.10, 7.1), or nothing."""
    tag = b"\x02\x00\x02\x00UI"
    at = head.find(tag)
    if at < 0 or at + 8 > len(head):
        return ""
    (length,) = struct.unpack_from("<H", head, at + 6)
    return head[at + 8 : at + 8 + length].decode("ascii", "replace").strip(" \0")
