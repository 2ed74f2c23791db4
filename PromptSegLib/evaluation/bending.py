"""Masks that are wrong as those are that people have to correct: made of the truth, seeded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.shapes import hole_kji, shape_of
from PromptSegLib.geometry import Extent, FloatArray
from PromptSegLib.imaging.geodesic import travel_time
from PromptSegLib.imaging.roi import Float32Array
from PromptSegLib.volume import Volume

Bending = Callable[[BoolArray, Volume, np.random.Generator], BoolArray | None]
"""Makes a wrong mask of the truth of an image, both (k, j, i); None where the structure cannot be wrong in that way."""

# How much is cut away in one piece, and how much too much is taken: either gives a Dice of .857.
_MISSING, _LEAK = 1 / 4, 1 / 3
# A warp leaves a Dice between these; its waves are so long, in parts of the structure's longest side.
_WARPED, _WAVE = (0.35, 0.9), 0.1
# A neighbour is merged up to this part of the structure's size; its border costs so much more than a step within it.
_NEIGHBOUR, _BORDER_COST = (0.2, 0.8), 30.0
# What is around the structure where it is bent, in parts of its longest side.
_MARGIN = 0.6


def bent(name: str, truth_kji: BoolArray, volume: Volume, seed: int = 0) -> BoolArray | None:
    """Return a mask that is wrong in the way `name` of `BENDINGS` : (k, j, i), bool, neither empty nor the truth.

    None where that cannot be. truth_kji: of the volume's shape, some voxel set.
    """
    grid = volume.grid
    extent = Extent.of_mask(truth_kji)
    assert extent is not None
    # A stack of few slices is looked at with all of them.
    margin = [int(n > 1) * (3 + round(_MARGIN * max(extent.shape_kji))) for n in grid.shape_kji]
    box = extent.padded(margin).intersection(grid.extent)
    part = Volume(volume.array[box.slices], grid.cropped(box).ijk_to_ras)
    rng = np.random.default_rng([seed, *name.encode()])
    wrong = BENDINGS[name](truth_kji[box.slices], part, rng)
    if wrong is None or not wrong.any() or np.array_equal(wrong, truth_kji[box.slices]):
        return None
    mask = np.zeros_like(truth_kji)
    mask[box.slices] = wrong
    return mask


def _warp(truth: BoolArray, volume: Volume, rng: np.random.Generator) -> BoolArray:
    """Shift the border by smooth random waves, so far that a Dice drawn between `_WARPED` is left."""
    spacing = volume.grid.spacing_kji_mm
    extent = Extent.of_mask(truth)
    assert extent is not None
    longest_mm = float((np.array(extent.shape_kji) * spacing).max())
    sigma = np.minimum(_WAVE * longest_mm / spacing, np.array(truth.shape))
    where, waves = np.indices(truth.shape).astype(np.float32), np.zeros((3, *truth.shape), dtype=np.float32)
    for axis in (axis for axis in range(3) if truth.shape[axis] > 1):
        noise = ndimage.gaussian_filter(rng.standard_normal(truth.shape, dtype=np.float32), sigma)
        waves[axis] = noise / max(float(noise.std()), 1e-12) / spacing[axis]
    wanted, low, high, warped = rng.uniform(*_WARPED), 0.0, longest_mm, truth
    for _ in range(8):
        middle = (low + high) / 2
        shifted = ndimage.map_coordinates(truth.astype(np.float32), where + middle * waves, order=1) > 0.5
        is_close = shifted.any() and dice(shifted, truth) >= wanted
        low, high = (middle, high) if is_close else (low, middle)
        warped = shifted if is_close else warped
    return warped


def _missing(truth: BoolArray, volume: Volume, rng: np.random.Generator) -> BoolArray:
    """Cut a quarter away, in one piece: what is nearest to a voxel, by ways within the structure."""
    return truth & ~_nearest(truth, _any_of(truth, rng), _MISSING * truth.sum(), volume)


def _leak(truth: BoolArray, volume: Volume, rng: np.random.Generator) -> BoolArray | None:
    """Take a third too much, in one piece, beside the structure."""
    beside = ndimage.binary_dilation(truth, _cross(truth)) & ~truth
    if not beside.any():
        return None
    return truth | _nearest(~truth, _any_of(beside, rng), _LEAK * truth.sum(), volume)


def _broken_ring(truth: BoolArray, volume: Volume, rng: np.random.Generator) -> BoolArray | None:
    """Cut a ring through: a wedge of a tenth to a quarter of the turn, about the middle of what it encloses."""
    hole = hole_kji(truth)
    if not hole.any() or shape_of(truth, volume.grid) != "ring":
        return None
    spacing = volume.grid.spacing_kji_mm
    middle = np.argwhere(hole).mean(axis=0)
    offset = (np.indices(truth.shape).reshape(3, -1).T - middle) * spacing
    # The plane of the ring: across the axis along which the hole is seen, that of its least spread.
    spread = np.ptp(np.argwhere(truth), axis=0) * spacing
    across = int(np.argmin(spread)) if min(truth.shape) > 1 else truth.shape.index(1)
    u, v = (axis for axis in range(3) if axis != across)
    angle = np.arctan2(offset[:, u], offset[:, v]).reshape(truth.shape)
    start, width = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 0.25) * 2 * np.pi
    return np.asarray(truth & ~((angle - start) % (2 * np.pi) < width))


def _lost_branch(truth: BoolArray, volume: Volume, rng: np.random.Generator) -> BoolArray | None:
    """Take a branch of a tree away: of what a cut through it parts from the rest."""
    if shape_of(truth, volume.grid) != "tree":
        return None
    spacing = volume.grid.spacing_kji_mm
    depth_mm = ndimage.distance_transform_edt(np.pad(truth, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    best, best_size = None, 0
    for _ in range(12):
        seed = _any_of(truth, rng)
        reach_mm = 2.5 * float(depth_mm.max())
        from_seed = np.linalg.norm((np.indices(truth.shape).reshape(3, -1).T - seed) * spacing, axis=1)
        rest = truth & (from_seed.reshape(truth.shape) > reach_mm)
        parts, count = ndimage.label(rest, np.ones((3, 3, 3)))
        near, _ = ndimage.label(truth, np.ones((3, 3, 3)))
        same = parts * (near == near[tuple(seed)])
        sizes = np.bincount(same.ravel(), minlength=count + 1)[1:]
        own = np.flatnonzero(sizes > 0)
        if len(own) < 2:
            continue
        branch = int(own[np.argsort(sizes[own])[-2]]) + 1
        size = int(sizes[branch - 1])
        if best_size < size <= 0.5 * truth.sum():
            best, best_size = same == branch, size
    return None if best is None else np.asarray(truth & ~best)


def _lost_part(truth: BoolArray, volume: Volume, rng: np.random.Generator) -> BoolArray | None:
    """Leave out one of several parts, no smaller than a twentieth and no larger than half of all."""
    parts, count = ndimage.label(truth, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    fit = np.flatnonzero((sizes >= 0.05 * truth.sum()) & (sizes <= 0.6 * truth.sum()))
    if count < 2 or len(fit) == 0:
        return None
    return np.asarray(truth & (parts != 1 + int(rng.choice(fit))))


def _merged_neighbour(truth: BoolArray, volume: Volume, rng: np.random.Generator) -> BoolArray | None:
    """Take what lies beside the structure too, as far as it looks alike."""
    beside = ndimage.binary_dilation(truth, _cross(truth), 3) & ~ndimage.binary_dilation(truth, _cross(truth), 1)
    if not beside.any():
        return None
    grey = volume.array.astype(np.float32)
    grey = grey.mean(axis=-1) if grey.ndim == 4 else grey
    grey = np.nan_to_num(grey, posinf=0, neginf=0)
    smooth = ndimage.gaussian_filter(grey, [float(n > 1) for n in grey.shape])
    seed = _any_of(beside, rng)
    unlike = np.abs(smooth - smooth[tuple(seed)]) / max(float(smooth.std()), 1e-6)
    size = rng.uniform(*_NEIGHBOUR) * truth.sum()
    neighbour = _nearest(~truth, seed, size, volume, (1 + _BORDER_COST * unlike).astype(np.float32))
    return np.asarray(truth | neighbour | (ndimage.binary_dilation(neighbour, _cross(truth), 2) & (unlike < 0.5)))


BENDINGS: dict[str, Bending] = {
    "warp": _warp,
    "missing": _missing,
    "leak": _leak,
    "broken ring": _broken_ring,
    "lost branch": _lost_branch,
    "lost part": _lost_part,
    "merged neighbour": _merged_neighbour,
}
"""All ways, by name."""


def _nearest(
    where: BoolArray, seed: FloatArray, count: float, volume: Volume, cost: Float32Array | None = None
) -> BoolArray:
    """Return the `count` voxels of `where` that are nearest to `seed`, by ways within it."""
    seeds = np.zeros(where.shape, dtype=bool)
    seeds[tuple(seed)] = True
    cost = np.ones(where.shape, dtype=np.float32) if cost is None else cost
    times = travel_time(cost, seeds, volume.grid.spacing_kji_mm, where)
    times = np.where(where, times, np.inf)
    reached = np.sort(times[np.isfinite(times)])
    last = reached[min(len(reached), max(1, round(count))) - 1]
    return np.asarray(times <= last)


def _any_of(mask: BoolArray, rng: np.random.Generator) -> FloatArray:
    index = np.argwhere(mask)
    return np.asarray(index[rng.integers(len(index))])


def _cross(mask: BoolArray) -> BoolArray:
    return np.asarray(ndimage.generate_binary_structure(3, 1))
