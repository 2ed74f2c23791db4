"""A mask, and what a network answers to clicks on it: only what hangs together with a click changes.

The rule of VISTA3D (arXiv:2406.05285, section on interactive correction), for one structure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent, Grid, flip_axes
from PromptSegLib.prompts import Point

REACH_MM = 3.0
"""How far beside a region a click may be that means it."""


def merged(before: BoolArray, answer: BoolArray, answered: BoolArray, points: Sequence[Point], grid: Grid) -> BoolArray:
    """Return the mask after `points`, (k, j, i) on `grid`.

    before: the mask up to now. answer: what the network takes for the structure, where it was asked: `answered`.
    A positive click adds the part of the answer that it is on, and a negative one removes the part, which the answer
    leaves out, that it is on.
    """
    positive = [point for point in points if point.positive]
    negative = [point for point in points if not point.positive]
    # A click on the mask means the region that the answer has there, up to and beyond the mask's borders.
    is_inside = any(_holds(before, point, grid) for point in positive)
    gained = answer if is_inside else answer & ~before
    lost = before & answered & ~answer
    return (before | _parts_at(gained, positive, grid)) & ~_parts_at(lost, negative, grid)


def _holds(mask: BoolArray, point: Point, grid: Grid) -> bool:
    index = grid.nearest_kji(point.position_ras)
    return bool(((index >= 0) & (index < mask.shape)).all()) and bool(mask[tuple(index)])


def _parts_at(mask: BoolArray, points: Sequence[Point], grid: Grid) -> BoolArray:
    """The connected parts of `mask` that one of `points` is on, or the nearest one within `REACH_MM`."""
    parts: NDArray[np.int32]
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    chosen = {part for point in points if (part := _part_near(parts, point, grid))}
    return np.isin(parts, list(chosen))


def _part_near(parts: NDArray[np.int32], point: Point, grid: Grid) -> int:
    """The number of the part nearest to a point, 0 when none is in reach."""
    reach = [int(REACH_MM // spacing) for spacing in grid.spacing_kji_mm]
    around = Extent.of_points(grid.to_ijk(point.position_ras)).padded(reach).intersection(grid.extent)
    near = parts[around.slices]
    index_kji = np.argwhere(near) + around.start_kji
    if not len(index_kji):
        return 0
    away_mm = np.linalg.norm(grid.to_ras(flip_axes(index_kji)) - point.position_ras, axis=1)
    nearest = int(away_mm.argmin())
    on_it = bool((index_kji == grid.nearest_kji(point.position_ras)).all(axis=1).any())
    return int(parts[tuple(index_kji[nearest])]) if on_it or away_mm[nearest] <= REACH_MM else 0
