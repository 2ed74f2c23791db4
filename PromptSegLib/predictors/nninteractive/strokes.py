"""Brush strokes in the width that a checkpoint of nnInteractive was trained with, whatever brush they were drawn with.

A checkpoint names that width in voxels, for each axis of the image; its authors saw answers degrade severely when
strokes had another one. So of a stroke its line counts: it becomes as many voxels wide as the checkpoint prefers, and
one slice thick, on the slice that it was drawn in. A stroke in an oblique view lies on the voxels nearest to its
plane, one in each column across it; a line through space, which no view was named for, is a tube of that width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import Extent, FloatArray, Grid, flip_axes
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.prompts import Scribble
from PromptSegLib.view import View

USUAL_KJI = (2.0, 2.0, 2.0)
"""Of v1.0, voxels along the axes of the array."""

_MOST = 64.0  # voxels: the brush of a third of what the network sees would say nothing of where
# Of a voxel: a line as far from two voxels' centres takes the latter, so that a stroke has the width it should have.
_ASIDE = 1e-3


def checked_thickness(stated: Any) -> tuple[float, float, float]:
    """Return what a session states as the width of strokes, voxels along k, j, i.

    Raises:
        ValueError: it is no number from 1 to 64, and no three of them.
    """
    values = stated if isinstance(stated, list | tuple) else [stated] * 3
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if len(values) != 3 or not are_numbers or not all(1 <= value <= _MOST for value in values):
        raise ValueError(f"expected a width of scribbles of 1 to {_MOST:g} voxels, for each of 3 axes, got {stated!r}")
    k, j, i = (float(value) for value in values)
    return k, j, i


def stroke(
    scribble: Scribble, grid: Grid, thickness_kji: tuple[float, float, float] = USUAL_KJI, view: View | None = None
) -> Patch:
    """Return the voxels of `grid` that stand for a stroke; its own width does not matter.

    Args:
        thickness_kji: how many voxels it is to be wide.
        view: that it was drawn in, None where nobody knows.

    Raises:
        PromptError: the stroke has too many points, or its line is too long.
    """
    points_ijk = grid.to_ijk(scribble.positions_ras())
    plane = _plane(points_ijk, grid, view)
    thickness_ijk = flip_axes(thickness_kji).astype(np.float64)
    if plane is None:
        return _drawn(points_ijk, grid.shape_kji, thickness_ijk, scribble.positive)
    across = int(np.abs(plane).argmax())
    shape = [1 if 2 - axis == across else count for axis, count in enumerate(grid.shape_kji)]
    flat = points_ijk.copy()
    flat[:, across] = 0
    drawn = _drawn(flat, (shape[0], shape[1], shape[2]), thickness_ijk, scribble.positive, across)
    return _lifted(drawn, points_ijk, plane, across, grid)


def _plane(points_ijk: FloatArray, grid: Grid, view: View | None) -> FloatArray | None:
    """Return the normal : (3,), per voxel along i, j, k, of the plane that points : (n, 3) lie in; None for no plane.

    Without a view it is that of the slice that holds them, of several the one across the largest voxels, along which
    scanners stack slices; else the plane through them.
    """
    if view is not None:
        normal = view.normal_ras @ grid.ijk_to_ras[:3, :3]
        if _strays(points_ijk, normal) <= 1:
            return np.asarray(normal, dtype=np.float64)
    nearest = _nearest(points_ijk)
    parts = np.round(grid.spacing_mm / grid.spacing_mm.max(), 6).tolist()
    for axis in sorted(range(3), key=lambda a: (-parts[a], -a)):
        if (nearest[:, axis] == nearest[0, axis]).all():
            return np.asarray(np.eye(3)[axis], dtype=np.float64)
    _, lengths, axes = np.linalg.svd(points_ijk - points_ijk.mean(axis=0), full_matrices=False)
    if len(lengths) == 3 and lengths[1] > 1 and _strays(points_ijk, axes[2]) <= 1:
        return np.asarray(axes[2])
    return None


def _strays(points_ijk: FloatArray, normal: FloatArray) -> float:
    """Return how many voxels, along the axis nearest to `normal` : (3,), points : (n, 3) are apart across a plane."""
    return float(np.ptp(points_ijk @ normal) / np.abs(normal).max())


def _drawn(
    points_ijk: FloatArray,
    shape_kji: tuple[int, int, int],
    thickness_ijk: FloatArray,
    positive: bool,
    across: int | None = None,
) -> Patch:
    """Return the voxels no farther than half the thickness from a line, in a grid or in a layer `across` an axis."""
    within = [axis for axis in range(3) if axis != across]
    # A space in which the brush is a ball of diameter 1.
    size = np.ones(3)
    size[within] = 1 / thickness_ijk[within]
    points, width = points_ijk * size, 0.0
    if (thickness_ijk[within] > 1).any():
        points[:, within] += _ASIDE * size[within]
        width = 1.0
    line = tuple((float(x), float(y), float(z)) for x, y, z in points)
    return rasterize(Scribble(line, width, positive), Grid(shape_kji, np.diag([*size, 1.0])))


def _lifted(drawn: Patch, points_ijk: FloatArray, plane: FloatArray, across: int, grid: Grid) -> Patch:
    """Return the voxels on `plane`, through the middle of points : (n, 3), in the columns that are `drawn`."""
    columns_ijk = flip_axes(np.argwhere(drawn.mask_kji) + drawn.extent.start_kji).astype(np.float64)
    nearest = _nearest(points_ijk)[:, across]
    if (nearest == nearest[0]).all():
        columns_ijk[:, across] = nearest[0]
    else:
        beside = np.where(np.arange(3) == across, 0.0, plane)
        there = (points_ijk @ plane).mean() - columns_ijk @ beside
        columns_ijk[:, across] = _nearest(there / plane[across])
    is_inside = (columns_ijk[:, across] >= 0) & (columns_ijk[:, across] < flip_axes(grid.shape_kji)[across])
    if not is_inside.any():
        return Patch(Extent((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), dtype=bool))
    index_kji = flip_axes(columns_ijk[is_inside]).astype(np.int64)
    extent = Extent.of_points(columns_ijk[is_inside])
    mask = np.zeros(extent.shape_kji, dtype=bool)
    mask[tuple((index_kji - extent.start_kji).T)] = True
    return Patch(extent, mask)


def _nearest(index: FloatArray) -> FloatArray:
    """Return the voxels that hold continuous indices; see `Grid.nearest_kji`."""
    return np.asarray(np.floor(np.round(index + 0.5, 6)))
