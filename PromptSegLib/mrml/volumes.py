"""Volume nodes as volumes, without copying their voxels; and volumes as nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import flip_axes
from PromptSegLib.mrml.transforms import array_from_matrix, matrix_from_array
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume


def volume_from_node(volume_node: Any) -> Volume:
    """Return the voxels of a volume node, shared with it, in the node's own RAS (before its parent transforms).

    A scalar or labelmap volume gives (k, j, i), an RGB or RGBA volume (k, j, i, 3); of a sequence it is the time point
    shown.

    Raises:
        VolumeError: for a node without voxels, or with other than 1, 3 or 4 components.
    """
    image: Any = volume_node.GetImageData() if volume_node is not None else None
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if image is None or scalars is None or image.GetNumberOfPoints() == 0:
        name = volume_node.GetName() if volume_node is not None else None
        raise VolumeError(f"expected a volume node with voxels, got {name!r} without any")
    components = scalars.GetNumberOfComponents()
    if components not in (1, 3, 4):
        raise VolumeError(
            f"expected a volume of 1, 3 or 4 components, got {volume_node.GetName()!r} of {components}; "
            "make a scalar volume of the component to be segmented"
        )
    i, j, k = image.GetDimensions()
    array = vtk_to_numpy(scalars).reshape((k, j, i) if components == 1 else (k, j, i, components))
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return Volume(array[..., :3] if components == 4 else array, array_from_matrix(matrix), volume_node.GetName() or "")


def dicom_modality(volume_node: Any) -> str:
    """Return what the DICOM header of a volume node said that it is, such as "CT"; nothing where none is kept."""
    hierarchy: Any = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    item = hierarchy.GetItemByDataNode(volume_node) if hierarchy is not None else 0
    return str(hierarchy.GetItemAttribute(item, "DICOM.Modality") or "") if item else ""


def add_volume_node(scene: Any, volume: Volume, window: Window | None = None) -> Any:
    """Add a volume node with a copy of `volume` to `scene`; `window` is how it is shown."""
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    kind = "vtkMRMLVectorVolumeNode" if volume.components > 1 else "vtkMRMLScalarVolumeNode"
    node = scene.AddNewNodeByClass(kind, volume.name or "image")
    node.SetAndObserveImageData(image_data(array))
    node.SetIJKToRASMatrix(matrix_from_array(volume.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    if window is not None and volume.components == 1:
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(window.low, window.high)
    return node


def image_data(array: NDArray[Any]) -> Any:
    """Return a vtkImageData with a copy of `array` : (k, j, i), or (k, j, i, components)."""
    image = vtk.vtkImageData()
    image.SetDimensions([int(n) for n in flip_axes(array.shape[:3])])
    voxels = np.ascontiguousarray(array).reshape(-1, *array.shape[3:])
    image.GetPointData().SetScalars(numpy_to_vtk(voxels, deep=True))
    return image
