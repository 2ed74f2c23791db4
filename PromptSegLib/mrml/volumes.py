"""Volume nodes as volumes, without copying their voxels."""

from __future__ import annotations

from typing import Any

import vtk
from vtk.util.numpy_support import vtk_to_numpy

from PromptSegLib.errors import VolumeError
from PromptSegLib.mrml.transforms import array_from_matrix
from PromptSegLib.volume import Volume


def volume_from_node(volume_node: Any) -> Volume:
    """Return the voxels of a volume node, shared with it, in the node's own RAS (before its parent transforms).

    A scalar or labelmap volume gives (k, j, i), an RGB or RGBA volume (k, j, i, 3); of a sequence it is the time
    point shown. Raises VolumeError for a node without voxels, or with other than 1, 3 or 4 components.
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
    return Volume(
        array[..., :3] if components == 4 else array, array_from_matrix(matrix), volume_node.GetName() or ""
    )
