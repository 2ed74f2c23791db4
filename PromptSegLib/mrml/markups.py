"""Markups nodes as prompts, in the volume's own RAS."""

from __future__ import annotations

from typing import Any

import numpy as np

from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import FloatArray, apply_affine, orthonormal_axes
from PromptSegLib.mrml.transforms import array_from_matrix, matrix_between, matrix_from_array, world_to_node
from PromptSegLib.prompts import Box, Lasso, Point, Prompt, Scribble


def prompts_from_markups(markups_node: Any, volume_node: Any, positive: bool = True) -> list[Prompt]:
    """Return what a markups node says about a structure in `volume_node`.

    Point list: a point for each control point. ROI: a box, turned as the ROI is. Plane: a 2D box. Closed curve: a
    lasso. Curve and line: a scribble, without width. Only control points that are placed count: the one that follows
    the mouse does not.

    Raises:
        PromptError: for a node that is incomplete, or of another kind.
    """
    if markups_node.IsA("vtkMRMLMarkupsROINode"):
        return [box_from_roi(markups_node, volume_node, positive)]
    if markups_node.IsA("vtkMRMLMarkupsPlaneNode"):
        return [box_from_plane(markups_node, volume_node, positive)]
    if markups_node.IsA("vtkMRMLMarkupsClosedCurveNode"):
        return [Lasso(_rows(_curve_points_ras(markups_node, volume_node)), positive)]
    if markups_node.IsA("vtkMRMLMarkupsCurveNode"):
        return [Scribble(_rows(_curve_points_ras(markups_node, volume_node)), positive=positive)]
    if markups_node.IsA("vtkMRMLMarkupsLineNode"):
        points = world_to_node(defined_points_world(markups_node), volume_node)
        return [Scribble(_rows(points), positive=positive)]
    if markups_node.IsA("vtkMRMLMarkupsFiducialNode"):
        points = world_to_node(defined_points_world(markups_node), volume_node)
        return [Point(position, positive) for position in _rows(points)]
    raise PromptError(
        f"expected a point list, ROI, plane, curve, closed curve or line, got {markups_node.GetClassName()} "
        f"{markups_node.GetName()!r}"
    )


def defined_control_points(markups_node: Any) -> list[tuple[int, FloatArray]]:
    """Return index and world position, mm, of the control points placed; the preview under the mouse is none."""
    return [
        (index, np.array(markups_node.GetNthControlPointPositionWorld(index)))
        for index in range(markups_node.GetNumberOfControlPoints())
        if markups_node.GetNthControlPointPositionStatus(index) == markups_node.PositionDefined
    ]


def defined_points_world(markups_node: Any) -> FloatArray:
    """Return the (n, 3) world positions, mm, of the control points that are placed."""
    return np.array([position for _, position in defined_control_points(markups_node)]).reshape(-1, 3)


def box_from_roi(roi_node: Any, volume_node: Any, positive: bool = True) -> Box:
    """Return an ROI as a box.

    Raises:
        PromptError: it is not placed yet.
    """
    size = np.array(roi_node.GetSize(), dtype=np.float64)
    if min(size) <= 0:
        raise PromptError(f"expected an ROI that is placed, got {roi_node.GetName()!r} of size {size.tolist()} mm")
    matrix = roi_node.GetObjectToWorldMatrix()
    return oriented_box(array_from_matrix(matrix), size, volume_node, positive)


def box_from_plane(plane_node: Any, volume_node: Any, positive: bool = True) -> Box:
    """Return a plane as a 2D box.

    Raises:
        PromptError: it is not placed yet.
    """
    size = np.array([*plane_node.GetSize(), 0.0])
    if min(size[:2]) <= 0 or not plane_node.GetIsPlaneValid():
        raise PromptError(f"expected a plane that is placed, got {plane_node.GetName()!r}")
    matrix = matrix_from_array(np.eye(4))
    plane_node.GetObjectToWorldMatrix(matrix)
    return oriented_box(array_from_matrix(matrix), size, volume_node, positive)


def oriented_box(object_to_world: FloatArray, size: FloatArray, volume_node: Any, positive: bool) -> Box:
    """Return the box of `size` : (3,) around an object's origin, in the volume's RAS.

    Where a transform shears, the box is the smallest along the nearest right angles that holds the sheared one.
    """
    object_to_ras = matrix_between(None, volume_node) @ object_to_world
    axes = orthonormal_axes(object_to_ras[:3, :3])
    sides = np.abs(axes @ object_to_ras[:3, :3]) @ size
    sides[(size == 0) & (sides < 1e-6)] = 0
    center = apply_affine(object_to_ras, np.zeros(3))
    rows = _rows(axes)
    return Box(_rows([center])[0], _rows([sides])[0], (rows[0], rows[1], rows[2]), positive)


def _curve_points_ras(curve_node: Any, volume_node: Any) -> FloatArray:
    points = curve_node.GetCurvePointsWorld()
    count = points.GetNumberOfPoints() if points is not None else 0
    if count == 0:
        raise PromptError(f"expected a curve that is placed, got {curve_node.GetName()!r} without points")
    return world_to_node([points.GetPoint(index) for index in range(count)], volume_node)


def _rows(points: Any) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in points)
