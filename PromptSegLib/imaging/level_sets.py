"""What fills a box: of the image's level sets in it, those that reach its faces, end at edges and suit a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import FloatArray
from PromptSegLib.imaging.roi import Float32Array

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
    axes = [axis for axis in range(3) if image.shape[axis] > 1]
    sigma = np.array([n > 1 for n in image.shape])
    smooth = ndimage.gaussian_filter(image, _SMOOTH * sigma)
    edges = ndimage.gaussian_gradient_magnitude(image, _EDGE_SMOOTH * sigma)
    best, highest = None, 0.0
    total, weights = np.zeros(image.shape, dtype=np.float32), 0.0
    for candidate in _candidates(smooth, axes):
        rim = candidate & ~_eroded(candidate, axes)
        if not rim.any():  # all of the box
            continue
        agreement = 2 * float(probability[candidate].sum()) / (float(probability.sum()) + float(candidate.sum()))
        spread = np.mean([candidate.take(face, axis).mean() for axis in axes for face in (0, -1)])
        edge = float(edges[rim].mean()) / max(float(edges.mean()), 1e-9)
        weight = float(_sides(candidate).prod() * edge * agreement**_AGREEMENT * np.exp(-_SPREAD * spread))
        total += np.float32(weight) * candidate
        weights += weight
        if weight > highest:
            best, highest = candidate, weight
    return None if best is None else Filling(total / np.float32(weights), best)


def _candidates(smooth: Float32Array, axes: list[int]) -> Iterator[BoolArray]:
    for sign in (1, -1):
        for level in np.unique(np.quantile(smooth, _LEVELS)):
            parts, count = ndimage.label(sign * smooth > sign * level)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
            for number in 1 + np.argsort(-sizes, kind="stable")[:_PARTS]:
                part = parts == number
                if sizes[number - 1] >= _LEAST_VOXELS and (_sides(part)[axes] >= _LEAST_SIDE).all():
                    yield _filled(part, axes)


def _sides(mask: BoolArray) -> FloatArray:
    """Return the parts of the box's sides that `mask` reaches over: (3,), k, j, i."""
    others = [tuple(axis for axis in range(3) if axis != along) for along in range(3)]
    reached = [np.flatnonzero(mask.any(axis=along)) for along in others]
    lengths = [ends[-1] + 1 - ends[0] if len(ends) else 0 for ends in reached]
    return np.asarray(np.array(lengths) / np.array(mask.shape))


def _filled(mask: BoolArray, axes: list[int]) -> BoolArray:
    filled: BoolArray = ndimage.binary_fill_holes(mask, _cross(axes))
    return filled


def _eroded(mask: BoolArray, axes: list[int]) -> BoolArray:
    """Return what is inside of `mask`; beyond the box it is taken to go on."""
    eroded: BoolArray = ndimage.binary_erosion(mask, _cross(axes), border_value=1)
    return eroded


def _cross(axes: list[int]) -> BoolArray:
    """Return a voxel and its neighbours along `axes`."""
    cross = ndimage.generate_binary_structure(len(axes), 1)
    return np.expand_dims(cross, [axis for axis in range(3) if axis not in axes])
