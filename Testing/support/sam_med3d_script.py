"""What SAM-Med3D's official inference script shows its network of an image, and the way back: to compare with.

The image is resampled to 1.5 mm, put in RAS order, and a cube of 128 voxels is taken about what is to be segmented,
0 where it leaves the image. The cube is standardised by the mean and deviation of what is above 0 *within it*.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.geometry import LPS_FROM_RAS, Grid, affine_from_parts, lps_from_ras, transpose_kji_to_ijk
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.sam_med3d.preparation import SPACING_MM, standardise

SIZE = 128


def resample_isotropic(
    array_kji: NDArray[Any], grid: Grid, *, spacing_mm: float = SPACING_MM, labels: bool = False
) -> tuple[NDArray[Any], Grid]:
    """Resample an image, or a labelmap, to cubic voxels along its own axes; returns (k, j, i), same dtype.

    Its first faces stay where they are; its last ones move outwards to a whole number of voxels. Integers are
    truncated after linear interpolation, as they were before the network was trained.
    """
    image = _itk_image(array_kji, grid)
    spacing = np.asarray(image.GetSpacing())
    size = np.ceil(np.asarray(image.GetSize()) * spacing / spacing_mm).astype(int)
    directions = np.asarray(image.GetDirection()).reshape(3, 3)
    origin_lps = np.asarray(image.GetOrigin()) + directions @ ((spacing_mm - spacing) / 2)
    resampled = sitk.Resample(
        image,
        size.tolist(),
        sitk.Transform(),
        sitk.sitkNearestNeighbor if labels else sitk.sitkLinear,
        origin_lps.tolist(),
        [spacing_mm] * 3,
        image.GetDirection(),
    )
    ijk_to_lps = affine_from_parts([spacing_mm] * 3, directions, origin_lps)
    array = sitk.GetArrayFromImage(resampled)
    return array, Grid(array.shape, LPS_FROM_RAS @ ijk_to_lps)


def region_about(isotropic: Grid, start_xyz: ArrayLike, stop_xyz: ArrayLike, size: int = SIZE) -> AlignedSampling:
    """The cube of `size` voxels about a box of voxels, in RAS order; it may leave the image.

    isotropic: from `resample_isotropic`. start_xyz, stop_xyz: the box, half open, in voxels of that image in RAS
    order (`AlignedSampling.in_ras_order(isotropic).grid`). A box of one voxel comes to lie at size // 2.
    """
    middle = (np.asarray(start_xyz) + np.asarray(stop_xyz)) / 2
    start = np.floor(middle) - size // 2
    return AlignedSampling.in_ras_order(isotropic).resized((size,) * 3, np.ones(3), start)


def prepare_region(isotropic_kji: NDArray[Any], region: AlignedSampling) -> NDArray[np.float32]:
    """The resampled image : (k, j, i) as the network wants it within `region`: (x, y, z) float32, standardised."""
    return standardise(region.nearest(isotropic_kji).astype(np.float32))


def region_to_image(values_xyz: NDArray[Any], region: Grid, image: Grid, *, labels: bool = True) -> NDArray[Any]:
    """Put a region's mask or, with `labels=False`, its probabilities on an image; 0 around it.

    values_xyz: (x, y, z) on the grid `region`. Returns (k, j, i) on the grid `image`, same dtype.
    """
    resampled = sitk.Resample(
        _itk_image(transpose_kji_to_ijk(values_xyz), region),
        _itk_image(np.broadcast_to(np.uint8(0), image.shape_kji), image),
        sitk.Transform(),
        sitk.sitkNearestNeighbor if labels else sitk.sitkLinear,
    )
    return np.asarray(sitk.GetArrayFromImage(resampled))


def _itk_image(array_kji: NDArray[Any], grid: Grid) -> sitk.Image:
    """An ITK image of (k, j, i) voxels.

    Its geometry is rounded to float32, as files in NIfTI format hold it and as the official script reads it: where
    a voxel's centre falls on the face between two others, the last bit decides which it is.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array_kji))
    ijk_to_ras = grid.ijk_to_ras.astype(np.float32).astype(np.float64)
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps_from_ras(ijk_to_ras[:3, 3]).tolist())
    image.SetDirection((LPS_FROM_RAS[:3, :3] @ ijk_to_ras[:3, :3] / spacing).ravel().tolist())
    return image
