"""A simulated user: clicks where a segmentation is most wrong.

The protocol of the CVPR 2025 challenge on interactive segmentation: the next click lies in the middle of the largest
connected error, positive where the structure was missed, negative where too much was taken.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent, Grid, IntArray, flip_axes
from PromptSegLib.prompts import Point

_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)


def next_click(mask_kji: BoolArray, truth_kji: BoolArray, grid: Grid, seed: int = 0) -> Point | None:
    """Return the click that a careful user makes next, None when `mask_kji` is `truth_kji`; both on `grid`.

    The click is on the voxel farthest, in mm, from the border of the largest 26-connected error; `seed` chooses
    among voxels equally far. Raises GeometryError when a mask is not of the grid's shape.
    """
    for mask in (mask_kji, truth_kji):
        if mask.shape != grid.shape_kji:
            raise GeometryError(f"expected a mask of shape {grid.shape_kji}, got {mask.shape}")
    missed, missed_size = _largest_component(truth_kji & ~mask_kji)
    excess, excess_size = _largest_component(mask_kji & ~truth_kji)
    error = missed if missed_size >= excess_size else excess
    if error is None:
        return None
    x, y, z = grid.to_ras(flip_axes(middle_kji(error, grid, seed)))
    return Point((float(x), float(y), float(z)), positive=error is missed)


def middle_kji(mask_kji: BoolArray, grid: Grid, seed: int = 0) -> IntArray:
    """Return the index (3,) k, j, i of the voxel of `mask_kji` farthest, in mm, from what is not in it.

    The edge of the grid counts as such, except along axes of a single voxel. `seed` chooses among equals.
    Raises GeometryError when nothing is set.
    """
    extent = Extent.of_mask(mask_kji)
    if extent is None:
        raise GeometryError("expected a mask with at least one voxel set, got none")
    margins = [int(n > 1) for n in grid.shape_kji]
    cropped = np.pad(mask_kji[extent.slices], [(m, m) for m in margins])
    if cropped.all():
        depth = np.ones(cropped.shape)
    else:
        depth = ndimage.distance_transform_edt(cropped, sampling=grid.spacing_kji_mm)
    deepest = np.argwhere(depth >= depth.max() * (1 - 1e-6))
    chosen = deepest[np.random.default_rng(seed).integers(len(deepest))]
    return np.asarray(chosen - margins + extent.start_kji, dtype=np.int64)


def _largest_component(mask_kji: BoolArray) -> tuple[BoolArray | None, int]:
    labels, count = ndimage.label(mask_kji, structure=_NEIGHBOURS_26)
    if count == 0:
        return None, 0
    sizes = np.bincount(labels.ravel())[1:]
    largest = int(sizes.argmax())
    return labels == largest + 1, int(sizes[largest])
