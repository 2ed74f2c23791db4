"""Prompts as voxels of the image: what they say, and the way back to a mask that does as they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from PromptSegLib.bitmask import BitMask, BoolArray, Patch
from PromptSegLib.geometry import Extent, Float32Array, FloatArray, Grid, IntArray
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.imaging.voxels import box_around, follows, parts_with
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.prompts import Box, MaskPrompt, Prompt


@dataclass(frozen=True, eq=False)
class Evidence:
    """The prompts as voxels of the image: (n, 3) indices k, j, i.

    newest_kji: those of the prompt given last, when there is a mask that it is to correct; it is not among the others
    then. limit: what positive 3D boxes allow, None without one. bounds: around all that is positive, the mask so far
    included. said: the voxels of each prompt, and whether they belong to the structure, in the order given.
    """

    positive_kji: IntArray
    negative_kji: IntArray
    newest_kji: IntArray
    newest_is_positive: bool
    limit: Extent | None
    bounds: Extent
    said: tuple[tuple[IntArray, bool], ...]

    @classmethod
    def of(cls, state: TargetState, grid: Grid) -> Evidence:
        prompts = prompts_on(grid, state)
        nothing = np.zeros((0, 3), dtype=np.int64)
        said = tuple((_marked(prompt, grid), prompt.sign == "+") for prompt in prompts)
        earlier, (newest, newest_is_positive) = said, (nothing, True)
        if state.mask is not None and said:
            earlier, (newest, newest_is_positive) = said[:-1], said[-1]
        positive, negative = (
            np.concatenate([nothing, *(voxels for voxels, value in earlier if value is sign)]) for sign in (True, False)
        )
        mask_bounds = state.mask.bounds() if state.mask is not None else None
        if not len(positive) and state.mask is not None and mask_bounds is not None:
            positive = _core(state.mask.read(mask_bounds), grid) + mask_bounds.start_kji
        bounds = mask_bounds or Extent((0, 0, 0), (0, 0, 0))
        if len(positive):
            bounds = box_around(positive).union(bounds)
        limit = _limit_of(prompts, grid)
        if limit is not None:
            bounds = limit.union(bounds)
        return cls(positive, negative, newest, newest_is_positive, limit, bounds, said)

    @property
    def is_empty(self) -> bool:
        """Whether nothing positive is known: neither a prompt nor a mask."""
        return not len(self.positive_kji) + len(self.newest_kji)

    def without_earlier(self) -> Evidence:
        """Return this without what was positive before the newest prompt: that one is about another part."""
        return replace(self, positive_kji=self.positive_kji[:0], bounds=box_around(self.newest_kji))

    def is_apart(self, state: TargetState, grid: Grid) -> bool:
        """Tell whether the newest prompt is positive and farther from the mask than half of the mask's own size."""
        bounds = state.mask.bounds() if state.mask is not None else None
        if bounds is None or not len(self.newest_kji) or not self.newest_is_positive:
            return False
        nearest_mm = self._newest_mm_beyond(bounds, grid).min()
        return bool(nearest_mm > (np.array(bounds.shape_kji) * grid.spacing_kji_mm).max() / 2)

    def bounds_with_newest(self, grid: Grid) -> Extent:
        """Return the box around `bounds` and the newest prompt; where what does not belong begins is enough of that."""
        if not len(self.newest_kji):
            return self.bounds
        if self.newest_is_positive:
            return box_around(self.newest_kji).union(self.bounds)
        nearest = int(self._newest_mm_beyond(self.bounds, grid).argmin())
        return box_around(self.newest_kji[[nearest]]).union(self.bounds)

    def _newest_mm_beyond(self, bounds: Extent, grid: Grid) -> FloatArray:
        """Return how far the newest prompt's voxels are from a box, 0 within it: (n,), mm."""
        beyond = np.maximum(bounds.start_kji - self.newest_kji, self.newest_kji - np.array(bounds.stop_kji) + 1)
        return np.asarray(np.linalg.norm(np.maximum(beyond, 0) * grid.spacing_kji_mm, axis=1))

    def pasted(self, field: Float32Array, speaks: BoolArray, roi: Roi, state: TargetState) -> Patch:
        """Return the mask of the image that is above 0 in `field`; what was clicked is what was clicked.

        field, speaks: on the working grid of `roi`, (k, j, i). Where `speaks` is False the mask so far stays.
        """
        extent = Extent((0, 0, 0), (0, 0, 0))
        found = Extent.of_mask(field > 0)
        if found is not None:
            extent = roi.source_extent(found.padded(1))
        if state.mask is not None and (bounds := state.mask.bounds()) is not None:
            extent = bounds.intersection(roi.extent).union(extent)
        said = [voxels for voxels, _ in self.said if len(voxels)]  # at the image's edge one may mark nothing
        if said:
            extent = box_around(np.concatenate(said)).union(extent)
        mask = np.zeros(extent.shape_kji, dtype=bool)
        if state.mask is not None:
            mask = state.mask.read(extent)
        common = extent.intersection(roi.extent)
        if common.size:
            part = mask[common.slices_within(extent)]
            spoken_of = roi.to_source(speaks.astype(np.float32), common) > 0.5
            part[spoken_of] = (roi.to_source(field, common) > 0)[spoken_of]
        if self.limit is not None:
            # The working grid is coarser than the image: a box ends where its faces are.
            inside = np.zeros_like(mask)
            inside[self.limit.intersection(extent).slices_within(extent)] = True
            mask &= inside
        for voxels, value in self.said:
            mask[tuple((voxels - extent.start_kji).T)] = value
        return Patch(extent, mask)

    def unanswered(self, mask: BitMask) -> tuple[int, ...]:
        """Return which of `said` the mask does not follow, and the newest, by number: what is to be corrected."""
        last = len(self.said) - 1
        return tuple(
            number
            for number, (voxels, value) in enumerate(self.said)
            if number == last or (len(voxels) and not follows(mask, voxels, value))
        )


def with_changes(mask: BitMask, roi: Roi, changes: Sequence[tuple[BoolArray, BoolArray, IntArray, bool]]) -> Patch:
    """Return what corrections, one after the other, make of `mask`: a patch around what they change.

    changes: of each the working voxels of `roi` that it changes, (k, j, i); those that are as they shall be already;
    voxels of the image, (n, 3), that change in any case; and whether they come to belong to the mask.
    """
    extent: Extent | None = None
    for changed, _, voxels, _ in changes:
        found = Extent.of_mask(changed)
        around = box_around(voxels) if len(voxels) else Extent((0, 0, 0), (0, 0, 0))
        extent = around.union(extent)
        if found is not None:
            extent = roi.source_extent(found.padded(1)).union(extent)
    assert extent is not None
    part = mask.read(extent)
    common = extent.intersection(roi.extent)
    for changed, right, voxels, value in changes:
        wrong = np.zeros(part.shape, dtype=bool)
        if common.size:
            # Between both lie voxels of the image that a working voxel had only in part.
            closed = changed | (right & ndimage.binary_dilation(changed, np.ones((3, 3, 3))))
            near = roi.to_source(ndimage.binary_dilation(changed).astype(np.float32), common) > 0.5
            wrong[common.slices_within(extent)] = near & (roi.to_source(closed.astype(np.float32), common) > 0.5)
        prompted = np.zeros(part.shape, dtype=bool)
        prompted[tuple((voxels - extent.start_kji).T)] = True
        part[parts_with((wrong | prompted) & (part != value), prompted)] = value
    return Patch(extent, part)


def prompts_on(grid: Grid, state: TargetState) -> list[Prompt]:
    """Return the prompts that speak of voxels of `grid`; a box thinner than a slice is a 2D box there."""
    placed = (prompt for prompt in state.prompts if not isinstance(prompt, MaskPrompt))
    return [prompt.flattened(grid) if isinstance(prompt, Box) else prompt for prompt in placed]


def _marked(prompt: Prompt, grid: Grid) -> IntArray:
    """Return the voxels that a prompt speaks of; of a positive box only the middle, a third of each side."""
    if isinstance(prompt, Box) and prompt.positive:
        x, y, z = (side / 3 for side in prompt.size_mm)
        prompt = replace(prompt, size_mm=(x, y, z))
        middle = rasterize(prompt, grid)
        if not middle.mask_kji.any():
            index = grid.nearest_kji([prompt.center_ras])
            return np.clip(index, 0, np.array(grid.shape_kji) - 1)
    patch = rasterize(prompt, grid)
    return np.argwhere(patch.mask_kji) + patch.extent.start_kji


def _core(mask_kji: BoolArray, grid: Grid) -> IntArray:
    """Return the voxels of a mask that lie deepest within it."""
    depth = ndimage.distance_transform_edt(np.pad(mask_kji, 1), sampling=grid.spacing_kji_mm)[1:-1, 1:-1, 1:-1]
    return np.argwhere(depth >= 0.7 * depth.max())


def _limit_of(prompts: Sequence[Prompt], grid: Grid) -> Extent | None:
    """Return the box around all positive boxes; a 2D box limits an image of one slice only."""
    limit: Extent | None = None
    for prompt in prompts:
        if isinstance(prompt, Box) and prompt.positive and (grid.is_single_slice or not prompt.is_planar):
            patch = rasterize(prompt, grid)
            box = Extent.of_mask(patch.mask_kji)
            limit = box.shifted(patch.extent.start_kji).union(limit) if box is not None else limit
    return limit


def _ints(values: ArrayLike) -> tuple[int, int, int]:
    k, j, i = (int(v) for v in np.asarray(values))
    return k, j, i
