"""The outline of a mask: through the middles of the faces that part its voxels from others.

So it is halfway between the centres of a voxel within and one without, as marching squares and cubes draw it, and as
OHIF and PyRadiomics measure along it. All here is in voxels; whoever measures maps it to mm first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import FloatArray


def extreme_points(mask: BoolArray) -> FloatArray:
    """Return the outer ones of the outline's points : (n, d), in the order of the axes of `mask`, of d axes.

    They are the first and the last on each row of voxels, along each axis. Every point of the outline is between two
    of them, so that the farthest two of all are among them.
    """
    return np.concatenate([_ends_of_rows(mask, axis) for axis in range(mask.ndim)])


def extreme_points_in_slices(mask_sab: BoolArray) -> FloatArray:
    """Return what `extreme_points` would for each slice of `mask_sab` : (slice, a, b), as (n, 3), sorted by slice."""
    points = np.concatenate([_ends_of_rows(mask_sab, axis) for axis in (1, 2)])
    return points[np.argsort(points[:, 0], kind="stable")]


def _ends_of_rows(mask: BoolArray, axis: int) -> FloatArray:
    """Return the middles of the first and the last face across `axis` of each row along it that is not empty."""
    first = mask.argmax(axis=axis)
    last = mask.shape[axis] - 1 - np.flip(mask, axis).argmax(axis=axis)
    rows = np.nonzero(mask.any(axis=axis))
    ends = []
    for at in (first[rows] - 0.5, last[rows] + 0.5):
        columns = [*rows[:axis], at, *rows[axis:]]
        ends.append(np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=-1))
    return np.concatenate(ends)


def outline_segments(mask_ab: BoolArray) -> FloatArray:
    """Return the outline of a slice, (a, b), as its straight pieces : (n, 2, 2), each from (a, b) to (a, b).

    Where two voxels touch by a corner alone, the outline goes around both.
    """
    m = np.pad(mask_ab, 1)
    low_low, low_high, high_low, high_high = m[:-1, :-1], m[:-1, 1:], m[1:, :-1], m[1:, 1:]
    # Which of the four sides between neighbouring centres the outline crosses, and where, from the first centre.
    crossed = {
        "low": low_low != low_high,
        "high": high_low != high_high,
        "left": low_low != high_low,
        "right": low_high != high_high,
    }
    places = {"low": (0.0, 0.5), "high": (1.0, 0.5), "left": (0.5, 0.0), "right": (0.5, 1.0)}
    all_four = crossed["low"] & crossed["high"] & crossed["left"] & crossed["right"]
    around = {  # at touching corners, what is cut off is the corner that is not set
        ("low", "right"): all_four & ~low_high,
        ("high", "left"): all_four & ~high_low,
        ("low", "left"): all_four & ~low_low,
        ("high", "right"): all_four & ~high_high,
    }
    pieces = []
    sides = list(crossed)
    for number, one in enumerate(sides):
        for other in sides[number + 1 :]:
            here = crossed[one] & crossed[other] & ~all_four
            for pair in ((one, other), (other, one)):
                if pair in around:
                    here = here | around[pair]
            pieces.append(_pieces(here, places[one], places[other]))
    return np.concatenate(pieces)


def _pieces(here: NDArray[np.bool_], start: tuple[float, float], stop: tuple[float, float]) -> FloatArray:
    """Return a piece from `start` to `stop` in each cell that is set; a cell begins at the centre one before it."""
    cells = np.argwhere(here).astype(np.float64) - 1
    return np.stack([cells + start, cells + stop], axis=1)
