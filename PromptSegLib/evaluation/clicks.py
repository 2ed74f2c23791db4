"""A simulated user: clicks where a segmentation is most wrong, or anywhere that it is wrong.

The next click lies in the middle of the largest connected error, positive where the structure was missed, negative
where too much was taken: after the CVPR 2025 challenge on interactive segmentation, whose own rule, which looks at
voxels and not at mm, is `challenge_click`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent, Grid, IntArray, flip_axes
from PromptSegLib.prompts import Point

_CHALLENGE_SEED = 42
_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)


def next_click(mask_kji: BoolArray, truth_kji: BoolArray, grid: Grid, seed: int = 0) -> Point | None:
    """Return the click that a careful user makes next, None when `mask_kji` is `truth_kji`; both on `grid`.

    The click is on the voxel farthest, in mm, from the border of the largest 26-connected error; `seed` chooses among
    voxels equally far.

    Raises:
        GeometryError: a mask is not of the grid's shape.
    """
    error = largest_error(mask_kji, truth_kji, grid)
    return None if error is None else _point(middle_kji(error.mask_kji, grid, seed), grid, error.is_missed)


def challenge_click(mask_kji: BoolArray, truth_kji: BoolArray, grid: Grid) -> Point | None:
    """Return the click of the CVPR 2025 challenge, None when `mask_kji` is `truth_kji`.

    As `next_click`, but what was missed and what is too much are one error where they touch, depth is counted in
    voxels, and among voxels equally deep a fixed seed chooses. "Foundation models for interactive 3D biomedical image
    segmentation", CVPR 2025, CVPR25_iter_eval.py; ties fall otherwise there, by NumPy's older generator.
    """
    _check_shapes(mask_kji, truth_kji, grid)
    error, _ = _largest_component(mask_kji != truth_kji)
    if error is None:
        return None
    index = middle_kji(error, Grid(grid.shape_kji, np.eye(4)), _CHALLENGE_SEED)
    return _point(index, grid, bool(truth_kji[tuple(index)]))


def random_click(mask_kji: BoolArray, truth_kji: BoolArray, grid: Grid, seed: int = 0) -> Point | None:
    """Return a click on any wrong voxel, None when `mask_kji` is `truth_kji`: each is as likely as any other.

    The test of Cheng et al., "SAM-Med2D", arXiv:2308.16184. Arguments and errors as of `next_click`.
    """
    _check_shapes(mask_kji, truth_kji, grid)
    wrong = np.argwhere(mask_kji != truth_kji)
    if not len(wrong):
        return None
    index = wrong[np.random.default_rng(seed).integers(len(wrong))]
    return _point(index, grid, bool(truth_kji[tuple(index)]))


@dataclass(frozen=True, eq=False)
class Error:
    """Connected voxels that are wrong: `is_missed` where they should be in the mask. mask_kji: of the whole grid."""

    mask_kji: BoolArray
    is_missed: bool


def largest_error(mask_kji: BoolArray, truth_kji: BoolArray, grid: Grid) -> Error | None:
    """Return the largest 26-connected error, one that was missed among equals; None when there is no error.

    Raises:
        GeometryError: a mask is not of the grid's shape.
    """
    _check_shapes(mask_kji, truth_kji, grid)
    missed, missed_size = _largest_component(truth_kji & ~mask_kji)
    excess, excess_size = _largest_component(mask_kji & ~truth_kji)
    if missed is not None and missed_size >= excess_size:
        return Error(missed, is_missed=True)
    return None if excess is None else Error(excess, is_missed=False)


def middle_kji(mask_kji: BoolArray, grid: Grid, seed: int = 0) -> IntArray:
    """Return the index (3,) k, j, i of the voxel of `mask_kji` farthest, in mm, from what is not in it.

    The edge of the grid counts as such, except along axes of a single voxel. `seed` chooses among equals.

    Raises:
        GeometryError: nothing is set.
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


def _check_shapes(mask_kji: BoolArray, truth_kji: BoolArray, grid: Grid) -> None:
    for mask in (mask_kji, truth_kji):
        if mask.shape != grid.shape_kji:
            raise GeometryError(f"expected a mask of shape {grid.shape_kji}, got {mask.shape}")


def _point(index_kji: IntArray, grid: Grid, positive: bool) -> Point:
    x, y, z = grid.to_ras(flip_axes(index_kji))
    return Point((float(x), float(y), float(z)), positive=positive)


def _largest_component(mask_kji: BoolArray) -> tuple[BoolArray | None, int]:
    labels, count = ndimage.label(mask_kji, structure=_NEIGHBOURS_26)
    if count == 0:
        return None, 0
    sizes = np.bincount(labels.ravel())[1:]
    largest = int(sizes.argmax())
    return labels == largest + 1, int(sizes[largest])
