"""Where a structure asked for by its name is wanted: in boxes, and in the part under a click."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import Extent, Grid, flip_axes
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.prompts import Box, Point, Prompt

NOWHERE = Patch(Extent((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), dtype=bool))


def part_at(found: Patch, places: Sequence[Prompt], grid: Grid) -> Patch:
    """Return the part of a structure that is meant, in the smallest box around it.

    found: the structure wherever it is on `grid`. places: of its prompts, boxes leave what is inside one of them,
    points what is connected, across faces, edges or corners of voxels, with one of them; others change nothing.
    """
    boxes = [place for place in places if isinstance(place, Box)]
    points = [place for place in places if isinstance(place, Point)]
    found = _tight(_inside(found, boxes, grid)) if boxes else _tight(found)
    return _tight(_connected(found, points, grid)) if points and found.mask_kji.size else found


def _inside(found: Patch, boxes: Sequence[Box], grid: Grid) -> Patch:
    mask = np.zeros_like(found.mask_kji)
    for box in boxes:
        inside = rasterize(box.flattened(grid), grid)
        common = inside.extent.intersection(found.extent)
        if common.size:
            mask[common.slices_within(found.extent)] |= inside.mask_kji[common.slices_within(inside.extent)]
    return Patch(found.extent, mask & found.mask_kji)


def _connected(found: Patch, points: Sequence[Point], grid: Grid) -> Patch:
    parts, _ = ndimage.label(found.mask_kji, np.ones((3, 3, 3)))
    under = set()
    for point in points:
        index = np.clip(grid.nearest_kji(point.position_ras), 0, np.subtract(grid.shape_kji, 1))
        voxel = Extent.of_points(flip_axes(index)[None])
        if found.extent.contains(voxel):
            under.add(int(parts[voxel.slices_within(found.extent)].item()))
    return Patch(found.extent, np.isin(parts, list(under - {0})))


def _tight(found: Patch) -> Patch:
    box = Extent.of_mask(found.mask_kji)
    return NOWHERE if box is None else Patch(box.shifted(found.extent.start_kji), found.mask_kji[box.slices])
