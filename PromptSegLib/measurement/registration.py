"""Where a point of one time point is in another: a transform from a file, or a rigid registration by SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import LPS_FROM_RAS, FloatArray, Grid, checked_affine
from PromptSegLib.io.image_file import Paths
from PromptSegLib.volume import Volume

_MOST_VOXELS = 2_000_000
_SEED = 1


def read_transform(path: Paths) -> FloatArray:
    """Read the 4x4 that maps points of the first time point to the later one's, both RAS, from an ITK transform file.

    So Slicer and SimpleITK write the transform that brings the later image onto the first one (.tfm, .txt, .h5, .mat).

    Raises:
        GeometryError: it cannot be read or is not linear.
    """
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split("ERROR: ")[-1].split())
        raise GeometryError(f"expected a readable transform (.tfm, .txt, .h5, .mat), got {path}: {reason}") from error
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise GeometryError(f"expected a linear transform of 3D points, got {transform.GetName()} in {path}")
    return matrix_of(transform)


def matrix_of(transform: sitk.Transform) -> FloatArray:
    """Return a linear ITK transform as a 4x4 in RAS."""
    zero = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    lps = np.eye(4)
    for axis, unit in enumerate(np.eye(3)):
        lps[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - zero
    lps[:3, 3] = zero
    return checked_affine(LPS_FROM_RAS @ lps @ LPS_FROM_RAS)


def register_rigidly(first: Volume, later: Volume) -> FloatArray:
    """Return the 4x4 from RAS of `first` to RAS of `later` of a rigid registration by mutual information.

    Begun with the middles of both images on each other; on coarse copies, so that it takes seconds. Look at the result:
    what is registered are the images as a whole, not their lesions.

    Raises:
        VolumeError: for colour, for single slices and when the images do not come to overlap.
    """
    for volume in (first, later):
        if volume.components > 1 or volume.grid.is_single_slice:
            raise VolumeError(f"expected a 3D image of one value a voxel to register, got {volume!r}")
    fixed, moving = _coarse(first), _coarse(later)
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.01, 200, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    try:
        return matrix_of(method.Execute(fixed, moving))
    except RuntimeError as error:
        reason = " ".join(str(error).split("ERROR: ")[-1].split())
        raise VolumeError(
            f"expected two images that can be registered, got {first!r} and {later!r}: {reason}"
        ) from error


def _coarse(volume: Volume) -> sitk.Image:
    """Return the volume as an image of `_MOST_VOXELS` at most, by taking every n-th voxel of a smoothed one."""
    grid = volume.grid
    axes = grid.directions
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise GeometryError(f"expected a grid of right angles to register, got a sheared one in {volume!r}")
    step = max(1, round((volume.array.size / _MOST_VOXELS) ** (1 / 3)))
    image = sitk.GetImageFromArray(volume.finite().astype(np.float32))
    _place(image, grid)
    if step > 1:
        image = sitk.SmoothingRecursiveGaussian(image, (grid.spacing_mm * step / 2).tolist())
        image = image[::step, ::step, ::step]
    return image


def _place(image: sitk.Image, grid: Grid) -> None:
    matrix = LPS_FROM_RAS @ grid.ijk_to_ras
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection((matrix[:3, :3] / grid.spacing_mm).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
