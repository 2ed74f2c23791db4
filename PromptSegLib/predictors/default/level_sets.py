"""What fills a box: of the image's level sets in it, those that reach its faces, end at edges and suit a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Float32Array, FloatArray

# Levels tried, quantiles of the box, and how many of the largest parts above and below each.
_LEVELS, _PARTS = np.linspace(0.05, 0.97, 20), 3
# Smaller parts say nothing; nor do those that are shorter than half of the box along any axis: people draw boxes around
# what they mean.
_LEAST_VOXELS, _LEAST_SIDE = 30, 0.5
# Against noise, in working voxels: of the levels, of the edges.
_SMOOTH, _EDGE_SMOOTH = 0.6, 0.8
# How much a network's view of it counts, and what spreads over the box's faces, as surroundings do; fitted to 300 boxes
# in synthetic volumes.
_AGREEMENT, _SPREAD = 3.0, 1.4


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
    if image.size < _LEAST_VOXELS:
        return None
    shape, image, probability = image.shape, image.squeeze(), probability.squeeze()
    smooth = ndimage.gaussian_filter(image, _SMOOTH)
    edges = ndimage.gaussian_gradient_magnitude(image, _EDGE_SMOOTH)
    best, highest = None, 0.0
    total, weights = np.zeros(image.shape, dtype=np.float32), 0.0
    for candidate in _candidates(smooth):
        rim = candidate & ~ndimage.binary_erosion(candidate, border_value=1)  # beyond the box it is taken to go on
        if not rim.any():  # all of the box
            continue
        agreement = 2 * float(probability[candidate].sum()) / (float(probability.sum()) + float(candidate.sum()))
        spread = np.mean([candidate.take(face, axis).mean() for axis in range(image.ndim) for face in (0, -1)])
        edge = float(edges[rim].mean()) / max(float(edges.mean()), 1e-9)
        weight = float(_sides(candidate).prod() * edge * agreement**_AGREEMENT * np.exp(-_SPREAD * spread))
        total += np.float32(weight) * candidate
        weights += weight
        if weight > highest:
            best, highest = candidate, weight
    return None if best is None else Filling((total / np.float32(weights)).reshape(shape), best.reshape(shape))


def _candidates(smooth: Float32Array) -> Iterator[BoolArray]:
    for sign in (1, -1):
        for level in np.unique(np.quantile(smooth, _LEVELS)):
            parts, count = ndimage.label(sign * smooth > sign * level)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
            for number in 1 + np.argsort(-sizes, kind="stable")[:_PARTS]:
                part = parts == number
                if sizes[number - 1] >= _LEAST_VOXELS and (_sides(part) >= _LEAST_SIDE).all():
                    yield ndimage.binary_fill_holes(part)


def _sides(mask: BoolArray) -> FloatArray:
    """Return the parts of the box's sides that `mask`, of one voxel at least, reaches over: one value an axis."""
    reached = [np.ptp(indices) + 1 for indices in np.nonzero(mask)]
    return np.asarray(np.array(reached) / np.array(mask.shape))
