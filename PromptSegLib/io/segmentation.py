"""Segments to files: labelmaps, and Slicer's .seg.nrrd with names, colours and overlaps."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import FormatWarning, GeometryError, VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.io.image_file import Paths
from PromptSegLib.io.output_file import replacing
from PromptSegLib.structures import find_structure
from PromptSegLib.terminology import terminology_entry

FORMATS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha")
_NIFTI = (".nii", ".nii.gz")
# Parts of a voxel that axes may be off by because somebody rounded positions.
_ROUNDING = 0.1

# Told apart by people with any colour vision, on grey (Okabe & Ito, Color Universal Design, 2008).
COLOURS = (
    (0.0, 0.62, 0.45),
    (0.9, 0.62, 0.0),
    (0.34, 0.71, 0.91),
    (0.84, 0.37, 0.0),
    (0.94, 0.89, 0.26),
    (0.8, 0.47, 0.65),
    (0.0, 0.45, 0.7),
)


@dataclass(frozen=True, eq=False)
class Segment:
    """A structure to be written.

    mask_kji: (k, j, i), bool. value: its number in labelmaps, 1 to 65535. colour: red, green, blue, 0 to 1; when
    None, that of the structure it is named after, or one of `COLOURS` after its number.
    """

    name: str
    mask_kji: BoolArray
    value: int = 1
    colour: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.value <= 65535:
            raise VolumeError(f"expected a label value from 1 to 65535 for {self.name!r}, got {self.value}")

    @property
    def rgb(self) -> tuple[float, float, float]:
        """The colour to show it in."""
        if self.colour is None and (structure := find_structure(self.name)) is not None:
            return structure.colour
        return self.colour or COLOURS[(self.value - 1) % len(COLOURS)]

    @property
    def terminology(self) -> str:
        """DICOM's codes of it, in Slicer's form, when its name is a known structure's; else nothing."""
        known = find_structure(self.name)
        return terminology_entry(known) if known else ""

    def size_on(self, grid: Grid) -> str:
        """Say how large it is on `grid`, for people: in mL, or in pixels when that is a single slice."""
        voxels = int(np.count_nonzero(self.mask_kji))
        return f"{voxels} pixels" if grid.is_single_slice else f"{voxels * grid.voxel_mm3 / 1000:.1f} mL"


def segmentation_format(path: Paths) -> str:
    """Return which of `FORMATS` a path asks for. Raises VolumeError when it is none."""
    name = Path(path).name.lower()
    for suffix in FORMATS:
        if name.endswith(suffix) and name != suffix:
            return suffix
    raise VolumeError(f"expected an output that ends in {', '.join(FORMATS)}, got {os.fspath(path)!r}")


def flatten(segments: Sequence[Segment], shape_kji: Sequence[int]) -> tuple[NDArray[np.uint16], int]:
    """Return one array (k, j, i) with every segment's value, 0 elsewhere, and the number of voxels in several.

    There, the later segment shows.
    """
    labels = np.zeros(shape_kji, dtype=np.uint16)
    overlapping = np.zeros(shape_kji, dtype=bool)
    for segment in segments:
        overlapping |= segment.mask_kji & (labels > 0)
        labels[segment.mask_kji] = segment.value
    return labels, int(overlapping.sum())


def write_segmentation(path: Paths, segments: Sequence[Segment], grid: Grid) -> None:
    """Write `segments`, all on `grid`, in the format that the name of `path` asks for, see `FORMATS`.

    .seg.nrrd keeps names, colours, terminology, values and overlaps; Slicer opens it as a segmentation. The others
    hold a labelmap, where later segments cover earlier ones. Folders are made; the file appears whole or not at all.
    Warns with FormatWarning when NIfTI's affine for programs that take right angles only, such as Slicer, is off.

    Raises VolumeError when the format is unknown or cannot hold the grid, two segments share a value, or the file
    cannot be written; GeometryError when a mask is not of the grid's shape.
    """
    suffix = segmentation_format(path)
    check_fits(path, grid)
    _check(segments, grid)
    with replacing(Path(path)) as file:
        for chunk in _content(suffix, segments, grid):
            file.write(chunk)
    if suffix in _NIFTI:
        _warn_of_shear(path, grid)


def check_fits(path: Paths, grid: Grid) -> None:
    """Raise VolumeError when the format that the name of `path` asks for cannot hold voxels on `grid`."""
    from PromptSegLib.io.nifti import MOST_VOXELS

    if segmentation_format(path) in _NIFTI and max(grid.shape_kji) > MOST_VOXELS:
        raise VolumeError(
            f"expected no more than {MOST_VOXELS} voxels along each axis for NIfTI, got {grid.shape_kji} (k, j, i) for "
            f"{os.fspath(path)}: .nrrd, .seg.nrrd and .mha hold more"
        )


def _warn_of_shear(path: Paths, grid: Grid) -> None:
    from PromptSegLib.io.nifti import off_by_qform_mm

    off_mm = off_by_qform_mm(grid)
    if off_mm > _ROUNDING * grid.spacing_mm.min():
        warnings.warn(
            f"the axes of {os.fspath(path)} are not at right angles, as with a tilted gantry: programs that take no "
            f"other NIfTI, such as Slicer, show voxels up to {off_mm:.2g} mm from their place; .nrrd, .seg.nrrd and "
            ".mha are exact",
            FormatWarning,
            stacklevel=3,
        )


def _check(segments: Sequence[Segment], grid: Grid) -> None:
    values: dict[int, str] = {}
    for segment in segments:
        mask = segment.mask_kji
        if mask.shape != grid.shape_kji or mask.dtype != bool:
            raise GeometryError(
                f"expected a bool mask of shape {grid.shape_kji} for {segment.name!r}, got {mask.dtype} of shape "
                f"{mask.shape}"
            )
        if segment.value in values:
            raise VolumeError(
                f"expected a label value of its own for each segment, got {segment.value} for "
                f"{values[segment.value]!r} and {segment.name!r}"
            )
        values[segment.value] = segment.name


def _content(suffix: str, segments: Sequence[Segment], grid: Grid) -> Iterable[bytes]:
    from PromptSegLib.io import metaimage, nifti, nrrd

    if suffix == ".seg.nrrd":
        return nrrd.segmentation_chunks(segments, grid)
    labels: NDArray[Any] = flatten(segments, grid.shape_kji)[0]
    if labels.max(initial=0) <= 255:
        labels = labels.astype(np.uint8)
    if suffix == ".nrrd":
        return nrrd.labelmap_chunks(labels, grid)
    if suffix == ".mha":
        return metaimage.labelmap_chunks(labels, grid)
    return nifti.labelmap_chunks(labels, grid, compressed=suffix == ".nii.gz")
