"""Answers of predictors that draw a given mask anew, cut down to what the newest prompts are about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray, Patch
from PromptSegLib.geometry import Extent, Grid, IntArray
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.imaging.voxels import follows, parts_with
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.prompts import Lasso, Point, Prompt, Scribble, VoxelScribble

_LOCAL = (Point, Scribble, VoxelScribble, Lasso)


def is_to_be_cut(capabilities: Capabilities, state: TargetState) -> bool:
    """Tell whether the answer to `state` is to change only what its newest prompts are about.

    That is when a mask came from elsewhere, a click, stroke or lasso is to correct it, nobody wants all of it redrawn,
    and the predictor does not see to it itself.
    """
    is_correction = state.mask is not None and state.mask_is_given and not state.redraw and state.span is None
    is_local = bool(state.prompts) and isinstance(state.prompts[-1], _LOCAL)
    return is_correction and is_local and not state.others and not capabilities.corrects


def cut(predictions: Iterator[Prediction], state: TargetState, grid: Grid) -> Iterator[Prediction]:
    """Yield `predictions` without what does not hang together with a prompt that the mask does not follow yet.

    Of what is added only the parts that a positive prompt touches are left, of what is taken away those that a negative
    one does. With what was cut down a predictor cannot go on: its feedback is dropped, and it begins with the mask as
    it is.
    """
    assert state.mask is not None
    mask = state.mask.copy()
    said = [(_voxels(prompt, grid), prompt.sign == "+") for prompt in state.prompts if isinstance(prompt, _LOCAL)]
    pending = [
        (voxels, value) for voxels, value in said[:-1] if len(voxels) and not follows(mask, voxels, value)
    ] + said[-1:]
    for prediction in predictions:
        patch = prediction.patches.get(state.target)
        if patch is None or patch.extent.size == 0:
            yield prediction
            continue
        before = mask.read(patch.extent)
        added = _touched(patch.mask_kji & ~before, patch.extent, [v for v, value in pending if value])
        removed = _touched(before & ~patch.mask_kji, patch.extent, [v for v, value in pending if not value])
        after = (before | added) & ~removed
        mask.write(patch.extent, after)
        was_cut = not np.array_equal(after, patch.mask_kji) or prediction.replaces
        yield dataclasses.replace(
            prediction,
            patches={**prediction.patches, state.target: Patch(patch.extent, after)},
            feedback=None if was_cut else prediction.feedback,
            replaces=False,
            certainty=None if was_cut else prediction.certainty,
        )


def _touched(changed: BoolArray, extent: Extent, prompts: list[IntArray]) -> BoolArray:
    """Return the connected parts of `changed` that hold a voxel of `prompts`, or one beside them."""
    near = np.zeros(changed.shape, dtype=bool)
    for voxels in prompts:
        index = voxels - np.array(extent.start_kji)
        inside = ((index >= 0) & (index < changed.shape)).all(axis=1)
        near[tuple(index[inside].T)] = True
    if not near.any() or not changed.any():
        return np.zeros(changed.shape, dtype=bool)
    return parts_with(changed, ndimage.binary_dilation(near, np.ones((3, 3, 3))))


def _voxels(prompt: Prompt, grid: Grid) -> IntArray:
    patch = rasterize(prompt, grid)
    return np.argwhere(patch.mask_kji) + patch.extent.start_kji
