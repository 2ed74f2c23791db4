"""The prompts of the selected segment as markups in the views: placed, dragged and deleted there by the user."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from PromptSegLib.mrml.markups import box_from_roi, defined_control_points
from PromptSegLib.mrml.state_node import StateNode
from PromptSegLib.mrml.stroke_markups import HIGHLIGHT_COLOR, NEGATIVE_COLOR, POSITIVE_COLOR, StrokeMarkups, mark
from PromptSegLib.mrml.transforms import matrix_from_array, node_to_world, world_to_node
from PromptSegLib.prompts import Box, Point, Prompt

_THIN_MM = 1e-3

Change = Callable[[Prompt | None, Prompt | None], None]
"""Called with the prompt as it was and as it is now: None, prompt: placed. Prompt, None: deleted. Both: moved."""


class PromptMarkups:
    """Point lists for points, one for each sign, and an ROI for each box, in the volume's frame.

    The nodes hang under the volume's transform, are hidden from editors, and are saved with the scene. `changed` is
    called for what the user does with them; `show` makes them what the session says.
    """

    def __init__(self, state: StateNode, volume_node: Any, changed: Change) -> None:
        self._state = state
        self._volume_node = volume_node
        self._changed = changed
        self._shown: dict[bool, list[Point]] = {True: [], False: []}
        self._boxes: list[tuple[Any, Box]] = []
        self._is_showing = False
        self._observed: list[tuple[Any, int]] = []
        self._strokes = StrokeMarkups(state, volume_node)
        self._is_visible = True
        state.remove_shape_nodes()
        self._points = {sign: self._make_point_list(sign) for sign in (True, False)}

    def point_node(self, positive: bool = True) -> Any:
        """Return the point list for positive or negative points: the node to place points in."""
        return self._points[positive]

    def show(self, prompts: tuple[Prompt, ...]) -> None:
        """Make the nodes show `prompts`, and nothing else."""
        with self._showing():
            self._follow_transform()
            for sign in self._points:
                self._show_points(sign, [p for p in prompts if isinstance(p, Point) and p.positive == sign])
            self._show_boxes([p for p in prompts if isinstance(p, Box)])
            self._strokes.show(prompts)
            self.set_visible(self._is_visible)

    def set_visible(self, visible: bool) -> None:
        """Show the prompts in the views, or hide them there."""
        self._is_visible = visible
        for node in [*self._points.values(), *(node for node, _ in self._boxes), *self._strokes.nodes()]:
            node.GetDisplayNode().SetVisibility(visible)

    def highlight(self, prompt: Prompt | None) -> None:
        """Show `prompt` in another colour than the others; None: show all alike."""
        with self._showing():
            for sign in self._points:
                for index, point in self._placed_points(sign):
                    is_other = not isinstance(prompt, Point) or _taken_from([prompt], point) is None
                    self._points[sign].SetNthControlPointSelected(index, is_other)
            for node, box in self._boxes:
                mark(node, box, box == prompt)
            self._strokes.highlight(prompt)

    def node_removed(self, node: Any) -> None:
        """Take note that somebody removed `node` from the scene: what it showed is deleted."""
        for index, (roi_node, box) in enumerate(self._boxes):
            if roi_node is node:
                del self._boxes[index]
                self._changed(box, None)
                return
        for sign, point_list in self._points.items():
            if point_list is node:
                points, self._shown[sign] = self._shown[sign], []
                self._points[sign] = self._make_point_list(sign)
                for point in points:
                    self._changed(point, None)

    def close(self) -> None:
        """Stop following the nodes; they stay in the scene."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed.clear()

    # From the session to the nodes

    def _make_point_list(self, positive: bool) -> Any:
        role = "PromptSeg.PositivePoints" if positive else "PromptSeg.NegativePoints"
        sign = "+" if positive else "-"
        node = self._state.helper(role, "vtkMRMLMarkupsFiducialNode", f"PromptSeg {sign}")
        node.CreateDefaultDisplayNodes()
        node.SetControlPointLabelFormat(sign)
        display = node.GetDisplayNode()
        display.SetSelectedColor(POSITIVE_COLOR if positive else NEGATIVE_COLOR)
        display.SetColor(HIGHLIGHT_COLOR)  # of what is not selected: see `highlight`
        display.SetGlyphScale(2.5)
        display.SetTextScale(0.0)
        with self._showing():
            node.RemoveAllControlPoints()
        for event in (node.PointPositionDefinedEvent, node.PointEndInteractionEvent, node.PointRemovedEvent):
            self._observe(node, event, lambda *_: self._points_changed(positive))
        return node

    def _show_points(self, positive: bool, wanted: list[Point]) -> None:
        """Remove the points that are not wanted and add those that are missing; one being placed stays."""
        node = self._points[positive]
        missing = list(wanted)
        for index, point in reversed(self._placed_points(positive)):
            shown = _taken_from(missing, point)
            if shown is None:
                node.RemoveNthControlPoint(index)
        for point in missing:
            node.AddControlPointWorld(node_to_world([point.position_ras], self._volume_node)[0].tolist())
        self._shown[positive] = wanted

    def _show_boxes(self, wanted: list[Box]) -> None:
        missing = list(wanted)
        for node, box in list(self._boxes):
            if box in missing and node.GetScene() is not None:
                missing.remove(box)
                continue
            self._boxes.remove((node, box))
            if node.GetScene() is not None:
                self._state.node.GetScene().RemoveNode(node)
        for box in missing:
            self._boxes.append((self._make_roi(box), box))

    def _make_roi(self, box: Box) -> Any:
        node = self._state.add_shape_node("vtkMRMLMarkupsROINode")
        node.CreateDefaultDisplayNodes()
        mark(node, box, False)
        node.GetDisplayNode().SetFillVisibility(False)
        self._put_under_volume(node)
        # An ROI of no thickness counts as not placed, so a 2D box is shown as a very thin one.
        size = np.where(np.array(box.size_mm) == 0, _THIN_MM, box.size_mm)
        node.SetAndObserveObjectToNodeMatrix(matrix_from_array(box.box_to_ras))
        node.SetSize(*size.tolist())
        self._observe(node, node.PointEndInteractionEvent, lambda *_: self._box_changed(node))
        return node

    def _follow_transform(self) -> None:
        for node in [*self._points.values(), *(node for node, _ in self._boxes), *self._strokes.nodes()]:
            self._put_under_volume(node)

    def _put_under_volume(self, node: Any) -> None:
        if node.GetTransformNodeID() != self._volume_node.GetTransformNodeID():
            node.SetAndObserveTransformNodeID(self._volume_node.GetTransformNodeID())

    # From the nodes to the session

    def _points_changed(self, positive: bool) -> None:
        """Tell what differs from what was shown last. Control points are told apart by where they are: their IDs
        are used again after one is removed."""
        if self._is_showing:
            return
        gone = list(self._shown[positive])
        new = [point for _, point in self._placed_points(positive) if _taken_from(gone, point) is None]
        self._shown[positive] = [point for _, point in self._placed_points(positive)]
        for before, now in itertools.zip_longest(gone, new):
            self._changed(before, now)

    def _placed_points(self, positive: bool) -> list[tuple[int, Point]]:
        """Return the index of each control point placed, and the point it stands for."""
        placed = defined_control_points(self._points[positive])
        positions = world_to_node([position for _, position in placed], self._volume_node)
        return [
            (index, Point((float(x), float(y), float(z)), positive))
            for (index, _), (x, y, z) in zip(placed, positions, strict=True)
        ]

    def _box_changed(self, roi_node: Any) -> None:
        if self._is_showing:
            return
        for index, (node, before) in enumerate(self._boxes):
            if node is roi_node:
                box = box_from_roi(node, self._volume_node, before.positive)
                if before.is_planar:
                    x, y, z = (0.0 if side == min(box.size_mm) else side for side in box.size_mm)
                    box = dataclasses.replace(box, size_mm=(x, y, z))
                self._boxes[index] = (node, box)
                self._changed(before, box)

    def _observe(self, node: Any, event: int, callback: Callable[..., None]) -> None:
        self._observed.append((node, node.AddObserver(event, callback)))

    @contextmanager
    def _showing(self) -> Iterator[None]:
        """Take what happens to the nodes within the block for our own doing."""
        before, self._is_showing = self._is_showing, True
        try:
            yield
        finally:
            self._is_showing = before


def _taken_from(points: list[Point], point: Point) -> Point | None:
    """Take the one of `points` that lies where `point` does out of the list and return it, or return None."""
    for index, other in enumerate(points):
        if np.allclose(other.position_ras, point.position_ras, rtol=0, atol=1e-6):
            return points.pop(index)
    return None
