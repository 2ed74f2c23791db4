"""Parent transforms: from world to a node's own RAS and back, and between two nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import ArrayLike

from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import FloatArray


def matrix_between(source_node: Any, target_node: Any) -> FloatArray:
    """Return the 4x4 from the RAS of `source_node` (None: world) to that of `target_node`, parents included.

    Raises:
        GeometryError: a transform between them is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    source, target = _parent_of(source_node), _parent_of(target_node)
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix):
        names = [node.GetName() for node in (source, target) if node and not node.IsTransformToWorldLinear()]
        raise GeometryError(
            f"expected linear transforms only, got a nonlinear one: {', '.join(map(repr, names))}; "
            "harden it on the volume (Data module, right click: Harden transform), then go on"
        )
    return array_from_matrix(matrix)


def world_to_node(points_world: ArrayLike, node: Any) -> FloatArray:
    """Map `points_world` : (n, 3), mm, to the node's own RAS, through its parent transforms, nonlinear ones too."""
    return _mapped(points_world, None, _parent_of(node))


def node_to_world(points_ras: ArrayLike, node: Any) -> FloatArray:
    """Map `points_ras` : (n, 3), mm, of the node's own RAS to world, through its parent transforms."""
    return _mapped(points_ras, _parent_of(node), None)


def array_from_matrix(matrix: Any) -> FloatArray:
    """Return a vtkMatrix4x4 as a (4, 4) float64 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix_from_array(array: ArrayLike) -> Any:
    """Return a (4, 4) array as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=np.float64).ravel())
    return matrix


def _parent_of(node: Any) -> Any:
    return node.GetParentTransformNode() if node is not None else None


def _mapped(points: ArrayLike, source: Any, target: Any) -> FloatArray:
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return np.array([transform.TransformPoint(*point) for point in np.asarray(points, dtype=np.float64)]).reshape(-1, 3)
