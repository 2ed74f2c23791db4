"""Structures that differ from their surroundings, on grids of all kinds, and what predictors make of clicks on them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from slice_phantoms import affine, ball, middle_ras

from PromptSegLib.bitmask import BitMask
from PromptSegLib.cancel import CancelToken, no_progress
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Image, Volume

GRIDS = {
    "isotropic": Grid((36, 40, 44), affine()),
    "anisotropic": Grid((14, 50, 56), affine(spacing=(0.8, 0.8, 3.0))),
    "flipped": Grid((36, 40, 44), affine(signs=(-1, 1, -1))),
    "permuted": Grid((36, 40, 44), affine(order=(2, 0, 1))),
    "oblique": Grid((30, 40, 44), affine(spacing=(1.0, 1.1, 1.4), turned_deg=25)),
}
SPACE = GRIDS["isotropic"]


def grey(grid, *structures, inside=100.0, sd=2.0, seed=0):
    """Return a noisy image of 0 with structures of `inside`, blurred as a scanner does: float32."""
    array = np.zeros(grid.shape_kji, dtype=np.float32)
    for structure in structures:
        array[structure] = inside
    array = ndimage.gaussian_filter(array, [0.5 * (n > 1) for n in array.shape])
    array += np.random.default_rng(seed).normal(0, sd, array.shape).astype(np.float32)
    return Volume(array, grid.ijk_to_ras)


def at(grid, offset_ras=(0, 0, 0), positive=True):
    return Point(tuple(middle_ras(grid) + offset_ras), positive)


def two_balls(radius_mm=9.0, half_distance_mm=8.0):
    """Return two balls that overlap, side by side along R, and where to click in each."""
    offset = np.array([half_distance_mm, 0, 0])
    left, right = (ball(SPACE, middle_ras(SPACE) + sign * offset, radius_mm) for sign in (-1, 1))
    return left, right, at(SPACE, -offset), at(SPACE, offset, positive=False)


def clicked(predictor, volume, *prompts, view=None, **options):
    """Return the mask after all of `prompts`, one by one."""
    session = Session(volume, predictor, **options)
    for prompt in prompts:
        session.add(prompt, view)
    return session.mask_kji


def bits(mask_kji):
    mask = BitMask(mask_kji.shape)
    mask.write(Extent.of_shape(mask_kji.shape), mask_kji)
    return mask


def answered_at_once(predictor, volume, *prompts, mask_kji=None, view=None, cancel=None):
    """Return the mask that a single question gives, None when there is no answer."""
    image, token = Image(volume), cancel or CancelToken()
    state = TargetState("segment", prompts, mask=None if mask_kji is None else bits(mask_kji), view=view)
    encoding = predictor.encode(image, token, no_progress)
    predictions = list(predictor.predict(encoding, state, token, no_progress))
    if not predictions:
        return None
    [prediction] = predictions
    result = np.zeros(volume.grid.shape_kji, dtype=bool) if mask_kji is None else mask_kji.copy()
    patch = prediction.patches["segment"]
    result[patch.extent.slices] = patch.mask_kji
    return result
