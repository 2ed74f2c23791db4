"""What slice views show, and strokes drawn in them, in the RAS of a volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import FloatArray, apply_affine
from PromptSegLib.mrml.markups import oriented_box
from PromptSegLib.mrml.transforms import array_from_matrix, matrix_between, world_to_node
from PromptSegLib.prompts import Box, Lasso, Position, Prompt, Scribble
from PromptSegLib.view import View


def view_of(slice_node: Any, volume_node: Any) -> View:
    """Return the view that `slice_node` shows.

    Raises:
        GeometryError: under a nonlinear transform.
    """
    matrix = matrix_between(None, volume_node) @ array_from_matrix(slice_node.GetSliceToRAS())
    right, up = matrix[:3, 0], matrix[:3, 1]
    width, height = (float(np.linalg.norm(axis)) for axis in (right, up))
    field_mm = slice_node.GetFieldOfView()
    center_ras, right_ras, up_ras = (_position(v) for v in (matrix[:3, 3], right / width, up / height))
    return View(center_ras, right_ras, up_ras, (field_mm[0] * width, field_mm[1] * height))


def slice_node_under_mouse(scene: Any) -> Any:
    """Return the node of the slice view that the mouse is in, None when it is in none."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    return crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0]) if crosshair is not None else None


def jump_slices(scene: Any, point_world: ArrayLike) -> None:
    """Move every slice view along its normal to `point_world` : (3,), mm."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
        node.JumpSliceByOffsetting(*(float(v) for v in np.asarray(point_world)))


def xy_to_world(points_xy: ArrayLike, slice_node: Any) -> FloatArray:
    """Map `points_xy` : (n, 2), pixels of a slice view, to world RAS : (n, 3), mm."""
    points = np.asarray(points_xy, dtype=np.float64)
    points_xyz = np.column_stack([points, np.zeros(len(points))])
    return apply_affine(array_from_matrix(slice_node.GetXYToRAS()), points_xyz)


def pixel_mm(slice_node: Any) -> float:
    """Return the side of a pixel of a slice view, mm."""
    return float(np.linalg.norm(array_from_matrix(slice_node.GetXYToRAS())[:3, 0]))


def scribble_from_stroke(
    points_xy: ArrayLike, slice_node: Any, volume_node: Any, positive: bool, width_mm: float
) -> Prompt:
    """Return a stroke (n, 2), pixels, with a brush of `width_mm` as a scribble."""
    points_ras = world_to_node(xy_to_world(points_xy, slice_node), volume_node)
    return Scribble(tuple(_position(p) for p in points_ras), width_mm, positive)


def lasso_from_stroke(points_xy: ArrayLike, slice_node: Any, volume_node: Any, positive: bool) -> Prompt:
    """Return what a stroke (n, 2), pixels, goes round.

    Raises:
        PromptError: it surrounds nothing.
    """
    points_ras = world_to_node(xy_to_world(points_xy, slice_node), volume_node)
    return Lasso(tuple(_position(p) for p in points_ras), positive)


def box_from_stroke(points_xy: ArrayLike, slice_node: Any, volume_node: Any, positive: bool) -> Box:
    """Return the 2D box between the first and the last point of a stroke (n, 2), pixels, on the slice shown.

    Raises:
        PromptError: it has no area.
    """
    points = np.asarray(points_xy, dtype=np.float64)
    low, high = np.minimum(points[0], points[-1]), np.maximum(points[0], points[-1])
    size_px = high - low
    if min(size_px) < 1:
        raise PromptError(
            f"expected a box dragged from corner to corner, got {size_px[0]:.0f} x {size_px[1]:.0f} pixels"
        )
    object_to_world = array_from_matrix(slice_node.GetSliceToRAS()).copy()
    object_to_world[:3, 3] = xy_to_world([(low + high) / 2], slice_node)[0]
    return oriented_box(object_to_world, np.array([*(size_px * pixel_mm(slice_node)), 0.0]), volume_node, positive)


def _position(values: ArrayLike) -> Position:
    x, y, z = (float(v) for v in np.asarray(values))
    return x, y, z
