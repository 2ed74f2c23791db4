"""Geodesic segmentation: how hard it is to travel from the seeds to each voxel, and how far to go."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent, Float32Array, FloatArray, flip_axes
from PromptSegLib.predictors.default.tuning import TUNED

# Differences of less than this part of an intensity are the last bits of float32.
LAST_BITS = 1e-6


def travel_time(
    cost: Float32Array, seeds: BoolArray, spacing_kji_mm: FloatArray, where: BoolArray | None = None
) -> Float32Array:
    """Return the least cost of a path from `seeds` to each voxel: (k, j, i), float32, 0 at the seeds.

    cost: (k, j, i), > 0, per mm. where: paths lead through these voxels only (through all, by default); what cannot
    be reached is infinitely far. Solves the eikonal equation by fast marching (Sethian 1996), so that times are those
    of straight paths, not of paths along the axes. Axes of a single voxel are left out.
    """
    import SimpleITK as sitk

    axes = [axis for axis in range(3) if cost.shape[axis] > 1]
    if not axes:
        return np.zeros(cost.shape, dtype=np.float32)
    if len(axes) == 1:  # ITK's images have two axes at least
        axes = sorted([*axes, (axes[0] + 1) % 3])
    shape = [cost.shape[axis] for axis in axes]
    spacing = np.asarray(spacing_kji_mm, dtype=np.float64)[axes]
    original, cost, seeds = cost.shape, cost.reshape(shape), seeds.reshape(shape)
    march = sitk.FastMarchingImageFilter()
    # Inner seeds would only be marched through: a mask of 50,000 voxels takes 10 times as long with them.
    front, farthest = seeds & ~ndimage.binary_erosion(seeds), np.inf
    if where is not None:
        # Walls that no path within is as long as: marching ends before it enters them.
        way = where.reshape(shape) & ~seeds
        farthest = float(cost[way].sum()) * float(spacing.max()) if way.any() else 0.0
        cost = np.where(way, cost, 10 * max(farthest, 1e-6) / spacing.min())
        march.SetStoppingValue(farthest)
        front &= ndimage.binary_dilation(way)
    speed = sitk.GetImageFromArray((1.0 / cost).astype(np.float32))
    speed.SetSpacing([float(s) for s in flip_axes(spacing)])
    march.SetTrialPoints(flip_axes(np.argwhere(front)).tolist())
    times = sitk.GetArrayFromImage(march.Execute(speed))
    times[times > farthest] = np.inf
    times[seeds] = 0
    return times.astype(np.float32).reshape(original)


def travel_times(
    cost: Float32Array,
    seeds: Sequence[BoolArray],
    spacing_kji_mm: FloatArray,
    where: BoolArray | None = None,
) -> list[Float32Array]:
    """Return `travel_time` from each of several seeds, found at once by a thread each."""
    with ThreadPoolExecutor(len(seeds)) as pool:
        return list(pool.map(lambda start: travel_time(cost, start, spacing_kji_mm, where), seeds))


def strangeness(image: Float32Array, seeds: BoolArray, noise: float) -> Float32Array:
    """Return how unlike the seeds each voxel is: log(1 + |difference| / scale), limited; (k, j, i), float32, >= 0.

    image: (k, j, i) or (k, j, i, component). A voxel is compared with the seed intensities' quantiles and takes the
    smallest difference: seeds on two tissues make both familiar. noise: its standard deviation.
    """
    values = image if image.ndim == 4 else image[..., None]
    samples = values[seeds]
    references = np.unique(np.quantile(samples, [0.1, 0.5, 0.9] if len(samples) > 30 else [0.5], axis=0), axis=0)
    if len(samples) <= 12:
        references = np.unique(samples, axis=0)
    difference = np.full(values.shape[:3], np.inf, dtype=np.float32)
    for reference in references:
        np.minimum(difference, np.linalg.norm(values - reference, axis=-1), out=difference)
    spread = float(values.std())
    # Without a floor the faintest shade would be as strange as another tissue, in an image without noise.
    noise = max(noise, 0.02 * spread)
    scale = max(float(np.sqrt(2 * noise * np.quantile(difference, 0.25))), 0.01 * spread, _last_bits(values)) or 1.0
    return np.asarray(np.log1p(np.minimum(difference / scale, TUNED.most_unlike)), dtype=np.float32)


def noise_of(image: Float32Array) -> float:
    """Return the typical standard deviation within 3 voxels a side: what differs without meaning anything."""
    grey = image.mean(axis=-1) if image.ndim == 4 else image
    # In parts of the largest, around 0: squares of 1e-20 would be 0 in float32, those of 1e6 hide differences of 1.
    grey = grey - grey.mean(dtype=np.float64).astype(np.float32)
    largest = float(np.abs(grey).max()) or 1.0
    grey = grey / np.float32(largest)
    size = [min(3, n) for n in grey.shape]
    mean = ndimage.uniform_filter(grey, size)
    variance = ndimage.uniform_filter(grey * grey, size) - mean * mean
    return largest * float(np.median(np.sqrt(np.maximum(variance, 0))))


def _last_bits(values: Float32Array) -> float:
    """Return how much equal intensities among `values` may differ by, after some arithmetic."""
    return LAST_BITS * float(np.abs(values).max(initial=0))


def best_level(
    times: Float32Array,
    strange: Float32Array,
    where: BoolArray,
    spacing_kji_mm: FloatArray,
    smallest: int = 8,
) -> float:
    """Return the time at which to stop: where the step to the strange is largest all around the region so far.

    Levels are tried from `smallest` voxels to 80 % of those `where` the region may be. The mean of the outward
    difference of `strange` over the region's surface decides; a slight weight on volume breaks ties upwards. Where
    nothing is strange, all of it is reached.
    """
    inside = np.sort(times[where], axis=None)
    if inside.size == 0:
        return 0.0
    if np.quantile(strange[where], 0.98) < TUNED.strange:
        # No other tissue in sight: what looks like a border is noise.
        return float(inside[-1])
    counts = np.unique(np.geomspace(min(smallest, inside.size), max(0.8 * inside.size, 1), 64).astype(int))
    levels = inside[np.clip(counts, 1, inside.size) - 1]
    rises = np.zeros(len(levels) + 1)
    areas = np.zeros(len(levels) + 1)
    for axis in range(3):
        if times.shape[axis] == 1:
            continue
        near, far = _neighbours(times, axis)
        allowed = np.logical_or(*_neighbours(where, axis))
        step = (np.sign(far - near) * _wide_difference(strange, axis))[allowed]
        entered = np.searchsorted(levels, np.minimum(near, far)[allowed], "left")
        left = np.searchsorted(levels, np.maximum(near, far)[allowed], "left")
        weight = 1.0 / spacing_kji_mm[axis]
        for total, values in ((rises, step * weight), (areas, np.full(step.shape, weight))):
            total += np.bincount(entered, values, len(levels) + 1) - np.bincount(left, values, len(levels) + 1)
    surfaces = np.cumsum(areas)[:-1]
    contrast = np.cumsum(rises)[:-1] / np.maximum(surfaces, (LAST_BITS * surfaces.max()) or 1.0)
    return float(levels[int(np.argmax(contrast * counts**0.03))])


def _neighbours(values: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return each voxel but the last along `axis`, and its next one."""
    count = values.shape[axis]
    return np.take(values, range(count - 1), axis), np.take(values, range(1, count), axis)


def _wide_difference(values: Float32Array, axis: int) -> Float32Array:
    """Return the difference over three steps around each pair of neighbours: edges are seldom one voxel wide."""
    count = values.shape[axis]
    before = np.maximum(np.arange(count - 1) - 1, 0)
    after = np.minimum(np.arange(1, count) + 1, count - 1)
    return np.asarray(np.take(values, after, axis) - np.take(values, before, axis))


def settled(field: Float32Array, image: Float32Array, where: BoolArray, noise: float) -> Float32Array:
    """Return `field` with its border half way between what the image is just inside and just outside of it.

    field: (k, j, i), float32, above 0 inside. image: (k, j, i) or (k, j, i, component). Only voxels beside the border
    change, `where` they may, and none where both sides differ by less than three times the `noise`. Growing stops at
    the first signs of an edge; this goes on to its middle.
    """
    found = Extent.of_mask(field > 0)
    if found is None:
        return field
    # Beyond three standard deviations of the Gaussian nothing counts.
    box = found.padded(6).intersection(Extent.of_shape(field.shape)).slices
    inside, values = field[box] > 0, image[box] if image.ndim == 4 else image[box][..., None]
    cross = ndimage.generate_binary_structure(3, 1)
    core, beyond = ndimage.binary_erosion(inside, cross, border_value=1), ~ndimage.binary_dilation(inside, cross)
    sigma = [1.5 * (n > 1) for n in field.shape]
    weights = [ndimage.gaussian_filter(side.astype(np.float32), sigma, truncate=3) for side in (core, beyond)]
    shell = ~core & ~beyond & where[box] & (np.minimum(*weights) > 0.01)
    within, around = (
        ndimage.gaussian_filter(values * side[..., None], [*sigma, 0], truncate=3)[shell] / weight[shell, None]
        for side, weight in zip((core, beyond), weights, strict=True)
    )
    contrast = np.linalg.norm(within - around, axis=-1)
    off_within, off_around = (np.linalg.norm(values[shell] - mean, axis=-1) for mean in (within, around))
    differs = contrast > max(3 * noise, _last_bits(values))
    moved = np.clip((off_around - off_within) / np.where(differs, contrast, 1), -1, 1)
    result = field.copy()
    result[box][shell] = np.where(differs, moved, field[box][shell])
    return result
