"""What VISTA3D sees of a CT (arXiv:2406.05285 and the inference configuration published with its weights).

1.5 mm voxels, linear, the first voxel's centre in place; cropped to what is above 0 HU and 10 voxels around it;
HU scaled to 0..1 and clipped; axes in RAS order. Arrays are (x, y, z).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.imaging.aligned_sampling import AlignedSampling

SPACING_MM = 1.5
MARGIN = 10
RANGE_HU = (-963.8247715525971, 1053.678477684517)


def prepare(image_kji: NDArray[Any], image: Grid) -> tuple[NDArray[np.float32], AlignedSampling]:
    """The image : (k, j, i) in HU as the network wants it, (x, y, z) float32, and where its voxels lie."""
    whole = canonical_sampling(image)
    values = whole.linear(image_kji, beyond=None)
    everything = Extent.of_shape(values.shape)
    foreground = (Extent.of_mask(values > 0) or everything).padded(MARGIN).intersection(everything)  # along x, y, z
    low, high = RANGE_HU
    scaled = np.clip((values[foreground.slices] - low) / (high - low), 0, 1).astype(np.float32)
    return scaled, whole.resized(scaled.shape, np.ones(3), foreground.start_kji)


def canonical_sampling(image: Grid) -> AlignedSampling:
    """The whole image at 1.5 mm in RAS order; its first voxel's centre, in the image's own order, stays where it is."""
    ras = AlignedSampling.in_ras_order(image)
    scale = SPACING_MM / ras.spacing_mm
    length = np.asarray(ras.shape)
    shape = np.round((length - 1) / scale + 1).astype(int).clip(1)
    # Where RAS order runs backwards through the image, its first voxel is the last one.
    offset = np.where(ras.scale < 0, length - 1 - (shape - 1) * scale, 0.0)
    return ras.resized(shape.tolist(), scale, offset)
