"""What fills a box: of the image's level sets in it, those that reach its faces, end at edges and suit a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Float32Array, FloatArray
from PromptSegLib.predictors.default.tuning import TUNED


@dataclass(frozen=True, eq=False)
class Filling:
    """What may fill a box. likelihood: (k, j, i), float32, 0 to 1. best: (k, j, i), bool, the likeliest level set."""

    likelihood: Float32Array
    best: BoolArray


def filling_of(image: Float32Array, probability: Float32Array) -> Filling | None:
    """Return how likely each voxel of a box belongs to the structure that the box is around.

    image: 0 black to 1 white. probability: what a network thinks, 0 to 1. Both (k, j, i), of the voxels in the box; an
    axis of one voxel makes it a slice. Candidates are the connected parts above or below a level (Matas et al., "Robust
    wide-baseline stereo from maximally stable extremal regions", 2004, look for structures among the same), without
    holes; they are weighed and averaged. None when there is none that fills the box.
    """
    if image.size < TUNED.least_voxels:
        return None
    shape, image, probability = image.shape, image.squeeze(), probability.squeeze()
    smooth = ndimage.gaussian_filter(image, TUNED.smooth_levels)
    edges = ndimage.gaussian_gradient_magnitude(image, TUNED.smooth_edges)
    best, highest = None, 0.0
    total, weights = np.zeros(image.shape, dtype=np.float32), 0.0
    for candidate in _candidates(smooth):
        rim = candidate & ~ndimage.binary_erosion(candidate, border_value=1)  # beyond the box it is taken to go on
        if not rim.any():  # all of the box
            continue
        agreement = 2 * float(probability[candidate].sum()) / (float(probability.sum()) + float(candidate.sum()))
        spread = np.mean([candidate.take(face, axis).mean() for axis in range(image.ndim) for face in (0, -1)])
        edge = float(edges[rim].mean()) / max(float(edges.mean()), 1e-9)
        weight = float(_sides(candidate).prod() * edge * agreement**TUNED.agreement * np.exp(-TUNED.spread * spread))
        total += np.float32(weight) * candidate
        weights += weight
        if weight > highest:
            best, highest = candidate, weight
    return None if best is None else Filling((total / np.float32(weights)).reshape(shape), best.reshape(shape))


def _candidates(smooth: Float32Array) -> Iterator[BoolArray]:
    for sign in (1, -1):
        for level in np.unique(np.quantile(smooth, TUNED.levels)):
            parts, count = ndimage.label(sign * smooth > sign * level)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
            for number in 1 + np.argsort(-sizes, kind="stable")[: TUNED.parts_of_level]:
                part = parts == number
                if sizes[number - 1] >= TUNED.least_voxels and (_sides(part) >= TUNED.least_side).all():
                    yield ndimage.binary_fill_holes(part)


def _sides(mask: BoolArray) -> FloatArray:
    """Return the parts of the box's sides that `mask`, of one voxel at least, reaches over: one value an axis."""
    reached = [np.ptp(indices) + 1 for indices in np.nonzero(mask)]
    return np.asarray(np.array(reached) / np.array(mask.shape))
