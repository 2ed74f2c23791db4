"""Drawing in slice views by dragging with the left button: a brush that shows its size, a lasso, a box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from PromptSegLib.geometry import FloatArray
from PromptSegLib.mrml.view_geometry import pixel_mm

Shape = Literal["scribble", "lasso", "box"]
Finished = Callable[[FloatArray, Any], None]
"""Called with a stroke (n, 2), pixels of the view, and the slice node it was drawn in."""

_EVENTS = ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent", "LeaveEvent")
_PRIORITY = 10.0  # before Slicer's own styles, which pan, zoom and place
_CIRCLE = np.column_stack([f(np.linspace(0, 2 * np.pi, 49)) for f in (np.cos, np.sin)])


@dataclass(eq=False)
class _AttachedView:
    """A slice view that is drawn in. redraw: asks the host to render it."""

    interactor: Any
    slice_node: Any
    redraw: Callable[[], None]
    trace: Any = field(default_factory=lambda: _Outline())
    brush: Any = field(default_factory=lambda: _Outline())
    tags: dict[str, int] = field(default_factory=dict)

    @property
    def renderer(self) -> Any:
        return self.interactor.GetRenderWindow().GetRenderers().GetFirstRenderer()


class StrokeTool:
    """Takes drags of the left button in the views it is attached to, and nothing else.

    shape: what the drag draws. diameter_mm: of the brush, shown as a circle round the mouse; for a scribble only.
    """

    def __init__(
        self, shape: Shape, finished: Finished, diameter_mm: float = 5.0, color: tuple[float, ...] = (1, 1, 0)
    ) -> None:
        self.shape = shape
        self.diameter_mm = diameter_mm
        self._finished = finished
        self._color = color
        self._views: list[_AttachedView] = []
        self._points: list[tuple[int, int]] = []
        self._drawn_in: _AttachedView | None = None

    def attach(self, interactor: Any, slice_node: Any, redraw: Callable[[], None]) -> None:
        """Take drags in the slice view of this vtkRenderWindowInteractor."""
        view = _AttachedView(interactor, slice_node, redraw)
        for outline in (view.trace, view.brush):
            outline.color(self._color)
            view.renderer.AddViewProp(outline.actor)
        for event in _EVENTS:
            view.tags[event] = interactor.AddObserver(event, lambda _, name: self._mouse(view, name), _PRIORITY)
        self._views.append(view)

    def detach(self) -> None:
        """Let go of all views; a stroke under way is dropped."""
        self._points, self._drawn_in = [], None
        views, self._views = self._views, []
        for view in views:
            for tag in view.tags.values():
                view.interactor.RemoveObserver(tag)
            if view.renderer is not None:
                for outline in (view.trace, view.brush):
                    view.renderer.RemoveViewProp(outline.actor)
            view.redraw()

    def _mouse(self, view: _AttachedView, event: str) -> None:
        x, y = view.interactor.GetEventPosition()
        if event == "LeftButtonPressEvent":
            self._points, self._drawn_in = [(x, y)], view
        elif event == "MouseMoveEvent" and self._drawn_in is view and (x, y) != self._points[-1]:
            self._points.append((x, y))
        if self._drawn_in is view or event == "LeftButtonPressEvent":
            view.interactor.GetCommand(view.tags[event]).SetAbortFlag(1)
        self._draw(view, (x, y), event != "LeaveEvent")
        if event == "LeftButtonReleaseEvent" and self._drawn_in is view:
            self._end(view)

    def _end(self, view: _AttachedView) -> None:
        points, self._points, self._drawn_in = self._points, [], None
        view.trace.set(np.zeros((0, 2)))
        view.redraw()
        self._finished(np.array(points, dtype=np.float64), view.slice_node)

    def _draw(self, view: _AttachedView, at_xy: tuple[int, int], is_inside: bool) -> None:
        points = np.array(self._points if self._drawn_in is view else np.zeros((0, 2)), dtype=np.float64)
        if self.shape == "box" and len(points):
            (x0, y0), (x1, y1) = points[0], points[-1]
            points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
        elif self.shape == "lasso" and len(points) > 2:
            points = np.concatenate([points, points[:1]])
        view.trace.set(points)
        if self.shape == "scribble":
            radius_px = self.diameter_mm / 2 / pixel_mm(view.slice_node)
            view.brush.set(np.array(at_xy) + radius_px * _CIRCLE if is_inside else np.zeros((0, 2)))
        view.redraw()


class _Outline:
    """A line through pixels of a view."""

    def __init__(self) -> None:
        self._data = vtk.vtkPolyData()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(self._data)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(mapper)
        self.actor.GetProperty().SetLineWidth(2)
        self.actor.SetPickable(False)
        self.set(np.zeros((0, 2)))

    def color(self, rgb: tuple[float, ...]) -> None:
        self.actor.GetProperty().SetColor(rgb)

    def set(self, points_xy: FloatArray) -> None:
        points = vtk.vtkPoints()
        points.SetData(numpy_to_vtk(np.column_stack([points_xy, np.zeros(len(points_xy))]), deep=True))
        lines = vtk.vtkCellArray()
        if len(points_xy) > 1:
            lines.InsertNextCell(len(points_xy), list(range(len(points_xy))))
        self._data.SetPoints(points)
        self._data.SetLines(lines)
        self.actor.SetVisibility(len(points_xy) > 1)
