"""Where in a mask to look next: the place at which most of it is probably wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import FloatArray, Grid, IntArray, flip_axes

_SURE = 0.75
"""From this probability on a voxel of the mask counts as sure: parts of it that only others join hang on these."""
_LEAST_DOUBT = 0.1
"""What is surer than this at its least sure voxel needs no look."""
_MOST_VOXELS = 4_000_000  # a box with more is looked at in steps: 0.4 s on one core for as many
_PART_OF_RADIUS = 0.25
_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Doubt:
    """A place to look at.

    point_ras: (x, y, z), mm. normal_ras: unit vector across the slice that shows most of what is unsure there.
    weight: how many voxels there are expected to be wrong, or to hang on one that is.
    """

    point_ras: tuple[float, float, float]
    normal_ras: tuple[float, float, float]
    weight: float


def unsureness(probability_kji: NDArray[np.float32], mask_kji: BoolArray) -> float:
    """Return how unsure a mask is as a whole: 1 less the Dice that is expected of it, 0 to 1.

    probability_kji: (k, j, i), 0 to 1, that a voxel belongs to the structure. mask_kji: bool, of that shape.
    """
    total = float(probability_kji.sum(dtype=np.float64)) + int(np.count_nonzero(mask_kji))
    overlap = float(probability_kji[mask_kji].sum(dtype=np.float64))
    return 1 - 2 * overlap / total if total else 0.0


def with_corrections(probability_kji: NDArray[np.float32], mask_kji: BoolArray) -> NDArray[np.float32]:
    """Return the probabilities with what somebody corrected by hand as sure: where the mask is not what they say.

    probability_kji: (k, j, i), 0 to 1, of what a model proposed. mask_kji: bool, of that shape, as it is now.
    """
    return np.where(mask_kji == (probability_kji >= 0.5), probability_kji, mask_kji.astype(np.float32))


def next_doubt(
    probability_kji: NDArray[np.float32],
    mask_kji: BoolArray,
    grid: Grid,
    seen_ras: Sequence[Sequence[float]] = (),
) -> Doubt | None:
    """Return where `mask_kji` is most probably wrong, None where nothing is unsure any more.

    A voxel counts by the probability that it is wrong. Voxels that alone join a part to the rest count for that part,
    too. The place is an unsure voxel around which most comes together; how far that goes grows with the structure.

    Args:
        probability_kji: (k, j, i), 0 to 1, that a voxel belongs to the structure.
        mask_kji: bool, of that shape, on `grid`.
        seen_ras: (n, 3), mm: places that were looked at; what is near them does not count.

    Raises:
        GeometryError: the shapes differ.
    """
    if not probability_kji.shape == mask_kji.shape == grid.shape_kji:
        raise GeometryError(
            f"expected probabilities and a mask of shape {grid.shape_kji}, got {probability_kji.shape} and "
            f"{mask_kji.shape}"
        )
    step = int(np.ceil((mask_kji.size / _MOST_VOXELS) ** (1 / 3)))
    steps = np.array([step if n > step else 1 for n in mask_kji.shape])
    every = tuple(slice(None, None, int(s)) for s in steps)
    probability, mask = probability_kji[every], mask_kji[every]
    spacing_mm = grid.spacing_kji_mm * steps
    wrong = np.where(mask, 1 - probability, probability)
    reach_mm = _reach_mm(int(np.count_nonzero(mask)), spacing_mm)
    for seen in seen_ras:
        wrong *= ~_near(flip_axes(grid.to_ijk(seen)) / steps, wrong.shape, spacing_mm, 2 * reach_mm)
    if not wrong.size or wrong.max() < _LEAST_DOUBT:
        return None
    weighed = wrong * _hanging(probability, mask)
    together = ndimage.gaussian_filter(weighed, reach_mm / spacing_mm, mode="constant", truncate=3.0)
    # A click there is worth what it may put right around it, as often as the voxel itself is wrong.
    place = np.unravel_index((together * wrong).argmax(), wrong.shape)
    index = np.array(place, dtype=np.int64)
    x, y, z = grid.to_ras(flip_axes(index * steps))
    nearby = _near(index, wrong.shape, spacing_mm, 2 * reach_mm)
    axis = _best_axis(weighed * nearby, index, spacing_mm)
    normal = grid.directions[:, 2 - axis]
    weight = float((weighed * nearby).sum()) * float(steps.prod())
    return Doubt((float(x), float(y), float(z)), (float(normal[0]), float(normal[1]), float(normal[2])), weight)


def _reach_mm(voxels: int, spacing_mm: FloatArray) -> float:
    """Return how far voxels count as being at one place: part of the radius of a ball as large as the mask."""
    radius_mm = float((3 * voxels * float(spacing_mm.prod()) / (4 * np.pi)) ** (1 / 3))
    return max(_PART_OF_RADIUS * radius_mm, float(spacing_mm.min()))


def _near(index: FloatArray | IntArray, shape: Sequence[int], spacing_mm: FloatArray, reach_mm: float) -> BoolArray:
    axes = [((np.arange(n) - at) * mm) ** 2 for n, at, mm in zip(shape, index, spacing_mm, strict=True)]
    return np.asarray(axes[0][:, None, None] + axes[1][:, None] + axes[2] <= reach_mm**2)


def _hanging(probability: NDArray[np.float32], mask: BoolArray) -> NDArray[np.float32]:
    """Return for each voxel how many count with it: itself, and its share of what only unsure voxels join."""
    shares = np.ones(mask.shape, dtype=np.float32)
    parts, count = ndimage.label(mask & (probability >= _SURE), structure=_NEIGHBOURS)
    if count < 2:
        return shares
    sizes = np.bincount(parts.ravel())
    bridges, _ = ndimage.label(mask & (probability < _SURE), structure=_NEIGHBOURS)
    for number, slices in enumerate(ndimage.find_objects(bridges), start=1):
        around = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in slices)
        bridge = bridges[around] == number
        joined = np.unique(parts[around][ndimage.binary_dilation(bridge, _NEIGHBOURS)])
        joined = joined[joined > 0]
        if len(joined) > 1:
            hanging = int(sizes[joined].sum() - sizes[joined].max())
            shares[around][bridge] += hanging / int(np.count_nonzero(bridge))
    return shares


def _best_axis(weighed: NDArray[np.float32], index: IntArray, spacing_mm: FloatArray) -> int:
    """Return across which axis the slice through `index` shows most of it, by area."""
    areas = spacing_mm.prod() / spacing_mm
    shown = [float(np.take(weighed, index[axis], axis).sum()) * areas[axis] for axis in range(3)]
    several = [n > 1 for n in weighed.shape]
    if weighed.shape.count(1) == 1:  # a single slice: the only one that there is
        return several.index(False)
    return int(np.argmax(shown))
