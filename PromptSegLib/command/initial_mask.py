"""A mask file to go on from, on the image's grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import PromptError, VolumeError
from PromptSegLib.geometry import AxisMap, Grid
from PromptSegLib.io import open_image
from PromptSegLib.session import Session


def start_from_mask(session: Session, path: Path, values: Mapping[str, int]) -> None:
    """Fill the targets of `session` from a mask file: those of `values`, by their label values.

    A mask of a single value goes to the only target, whatever its value. Raises PromptError when a target is not in
    it, VolumeError when it is not on the image's grid.
    """
    labels = _read_labels(path, session.image.grid)
    present = np.unique(labels[labels != 0])
    for target in session.targets:
        only = len(session.targets) == 1 and len(present) <= 1
        mask = labels != 0 if only else labels == values[target]
        if not mask.any():
            found = ", ".join(f"{value:g}" for value in present[:9]) + (", …" if len(present) > 9 else "")
            raise PromptError(
                f"expected {target!r}, value {values[target]}, in {path}, got "
                f"{f'the values {found}' if found else 'nothing set'}"
            )
        session.select(target)
        session.set_mask(mask)


def _read_labels(path: Path, grid: Grid) -> NDArray[Any]:
    """Return a labelmap on `grid`; its file may order and turn the axes otherwise."""
    file = open_image(path)
    if file.time_points > 1:
        raise VolumeError(f"expected an initial mask without overlaps, got {file.time_points} layers in {path}")
    volume = file.volume()
    if volume.components > 1:
        raise VolumeError(f"expected an initial mask of one value a voxel, got {volume!r}")
    axis_map = AxisMap.between(volume.grid, grid.ijk_to_ras)
    if axis_map is not None:
        extent = axis_map.extent(volume.grid.extent)
        # Slicer's segmentations keep only the part of the grid that holds something.
        is_part = path.name.lower().endswith(".seg.nrrd") and grid.extent.contains(extent)
        if extent == grid.extent or is_part:
            labels = np.zeros(grid.shape_kji, dtype=volume.array.dtype)
            labels[extent.slices] = np.nan_to_num(axis_map.from_source(volume.array))
            return labels
    raise VolumeError(
        f"expected an initial mask on the image's grid, {grid.shape_kji} (k, j, i) at {grid.describe_bounds()}, "
        f"got {volume.grid.shape_kji} at {volume.grid.describe_bounds()} in {path}"
    )
