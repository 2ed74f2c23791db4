"""Resampling of arrays axis by axis: the outer faces of the first and last voxel stay where they are.

This is how nnU-Net resamples (scikit-image's `resize` with `mode="edge"`). Of an image's geometry, only the number
of voxels enters; see `aligned_sampling` for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.geometry import Float32Array

Array = NDArray[Any]
IndexArray = NDArray[np.int64]

_HELD_BYTES = 128 * 2**20


def resize(array: Array, shape: Sequence[int], *, order: int, exact: bool = False) -> Float32Array:
    """Resample `array` : (a, b, c), real, to `shape` by B-splines of `order`, and clip to the array's range.

    Interpolation by splines is linear and separable: each axis is one matrix product, in float32. It is several
    times faster than `scipy.ndimage.zoom` and needs no full-size float copy of an integer array.

    exact: compute in float64, twice as slow; where a network's answers are compared to the last bit.
    """
    kind = np.float64 if exact else np.float32
    outer, rows, columns = (
        interpolation_matrix(n, m, order=order).astype(kind) for n, m in zip(array.shape, shape, strict=True)
    )
    result = np.empty(tuple(shape), np.float32)
    # Some rows at a time, so that of what lies between the products only so much is held.
    held = max(1, _HELD_BYTES // (np.dtype(kind).itemsize * array.shape[0] * shape[2]))
    for first in range(0, shape[1], held):
        some = rows[first : first + held]
        planes = np.stack([some @ plane.astype(kind) @ columns.T for plane in array])  # (a, b', c')
        result[:, first : first + held] = (outer @ planes.reshape(len(planes), -1)).reshape(-1, *planes.shape[1:])
    return np.clip(result, array.min(), array.max(), out=result)


def resize_planes(array: Array, shape: Sequence[int], *, axis: int, order: int, exact: bool = False) -> Float32Array:
    """Resample `array` : (a, b, c) to `shape`: by splines within the planes across `axis`, nearest along it.

    For thick slices: a spline through them would ring. Each plane is clipped to its own range.
    """
    planes = np.moveaxis(array, axis, 0)
    wanted = [m for a, m in enumerate(shape) if a != axis]
    resized = np.stack([resize(plane[None], (1, *wanted), order=order, exact=exact)[0] for plane in planes])
    return np.moveaxis(resized[nearest_index(len(planes), shape[axis])], 0, axis)


def interpolation_matrix(length: int, new_length: int, *, order: int) -> NDArray[np.float64]:
    """The (new_length, length) matrix that resamples a line by B-splines of `order`, its end values repeated."""
    identity = np.eye(length)
    if new_length == length:
        return identity
    zoom = (new_length / length, 1.0)
    matrix = ndimage.zoom(identity, zoom, order=order, mode="nearest", grid_mode=True)
    return np.asarray(matrix, np.float64)


def nearest_index(length: int, new_length: int) -> IndexArray:
    """(new_length,) index of the voxel nearest to each resampled one's centre; between two, the higher."""
    return np.floor(positions(length, new_length) + 0.5).astype(np.int64).clip(0, length - 1)


def linear_taps(length: int, new_length: int) -> tuple[IndexArray, IndexArray, NDArray[np.float64]]:
    """Linear interpolation of a line: lower and upper index and the upper one's weight, (new_length,) each."""
    at = positions(length, new_length).clip(0, length - 1)
    lower = np.floor(at).astype(np.int64)
    return lower, np.minimum(lower + 1, length - 1), at - lower


def positions(length: int, new_length: int) -> NDArray[np.float64]:
    """(new_length,) centres of the resampled voxels, in indices of the original ones."""
    return (np.arange(new_length, dtype=np.float64) + 0.5) * (length / new_length) - 0.5
