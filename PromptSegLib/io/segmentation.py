"""Segments to files: labelmaps, and Slicer's .seg.nrrd with names, colours and overlaps."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import FormatWarning, GeometryError, VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.io.image_file import Paths
from PromptSegLib.io.output_file import replacing
from PromptSegLib.io.segment import Segment

FORMATS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha")
_NIFTI = (".nii", ".nii.gz")
# Parts of a voxel that axes may be off by because somebody rounded positions.
_ROUNDING = 0.1


def segmentation_format(path: Paths) -> str:
    """Return which of `FORMATS` a path asks for.

    Raises:
        VolumeError: it is none.
    """
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

    Raises:
        VolumeError: the format is unknown or cannot hold the grid, two segments share a value, or the file cannot be
            written.
        GeometryError: a mask is not of the grid's shape.
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
