"""What the pixels of a slice view stand for."""

from __future__ import annotations

import numpy as np
import vtk
from scenes import rotation
from vtk.util.numpy_support import vtk_to_numpy

from PromptSegLib.geometry import apply_affine, flip_axes

# As SliceView takes them, by what to call them.
ORIENTATIONS = {
    "axial": "Axial",
    "sagittal": "Sagittal",
    "coronal": "Coronal",
    "oblique": rotation(35, (1, 1, 0.3)),
}


def voxels_seen(view, ijk_to_world, shape_kji):
    """Say which voxel of an image lies at each pixel of a slice view's picture.

    Returns its index (height, width, 3) as k, j, i; whether the image has such a voxel, and whether the pixel is
    clear of the borders between voxels, where either neighbour may be shown; both (height, width) bool.
    """
    width, height = view.size
    x, y = np.meshgrid(np.arange(width), np.arange(height - 1, -1, -1))
    ijk = apply_affine(np.linalg.inv(ijk_to_world), view.xy_to_ras(np.stack([x, y], axis=-1)))
    kji = flip_axes(np.rint(ijk)).astype(int)
    inside = ((kji >= 0) & (kji < shape_kji)).all(axis=-1)
    return kji, inside, (np.abs(ijk - np.rint(ijk)) < 0.49).all(axis=-1)


def read_png(path):
    """Return the picture in a PNG file, (height, width, 3) uint8, the top row first."""
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    picture = reader.GetOutput()
    width, height, _ = picture.GetDimensions()
    return np.flipud(vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(height, width, 3))
