"""What is often wrong with a mask, put right: islands, holes, rough borders. With scipy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent, FloatArray


def keep_largest_island(mask_kji: BoolArray) -> BoolArray:
    """Return the largest of the parts of `mask_kji` : (k, j, i), bool, that touch by faces; the mask when empty."""
    from scipy import ndimage

    labels, count = ndimage.label(mask_kji)
    if count < 2:
        return mask_kji.copy()
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def fill_holes(mask_kji: BoolArray) -> BoolArray:
    """Return `mask_kji` : (k, j, i), bool, with what it surrounds on all sides; a single slice in its plane."""
    from scipy import ndimage

    extent = Extent.of_mask(mask_kji)
    if extent is None:
        return mask_kji.copy()
    filled = mask_kji.copy()
    box = mask_kji[extent.slices]
    flat = [axis for axis, size in enumerate(mask_kji.shape) if size == 1]
    squeezed = box.squeeze(tuple(flat)) if flat else box
    filled[extent.slices] = ndimage.binary_fill_holes(squeezed).reshape(box.shape)
    return filled


def smooth(mask_kji: BoolArray, spacing_kji_mm: FloatArray | NDArray[np.float64], radius_mm: float) -> BoolArray:
    """Return `mask_kji` : (k, j, i), bool, with details smaller than about `radius_mm` rounded off.

    The mask is blurred by a Gaussian of that standard deviation and cut at one half, which keeps flat borders where
    they are.
    """
    from scipy import ndimage

    sigma = radius_mm / np.asarray(spacing_kji_mm, dtype=np.float64)
    bounds = Extent.of_mask(mask_kji)
    if bounds is None:
        return mask_kji.copy()
    extent = bounds.padded(int(np.ceil(3 * sigma.max()))).intersection(Extent.of_shape(mask_kji.shape))
    smoothed = np.zeros_like(mask_kji)
    blurred = ndimage.gaussian_filter(mask_kji[extent.slices].astype(np.float32), sigma, mode="nearest")
    smoothed[extent.slices] = blurred >= 0.5
    return smoothed
