"""On which slice of an image a prompt was meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from PromptSegLib.geometry import FloatArray, Grid, flip_axes
from PromptSegLib.imaging.oblique_slices import ObliqueSlice
from PromptSegLib.imaging.slices import ArraySlice, Slice
from PromptSegLib.prompts import Box, Lasso, Prompt
from PromptSegLib.view import View


def slice_through(grid: Grid, point_ras: ArrayLike, normal_ras: ArrayLike) -> Slice:
    """Return the slice through `point_ras` : (3,), mm, across `normal_ras` : (3,).

    It is a slice of the array where all voxels that the plane passes lie in one, otherwise an oblique one.
    """
    steps_mm = np.abs(np.asarray(normal_ras, dtype=np.float64) @ grid.ijk_to_ras[:3, :3])
    counts = flip_axes(grid.shape_kji)
    axis = int(steps_mm.argmax())
    strays_mm = (steps_mm * (counts - 1) / 2).sum() - steps_mm[axis] * (counts[axis] - 1) / 2
    if strays_mm < steps_mm[axis] / 2 or counts[axis] == 1:
        return array_slice_at(grid, point_ras, axis)
    return ObliqueSlice.through(grid, point_ras, normal_ras)


def array_slice_at(grid: Grid, point_ras: ArrayLike, axis: int) -> ArraySlice:
    """Return the slice of the array across `axis` (0 for i) that holds `point_ras` : (3,), mm, or the last one."""
    index = int(flip_axes(grid.nearest_kji(point_ras))[axis])
    return ArraySlice(grid, axis, min(max(index, 0), int(flip_axes(grid.shape_kji)[axis]) - 1))


def slices_of_prompts(
    prompts: Sequence[Prompt], grid: Grid, views: Mapping[Prompt, View], known: Mapping[Prompt, Slice]
) -> dict[Prompt, Slice]:
    """Return the slice of each of `prompts` that has a place.

    In this order: the slice it is `known` to be on; the only one there is, in a single slice; the plane of a 2D box
    or a lasso; the plane of the view it came from; a slice that one of the others is on, the newest first; the
    array's slice in which a scribble lies; the slice parallel to that of the newest of the others; the slice across
    the array's axis of largest spacing, along which scanners stack slices.
    """
    found: dict[Prompt, Slice] = {}
    placed = [prompt for prompt in prompts if len(prompt.positions_ras())]
    for prompt in placed:
        plane = known.get(prompt) or _own_plane(prompt, grid, views.get(prompt))
        if plane is not None:
            found[prompt] = plane
    decided = [found[prompt] for prompt in placed if prompt in found]
    for prompt in placed:
        if prompt not in found:
            found[prompt] = _plane_beside(prompt, grid, decided)
            decided.append(found[prompt])
    return {prompt: found[prompt] for prompt in placed}


def _own_plane(prompt: Prompt, grid: Grid, view: View | None) -> Slice | None:
    middle = _middle_ras(prompt)
    if grid.is_single_slice:
        return array_slice_at(grid, middle, 2 - grid.shape_kji.index(1))
    if isinstance(prompt, Box) and (flat := prompt.flattened(grid)).is_planar:
        return slice_through(grid, middle, flat.axes[int(np.argmin(flat.size_mm))])
    if isinstance(prompt, Lasso):
        return slice_through(grid, middle, prompt.normal_ras)
    if view is not None:
        shown = slice_through(grid, view.center_ras, view.normal_ras)
        return shown if shown.holds(middle) else slice_through(grid, middle, view.normal_ras)
    return None


def _plane_beside(prompt: Prompt, grid: Grid, others: Sequence[Slice]) -> Slice:
    positions, middle = prompt.positions_ras(), _middle_ras(prompt)
    for other in reversed(others):
        if other.holds(positions):
            return other
    parts = np.round(grid.spacing_mm / grid.spacing_mm.max(), 6).tolist()
    by_spacing = sorted(range(3), key=lambda axis: (-parts[axis], -axis))
    if len(positions) > 1:
        index_ijk = flip_axes(grid.nearest_kji(positions))
        flat = [axis for axis in by_spacing if len(set(index_ijk[:, axis].tolist())) == 1]
        if flat:
            return array_slice_at(grid, middle, flat[0])
    if others:
        newest = others[-1]
        if isinstance(newest, ArraySlice):
            return array_slice_at(grid, middle, newest.axis)
        if isinstance(newest, ObliqueSlice):
            return ObliqueSlice.through(grid, middle, newest.normal_ras)
    return array_slice_at(grid, middle, by_spacing[0])


def _middle_ras(prompt: Prompt) -> FloatArray:
    """Return a position on a prompt's slice: of a scribble one that it passes, half way along."""
    if isinstance(prompt, Box):
        return np.asarray(prompt.center_ras)
    positions = prompt.positions_ras()
    return np.asarray(positions.mean(axis=0) if isinstance(prompt, Lasso) else positions[len(positions) // 2])
