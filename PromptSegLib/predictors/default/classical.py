"""The classical predictor: a seeded, geodesic segmenter on what a bare Slicer ships. It has learned nothing.

From the positive and from the negative prompts paths are grown through voxels like those prompted; a voxel belongs to
whoever reaches it with less effort, as far as the border at which the surroundings change most. Everything happens
in a region of interest on a working grid of at most 64 voxels a side, which follows the structure's size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent, Float32Array, FloatArray, Grid, IntArray
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.imaging.voxels import box_around
from PromptSegLib.imaging.windowing import is_ct
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.default.correction import closer_by, corrected, is_correction
from PromptSegLib.predictors.default.evidence import Evidence
from PromptSegLib.predictors.default.geodesic import (
    best_level,
    noise_of,
    settled,
    strangeness,
    travel_time,
)
from PromptSegLib.predictors.default.prompt_maps import prompt_maps
from PromptSegLib.predictors.default.scale_choice import Look
from PromptSegLib.predictors.default.tuning import TUNED
from PromptSegLib.view import View
from PromptSegLib.volume import Image

# In place of infinity, of which differences are no numbers.
_NEVER = 1e30


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
        corrects=True,
        devices=("cpu",),
    )

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> Image:
        """Return `image`: there is nothing to do beforehand.

        Raises:
            VolumeError: no voxel is finite.
        """
        array = image.reference.array
        if array.dtype.kind == "f" and not any(np.isfinite(part).any() for part in array):
            image.reference.finite_range  # noqa: B018 - raises, with the reason
        return image

    def predict(
        self, encoding: Image, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Yield one prediction; see the module."""
        evidence = Evidence.of(state, encoding.grid)
        if evidence.is_empty:
            return
        timings: dict[str, float] = {}
        if is_correction(state, evidence):
            yield _correction(encoding, state, evidence, timings, cancel)
            return
        side_mm = _first_side_mm(encoding.grid, state.view)
        if evidence.is_apart(state, encoding.grid):
            # Another part of the structure, of a size of its own.
            evidence = evidence.without_earlier()
        roi = Roi.around(encoding.grid, evidence.bounds, side_mm, TUNED.grown_side)
        for turn in range(TUNED.most_passes):
            progress(turn / TUNED.most_passes, "growing")
            field, speaks = _grown(encoding, state, evidence, roi, timings, cancel)
            better = _better_roi(roi, field, evidence) if turn < TUNED.most_passes - 1 else None
            if better is None:
                break
            roi = better
        started = time.perf_counter()
        patch = evidence.pasted(field, speaks, roi, state)
        timings["paste"] = 1000 * (time.perf_counter() - started)
        yield Prediction({state.target: patch}, timings_ms=timings)


def _correction(
    image: Image, state: TargetState, evidence: Evidence, timings: dict[str, float], cancel: CancelToken
) -> Prediction:
    """Return the given mask with those errors put right that prompts lie in; see `predictors.correction`."""
    assert state.mask is not None
    grid = image.grid
    bounds = evidence.bounds_with_newest(grid)
    side_mm = 1.5 * float((np.array(bounds.shape_kji) * grid.spacing_kji_mm).max())
    roi = Roi.around(grid, bounds, side_mm, TUNED.grown_side)
    part, depth = closer_by(roi, state.mask)
    if part < 1:
        roi = Roi.around(grid, box_around(evidence.newest_kji), part * side_mm, TUNED.grown_side)
    field, _ = _grown(image, state, evidence, roi, timings, cancel)
    started = time.perf_counter()
    previous = roi.read_mask(state.mask)
    maps = prompt_maps(roi, image.reference, state, evidence, previous, is_ct(image.reference))
    look = Look(roi, (TUNED.field_as_logits * field).astype(np.float32))
    patch, certainty = corrected(state, evidence, look, maps, depth)
    timings["correct"] = 1000 * (time.perf_counter() - started)
    return Prediction({state.target: patch}, timings_ms=timings, certainty=certainty)


def _first_side_mm(grid: Grid, view: View | None) -> float:
    if view is not None:
        return float(max(view.size_mm))
    longest_mm = float((np.array(grid.shape_kji) * grid.spacing_kji_mm).max())
    return max(TUNED.first_part * longest_mm, TUNED.grown_side * float(grid.spacing_mm.min()) / 2)


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
        return _Effort(travel_time(TUNED.familiar_step + strange, seeds, spacing), strange)

    allowed = np.ones(prior.shape, dtype=bool)
    if evidence.limit is not None:
        allowed = roi.box(evidence.limit)
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
    return np.where(where, np.tanh(margin / (level or 1.0)), -1).astype(np.float32)


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
    spacing = roi.source.spacing_kji_mm
    side_mm = float((np.array(roi.extent.shape_kji) * spacing).max())
    bounds = roi.source_extent(found).union(evidence.bounds)
    found_mm = float((np.array(bounds.shape_kji) * spacing).max())
    if roi.touched_faces(found).any():
        return Roi.around(roi.source, bounds, 2 * side_mm, TUNED.grown_side)
    coarse = float(np.max(roi.step_kji)) > 1.5
    if coarse and found_mm < 0.3 * side_mm and not len(evidence.newest_kji):
        side_mm = max(2 * found_mm, TUNED.grown_side / 2 * float(spacing.min()))
        return Roi.around(roi.source, bounds, side_mm, TUNED.grown_side)
    return None
