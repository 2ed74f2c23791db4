"""What a structure may look like on a slice, from what it looks like on slices around."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import FloatArray


def centre_yx(mask: BoolArray) -> FloatArray:
    """Return the middle (2,) of what is set in `mask` : (h, w), as (y, x)."""
    return np.asarray(np.argwhere(mask).mean(axis=0))


def moved(mask: BoolArray, shift_yx: ArrayLike) -> BoolArray:
    """Return `mask` : (h, w) moved by whole pixels; what leaves it is gone."""
    y, x = np.argwhere(mask).T + np.rint(np.asarray(shift_yx, dtype=np.float64)).astype(int)[:, None]
    height, width = mask.shape
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    result = np.zeros_like(mask)
    result[y[inside], x[inside]] = True
    return result


def between(near: BoolArray, far: BoolArray, share: float) -> BoolArray:
    """Return the shape that lies `share`, 0 to 1, of the way from `near` to `far`, both (h, w) and not empty.

    Both are moved to where the middle is by then, and their signed distances are averaged (shape-based
    interpolation, Raya and Udupa, IEEE Trans Med Imaging 9, 1990).
    """
    start, end = centre_yx(near), centre_yx(far)
    middle = (1 - share) * start + share * end
    distance = (1 - share) * signed_distance(moved(near, middle - start)) + share * signed_distance(
        moved(far, middle - end)
    )
    return np.asarray(distance < 0)


def signed_distance(mask: BoolArray) -> FloatArray:
    """Return the distance in pixels of each of (h, w) pixels to the edge of `mask`, below 0 inside."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    outside = ndimage.distance_transform_edt(~mask)
    return np.asarray(outside - ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1])


def innermost_xy(mask: BoolArray) -> FloatArray:
    """Return the pixel (2,) as (x, y) of what is set in `mask` : (h, w) that is farthest from its edge."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return np.array([x, y], dtype=np.float64)
