"""A network's doubtful voxels, decided by the image: who reaches them over the lower edges gets them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent, Float32Array
from PromptSegLib.predictors.default.geodesic import travel_times
from PromptSegLib.predictors.default.tuning import TUNED


def refined(
    logits: Float32Array, image: Float32Array, positive: BoolArray, negative: BoolArray, allowed: BoolArray
) -> Float32Array:
    """Return how surely each voxel belongs to the structure: (k, j, i), float32, -1 to 1, above 0 where it does.

    logits: of the network. image: 0 black to 1 white. positive, negative: prompted voxels. allowed: where the
    structure may be. All (k, j, i) on one isotropic grid.

    Voxels that the network is sure of, and prompted ones, are seeds of the structure or of its surroundings. To the
    others, paths lead from both over the image's edges, as in Grow from Seeds (Zhu et al. 2014); what the network
    thinks and which path is shorter count the same.
    """
    certainty = np.tanh(np.clip(logits, -20, 20) / 2)  # 2 p - 1
    heard = [_around(marks) for marks in (positive, negative)]
    low, high = (2 * p - 1 for p in TUNED.doubt)
    doubtful = (certainty > low) & (certainty < high) & _near_border(certainty > 0)
    doubtful |= (heard[0] & (certainty < high)) | (heard[1] & (certainty > low))
    doubtful &= allowed & ~positive & ~negative
    inside = ((certainty > 0) & ~doubtful & ~negative & allowed) | positive
    outside = ((certainty <= 0) & ~doubtful & ~positive) | negative | ~allowed
    outside &= ~inside
    result = np.where(inside & (certainty <= 0), 0.5, np.where(outside & (certainty > 0), -0.5, certainty))
    found = Extent.of_mask(doubtful)
    if found is None or not inside.any() or not outside.any():
        return result.astype(np.float32)
    box = found.padded(1).intersection(Extent.of_shape(doubtful.shape)).slices
    cost = _edges(image[box]) + np.float32(TUNED.step_in_doubt)
    ones = np.ones(3)
    here, beyond = travel_times(cost, (inside[box], outside[box]), ones, doubtful[box])
    opinion = np.where(heard[0], np.maximum(certainty, 0), np.where(heard[1], np.minimum(certainty, 0), certainty))
    result[box] = np.where(doubtful[box], (opinion[box] + _nearer(here, beyond)) / 2, result[box])
    return result.astype(np.float32)


def nearer_strokes(image: Float32Array, positive: BoolArray, negative: BoolArray) -> Float32Array:
    """Return -1 to 1, (k, j, i): how much shorter the way over the image's edges is from `positive` than `negative`.

    All (k, j, i) on one isotropic grid, some voxels of each sign; image: 0 black to 1 white.
    """
    cost, ones = _edges(image) + np.float32(TUNED.step_from_strokes), np.ones(3)
    return _nearer(*travel_times(cost, (positive, negative), ones))


def _near_border(mask: BoolArray) -> BoolArray:
    """Return the voxels that are no farther from the mask's border than a part of the radius of an equal ball."""
    volume, dims = float(mask.sum()), sum(n > 1 for n in mask.shape)
    bounds = Extent.of_mask(mask)
    if bounds is None or volume == mask.size or dims < 2:
        return np.ones(mask.shape, dtype=bool)
    radius = np.sqrt(volume / np.pi) if dims == 2 else np.cbrt(0.75 * volume / np.pi)
    limit = max(TUNED.band * radius, TUNED.least_band)
    box = bounds.padded(int(limit) + 1).intersection(Extent.of_shape(mask.shape)).slices
    distance = ndimage.distance_transform_edt(mask[box]) + ndimage.distance_transform_edt(~mask[box])
    near = np.zeros(mask.shape, dtype=bool)
    near[box] = distance <= limit
    return near


def _around(marks: BoolArray) -> BoolArray:
    if not marks.any():
        return marks
    return np.asarray(ndimage.distance_transform_cdt(~marks, "chessboard") <= TUNED.heard)


def _edges(image: Float32Array) -> Float32Array:
    """Return the largest difference between each voxel and its neighbours along the axes."""
    result = np.zeros_like(image)
    for axis in range(image.ndim):
        step = np.abs(np.diff(image, axis=axis))
        for part in (slice(0, -1), slice(1, None)):
            index = tuple(part if a == axis else slice(None) for a in range(image.ndim))
            np.maximum(result[index], step, out=result[index])
    return result


def _nearer(here: Float32Array, beyond: Float32Array) -> Float32Array:
    """Return -1 to 1: how much shorter the way from inside is than that from outside; 0 where neither arrives."""
    reached = np.isfinite(here) | np.isfinite(beyond)
    both = np.isfinite(here) & np.isfinite(beyond)
    result = np.where(reached, np.where(np.isfinite(here), 1.0, -1.0), 0.0)
    result[both] = (beyond[both] - here[both]) / np.maximum(beyond[both] + here[both], 1e-6)
    return result.astype(np.float32)
