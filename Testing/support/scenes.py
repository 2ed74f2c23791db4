"""Volumes and segmentations for tests in a real scene."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from PromptSegLib.geometry import flip_axes


def vtk_matrix(affine):
    """Return a 4x4 array as vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(affine, dtype=np.float64).ravel())
    return matrix


def affine_of(matrix):
    """Return a vtkMatrix4x4 as an array (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def rotation(angle_deg, axis):
    """Return the 4x4 affine of a turn by `angle_deg` about `axis` : (3,)."""
    transform = vtk.vtkTransform()
    transform.RotateWXYZ(angle_deg, axis)
    return affine_of(transform.GetMatrix())


def placed(affine, position):
    """Return `affine` with voxel (0, 0, 0) at `position` : (3,)."""
    result = np.array(affine, dtype=np.float64)
    result[:3, 3] = position
    return result


# IJK to RAS, and the linear transform above the volume, by what is special about them.
GEOMETRIES = {
    "isotropic": (placed(np.diag([-1.0, -1.0, 1.0, 1.0]), (20, 30, -10)), None),
    "anisotropic": (placed(np.diag([-0.6, -0.9, 2.5, 1.0]), (12, 22, -40)), None),
    "flipped": (placed(np.diag([0.8, -1.0, -1.5, 1.0]), (-70, 15, 25)), None),
    "permuted": (placed([[0, 0, 1.5, 0], [-0.8, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], (0, 9, 60)), None),
    "oblique": (placed(rotation(30, (1, 2, 3)) @ np.diag([0.8, 1.1, -2.5, 1.0]), (10, -20, 30)), None),
    "transformed": (
        placed(rotation(20, (0, 1, 3)) @ np.diag([-1.0, -1.0, 2.0, 1.0]), (5, 5, 5)),
        placed(rotation(50, (3, 1, -1)) @ np.diag([1.2, 0.9, 1.0, 1.0]), (7, -3, 11)),
    ),
}


def add_volume_of(scene, geometry, array_kji, **options):
    """Add a volume with one of the GEOMETRIES."""
    ijk_to_ras, parent = GEOMETRIES[geometry]
    node = add_volume(scene, array_kji, ijk_to_ras, **options)
    if parent is not None:
        add_transform(scene, parent, node)
    return node


def ijk_to_world_of(geometry):
    """Return the 4x4 from the voxels of a volume with one of the GEOMETRIES to world."""
    ijk_to_ras, parent = GEOMETRIES[geometry]
    return ijk_to_ras if parent is None else parent @ ijk_to_ras


def add_volume(scene, array_kji, ijk_to_ras=None, name="image", window_level=None):
    """Add a vtkMRMLScalarVolumeNode with a copy of `array_kji` and, when asked for, a fixed (window, level)."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    image = vtk.vtkImageData()
    image.SetDimensions([int(n) for n in flip_axes(array_kji.shape)])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array_kji).ravel(), deep=True))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(vtk_matrix(np.eye(4) if ijk_to_ras is None else ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    if window_level is not None:
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevel(*window_level)
    return node


def volume_array(node):
    """Return the voxels of a volume node as an array (k, j, i) that shares them."""
    image = node.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(flip_axes(image.GetDimensions()).astype(int))


def add_transform(scene, affine, *nodes):
    """Add a linear transform node and put `nodes` under it."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "transform")
    transform.SetMatrixTransformToParent(vtk_matrix(affine))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def add_segmentation(scene, volume_node, masks_kji, name="segmentation"):
    """Add a segmentation on the grid, and under the transform, of `volume_node`.

    masks_kji: a bool array (k, j, i) by name of segment. Its id is its name.
    """
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    write = slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment
    for segment_id, mask_kji in masks_kji.items():
        node.GetSegmentation().AddEmptySegment(segment_id, segment_id)
        write(oriented_image(mask_kji, ijk_to_ras_of(volume_node)), node, segment_id)
    return node


def ijk_to_ras_of(volume_node):
    """Return the 4x4 affine of a volume node, before its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return affine_of(matrix)


def oriented_image(mask_kji, ijk_to_ras):
    """Return a mask as vtkOrientedImageData of uint8."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions([int(n) for n in flip_axes(mask_kji.shape)])
    image.SetGeometryFromImageToWorldMatrix(vtk_matrix(ijk_to_ras))
    image.GetPointData().SetScalars(numpy_to_vtk(mask_kji.astype(np.uint8).ravel(), deep=True))
    return image


def segment_mask(node, segment_id, shape_kji):
    """Return a segment as a bool array of `shape_kji`; its labelmap may hold the non-zero part only."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    mask = np.zeros(shape_kji, dtype=bool)
    part = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    mask[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = part > 0
    return mask
