"""Bilinear resampling of 8-bit images that smooths what it shrinks, to the last bit as Pillow does it.

SAM was trained on images resized by Pillow, and a grey level in one pixel of a thousand, the difference of
torch's antialiased interpolation, changes its logits by 1e-3. So the fixed-point arithmetic is part of the
method: weights of 22 bits, and whole grey levels between the pass along the rows and that along the columns.
Pillow 13 swaps the passes for some images that it shrinks mostly in height; earlier versions never do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError

WEIGHT_BITS = 22


def resized_antialiased(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """An image (H, W) or (H, W, C), uint8, as (h, w[, C]) of `size_hw`."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise VolumeError(f"the image must be uint8, (H, W) or (H, W, C), got {image.dtype} {image.shape}")
    return resized_along(resized_along(image, size_hw[1], axis=1), size_hw[0], axis=0)


def resized_along(image: NDArray[np.uint8], length: int, axis: int) -> NDArray[np.uint8]:
    """The image with another length along one axis."""
    if image.shape[axis] == length:
        return image
    taps, weights = triangle_taps(image.shape[axis], length)
    column = (-1,) + (1,) * (image.ndim - 1 - axis)
    total: NDArray[np.int32] = np.array(1 << (WEIGHT_BITS - 1), dtype=np.int32)  # a half: the shift rounds
    for tap, weight in zip(taps.T, weights.T, strict=True):
        total = total + image.take(tap, axis=axis) * weight.reshape(column)
    return (total >> WEIGHT_BITS).astype(np.uint8)


def triangle_taps(length: int, new_length: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Which pixels make each new one, and in what parts of 2**WEIGHT_BITS: both (new_length, taps).

    A triangle with its top at the new pixel's centre, one pixel of the coarser grid wide on each side.
    """
    scale = length / new_length
    reach = max(scale, 1.0)
    centres = (np.arange(new_length) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.intp), 0)
    last = np.minimum((centres + reach + 0.5).astype(np.intp), length)  # exclusive
    taps = first[:, None] + np.arange((last - first).max())
    weights = np.maximum(1 - np.abs((taps - centres[:, None] + 0.5) / reach), 0) * (taps < last[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    return np.minimum(taps, length - 1), (weights * (1 << WEIGHT_BITS) + 0.5).astype(np.int32)
