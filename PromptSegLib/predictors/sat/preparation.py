"""What SAT's network sees of an image (arXiv:2312.17183 and its official inference script).

1x1x3 mm voxels, linear; axes in RAS order; cropped to what is above 0; clipped and standardised. Arrays are
(x, y, z).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.imaging.aligned_sampling import AlignedSampling

SPACING_MM = (1.0, 1.0, 3.0)
CT_RANGE_HU = (-500.0, 1000.0)
PERCENTILES = (0.5, 99.5)


def prepare(image_kji: NDArray[Any], image: Grid, *, is_ct: bool) -> tuple[NDArray[np.float32], AlignedSampling]:
    """The image : (k, j, i) as the network wants it, (x, y, z) float32, and where its voxels lie."""
    whole = canonical_sampling(image)
    values = whole.linear(image_kji, beyond=None)
    foreground = Extent.of_mask(values > 0) or Extent.of_shape(values.shape)  # here along x, y, z
    cropped = standardise(values[foreground.slices], is_ct=is_ct)
    return cropped, whole.resized(cropped.shape, np.ones(3), foreground.start_kji)


def canonical_sampling(image: Grid) -> AlignedSampling:
    """The whole image at 1x1x3 mm in RAS order; its first voxel's centre stays where it is."""
    ras = AlignedSampling.in_ras_order(image)
    scale = np.asarray(SPACING_MM) / ras.spacing_mm
    shape = np.round((np.asarray(ras.shape) - 1) / scale + 1).astype(int).clip(1)
    return ras.resized(shape.tolist(), scale, np.zeros(3))


def standardise(values: NDArray[np.float32], *, is_ct: bool) -> NDArray[np.float32]:
    """Clip to -500..1000 HU, or between percentiles where it is no CT, then mean 0 and deviation 1."""
    low, high = CT_RANGE_HU if is_ct else np.percentile(values, PERCENTILES)
    clipped = np.clip(values, low, high)
    deviation = clipped.std(dtype=np.float64) or 1.0
    standardised: NDArray[np.float32] = ((clipped - clipped.mean(dtype=np.float64)) / deviation).astype(np.float32)
    return standardised
