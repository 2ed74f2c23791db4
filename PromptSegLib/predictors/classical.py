"""The classical predictor: a seeded, geodesic segmenter on what a bare Slicer ships. It has learned nothing.

From the positive and from the negative prompts paths are grown through voxels like those prompted; a voxel belongs to
whoever reaches it with less effort, as far as the border at which the surroundings change most. Everything happens
in a region of interest on a working grid of at most 64 voxels a side, which follows the structure's size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray, Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent, FloatArray, Grid, IntArray
from PromptSegLib.imaging.geodesic import Float32Array, best_level, noise_of, settled, strangeness, travel_time
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.prompts import Box, MaskPrompt, Prompt
from PromptSegLib.view import View
from PromptSegLib.volume import Image

# What a step through the most familiar tissue costs, against 1 for one that is clearly strange.
_STEP = 0.05
_WORKING_VOXELS = 64
_MOST_PASSES = 4
# In place of infinity, of which differences are no numbers.
_NEVER = 1e9
# The first region's side, when no view says better, as a part of the image's longest.
_FIRST_SIDE = 0.35


class ClassicalPredictor:
    """Grows from the prompts through similar voxels to the nearest strong border."""

    capabilities = Capabilities(
        name="classical",
        title="Classical",
        summary="geodesic growing from the prompts, not learned: follows borders, knows no anatomy",
        dimensions=frozenset({2, 3}),
        prompts=frozenset(
            sign_kind
            for kind in ("point", "box2d", "box3d", "scribble", "lasso")
            for sign_kind in (f"{kind}+", f"{kind}-")
        )
        | {"mask"},
        code_license="Apache-2.0",
        devices=("cpu",),
    )

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> Image:
        """Return `image`: there is nothing to do beforehand. Raises VolumeError when no voxel is finite."""
        array = image.reference.array
        if array.dtype.kind == "f" and not any(np.isfinite(part).any() for part in array):
            image.reference.finite_range  # noqa: B018 - raises, with the reason
        return image

    def predict(
        self, encoding: Image, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Yield one prediction; see the module."""
        evidence = Evidence.of(state, encoding.grid)
        if not len(evidence.positive_kji) + len(evidence.newest_kji):
            return
        timings: dict[str, float] = {}
        side_mm = _first_side_mm(encoding.grid, state.view)
        roi = _roi_around(encoding.grid, evidence.bounds, side_mm)
        if _is_apart(evidence, state, encoding.grid):
            # Another part of the structure, of a size of its own.
            evidence = replace(
                evidence, positive_kji=evidence.positive_kji[:0], bounds=_box_around(evidence.newest_kji)
            )
            roi = _roi_around(encoding.grid, evidence.bounds, side_mm)
        for turn in range(_MOST_PASSES):
            progress(turn / _MOST_PASSES, "growing")
            field, speaks = _grown(encoding, state, evidence, roi, timings, cancel)
            better = _better_roi(roi, field, evidence) if turn < _MOST_PASSES - 1 else None
            if better is None:
                break
            roi = better
        started = time.perf_counter()
        patch = _pasted(field, speaks, roi, state, evidence)
        timings["paste"] = 1000 * (time.perf_counter() - started)
        yield Prediction({state.target: patch}, timings_ms=timings)


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
        prompts = [prompt for prompt in state.prompts if not isinstance(prompt, MaskPrompt)]
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
            bounds = _box_around(positive).union(bounds)
        limit = _limit_of(state.prompts, grid)
        if limit is not None:
            bounds = limit.union(bounds)
        return cls(positive, negative, newest, newest_is_positive, limit, bounds, said)


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


def _is_apart(evidence: Evidence, state: TargetState, grid: Grid) -> bool:
    """Tell whether the newest prompt is positive and farther from the mask than half of the mask's own size."""
    bounds = state.mask.bounds() if state.mask is not None else None
    if bounds is None or not len(evidence.newest_kji) or not evidence.newest_is_positive:
        return False
    spacing = grid.spacing_kji_mm
    beyond = np.maximum(bounds.start_kji - evidence.newest_kji, evidence.newest_kji - np.array(bounds.stop_kji) + 1)
    distance_mm = np.linalg.norm(np.maximum(beyond, 0) * spacing, axis=1).min()
    return bool(distance_mm > (np.array(bounds.shape_kji) * spacing).max() / 2)


def _box_around(voxels_kji: IntArray) -> Extent:
    return Extent(_ints(voxels_kji.min(axis=0)), _ints(voxels_kji.max(axis=0) + 1))


def _core(mask_kji: BoolArray, grid: Grid) -> IntArray:
    """Return the voxels of a mask that lie deepest within it."""
    depth = ndimage.distance_transform_edt(np.pad(mask_kji, 1), sampling=grid.spacing_kji_mm)[1:-1, 1:-1, 1:-1]
    return np.argwhere(depth >= 0.7 * depth.max())


def _limit_of(prompts: tuple[Prompt, ...], grid: Grid) -> Extent | None:
    """Return the box around all positive boxes; a 2D box limits an image of one slice only."""
    limit: Extent | None = None
    for prompt in prompts:
        if isinstance(prompt, Box) and prompt.positive and (grid.is_single_slice or not prompt.is_planar):
            patch = rasterize(prompt, grid)
            box = Extent.of_mask(patch.mask_kji)
            limit = box.shifted(patch.extent.start_kji).union(limit) if box is not None else limit
    return limit


def _first_side_mm(grid: Grid, view: View | None) -> float:
    if view is not None:
        return float(max(view.size_mm))
    longest_mm = float((np.array(grid.shape_kji) * grid.spacing_kji_mm).max())
    return max(_FIRST_SIDE * longest_mm, _WORKING_VOXELS * float(grid.spacing_mm.min()) / 2)


def _roi_around(grid: Grid, bounds: Extent, side_mm: float) -> Roi:
    """Return the region that reaches `side_mm` / 2 beyond the middle of `bounds`, and holds all of them."""
    spacing = grid.spacing_kji_mm
    middle = (np.array(bounds.start_kji) + bounds.stop_kji) / 2
    half = np.maximum(side_mm / 2 / spacing, np.array(bounds.shape_kji) * 0.75 + 2)
    extent = Extent(_ints(np.floor(middle - half)), _ints(np.ceil(middle + half))).intersection(grid.extent)
    longest_mm = float((np.array(extent.shape_kji) * spacing).max())
    return Roi.covering(grid, extent, max(longest_mm / _WORKING_VOXELS, float(spacing.min())))


@dataclass(frozen=True, eq=False)
class _Effort:
    """What it takes to reach each working voxel from some seeds, and how strange it is to them."""

    times: Float32Array
    strange: Float32Array

    def joined(self, other: _Effort) -> _Effort:
        """Return what it takes from the seeds of either."""
        nearer = self.times < other.times
        return _Effort(np.where(nearer, self.times, other.times), np.where(nearer, self.strange, other.strange))


def _grown(
    image: Image, state: TargetState, evidence: Evidence, roi: Roi, timings: dict[str, float], cancel: CancelToken
) -> tuple[Float32Array, BoolArray]:
    """Return a field on the working grid, -1 to 1, above 0 inside the structure; and where the mask is to follow it."""
    started = time.perf_counter()
    values = roi.read(image.reference)
    if state.window is not None:
        values = np.clip(values, state.window.low, state.window.high)
    smooth = ndimage.gaussian_filter(values, [0.6 * (n > 1) for n in values.shape[:3]] + [0] * (values.ndim - 3))
    noise = noise_of(values)
    prior = roi.read_mask(state.mask) if state.mask is not None else np.zeros(roi.shape_kji, dtype=np.float32)
    timings["roi"] = timings.get("roi", 0.0) + 1000 * (time.perf_counter() - started)
    started = time.perf_counter()
    spacing = roi.grid.spacing_kji_mm

    def effort(voxels_kji: IntArray) -> _Effort:
        cancel.check()
        seeds = roi.mark(voxels_kji)
        if not seeds.any():
            return _Effort(np.full(seeds.shape, _NEVER, dtype=np.float32), np.zeros(seeds.shape, dtype=np.float32))
        strange = strangeness(smooth, seeds, noise)
        return _Effort(travel_time(_STEP + strange, seeds, spacing), strange)

    allowed = np.ones(prior.shape, dtype=bool)
    if evidence.limit is not None:
        allowed = _within_limit(roi, evidence.limit)
    grown, opposed = effort(evidence.positive_kji), effort(evidence.negative_kji)
    speaks = np.ones(prior.shape, dtype=bool)
    if len(evidence.newest_kji):
        # A later prompt speaks for what is nearer to it than to any other; the rest stays as it was.
        newest = effort(evidence.newest_kji)
        speaks = newest.times < np.minimum(grown.times, opposed.times)
        if evidence.newest_is_positive:
            grown = grown.joined(newest)
        else:
            opposed = opposed.joined(newest)
    field = _up_to_level(grown, opposed, (grown.times < opposed.times) & allowed, spacing)
    field = settled(field, smooth, allowed & (grown.times < opposed.times), noise)
    field = _filled(field, allowed & (grown.times < opposed.times))
    if prior.any():
        # What a positive prompt says more, it says besides what is there.
        kept = np.maximum(field, prior - 0.5) if evidence.newest_is_positive else field
        field = np.where(speaks, kept, prior - 0.5)
    timings["geodesic"] = timings.get("geodesic", 0.0) + 1000 * (time.perf_counter() - started)
    return field.astype(np.float32), speaks | ~prior.any()


def _up_to_level(effort: _Effort, rival: _Effort, where: BoolArray, spacing_kji_mm: FloatArray) -> Float32Array:
    """Return a field above 0 for what is reached before the best level and before the rival, -1 elsewhere."""
    level = best_level(effort.times, effort.strange, where, spacing_kji_mm)
    margin = np.minimum(level, rival.times) - effort.times
    return np.where(where, np.tanh(margin / max(level, 1e-6)), -1).astype(np.float32)


def _within_limit(roi: Roi, limit: Extent) -> BoolArray:
    low = (np.array(limit.start_kji) - 0.5 - roi.low_kji) / roi.step_kji
    high = (np.array(limit.stop_kji) - 0.5 - roi.low_kji) / roi.step_kji
    inside = np.zeros(roi.shape_kji, dtype=bool)
    inside[tuple(slice(max(0, int(np.floor(a))), max(0, int(np.ceil(b)))) for a, b in zip(low, high, strict=True))] = (
        True
    )
    return inside


def _filled(field: Float32Array, where: BoolArray) -> Float32Array:
    """Close holes in the structure that nothing speaks against."""
    inside = field > 0
    axes = tuple(axis for axis in range(3) if field.shape[axis] > 1)
    filled = ndimage.binary_fill_holes(np.squeeze(inside)).reshape(inside.shape) if axes else inside
    return np.where(filled & ~inside & where, 0.1, field).astype(np.float32)


def _better_roi(roi: Roi, field: Float32Array, evidence: Evidence) -> Roi | None:
    """Return a larger region when the structure reaches its border, a smaller one when it is lost in it."""
    found = Extent.of_mask(field > 0)
    if found is None:
        return None
    touches = [
        (found.start_kji[a] == 0 and roi.cut_faces[a, 0])
        or (found.stop_kji[a] == roi.shape_kji[a] and roi.cut_faces[a, 1])
        for a in range(3)
    ]
    spacing = roi.source.spacing_kji_mm
    side_mm = float((np.array(roi.extent.shape_kji) * spacing).max())
    bounds = roi.source_extent(found).union(evidence.bounds)
    found_mm = float((np.array(bounds.shape_kji) * spacing).max())
    if any(touches):
        return _roi_around(roi.source, bounds, 2 * side_mm)
    coarse = float(np.max(roi.step_kji)) > 1.5
    if coarse and found_mm < 0.3 * side_mm and not len(evidence.newest_kji):
        return _roi_around(roi.source, bounds, max(2 * found_mm, _WORKING_VOXELS / 2 * float(spacing.min())))
    return None


def _pasted(field: Float32Array, speaks: BoolArray, roi: Roi, state: TargetState, evidence: Evidence) -> Patch:
    """Return the field as a mask of the image: what was clicked is what was clicked, whatever was found."""
    extent = Extent((0, 0, 0), (0, 0, 0))
    found = Extent.of_mask(field > 0)
    if found is not None:
        extent = roi.source_extent(found.padded(1))
    if state.mask is not None and (bounds := state.mask.bounds()) is not None:
        extent = bounds.intersection(roi.extent).union(extent)
    extent = _box_around(np.concatenate([voxels for voxels, _ in evidence.said])).union(extent)
    mask = np.zeros(extent.shape_kji, dtype=bool)
    if state.mask is not None:
        mask = state.mask.read(extent)
    common = extent.intersection(roi.extent)
    if common.size:
        part = mask[common.slices_within(extent)]
        spoken_of = roi.to_source(speaks.astype(np.float32), common) > 0.5
        part[spoken_of] = (roi.to_source(field, common) > 0)[spoken_of]
    if evidence.limit is not None:
        # The working grid is coarser than the image: a box ends where its faces are.
        inside = np.zeros_like(mask)
        inside[evidence.limit.intersection(extent).slices_within(extent)] = True
        mask &= inside
    for voxels, value in evidence.said:
        mask[tuple((voxels - extent.start_kji).T)] = value
    return Patch(extent, mask)


def _ints(values: object) -> tuple[int, int, int]:
    k, j, i = (int(v) for v in np.asarray(values))
    return k, j, i
