"""The prompts of the selected segment as markups in the views: placed, dragged and deleted there by the user."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from PromptSegLib.mrml.markups import box_from_roi, defined_control_points
from PromptSegLib.mrml.observations import Observations
from PromptSegLib.mrml.point_index import PointIndex
from PromptSegLib.mrml.state_node import StateNode, remove_leftovers, remove_node
from PromptSegLib.mrml.stroke_markups import NEGATIVE_COLOR, POSITIVE_COLOR, StrokeMarkups, display_of, mark
from PromptSegLib.mrml.transforms import matrix_from_array, node_to_world, world_to_node
from PromptSegLib.prompts import Box, Point, Prompt

_THIN_MM = 1e-3

Change = Callable[[Sequence[Prompt], Sequence[Prompt]], None]
"""Called with prompts as they were, and as they are now: none, some: placed; some, none: deleted; else moved."""


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
        self._observations = Observations()
        self._seen: dict[bool, int] = {}  # times of the point lists at which they held what is in _shown
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
            display_of(node).SetVisibility(visible)

    def highlight(self, prompt: Prompt | None) -> None:
        """Show `prompt` in another colour than the others; None: show all alike."""
        with self._showing():
            for sign, node in self._points.items():
                sought = PointIndex([prompt] if isinstance(prompt, Point) and prompt.positive == sign else [])
                for index, point in self._placed_points(sign):
                    node.SetNthControlPointSelected(index, sought.take(point) is None)
                self._note_seen(sign)
            for node, box in self._boxes:
                mark(node, box, box == prompt)
            self._strokes.highlight(prompt)

    def node_removed(self, node: Any) -> None:
        """Take note that somebody removed `node` from the scene: what it showed is deleted."""
        for index, (roi_node, box) in enumerate(self._boxes):
            if roi_node is node:
                del self._boxes[index]
                remove_leftovers(node, self._volume_node.GetScene())
                self._changed([box], [])
                return
        for sign, point_list in self._points.items():
            if point_list is node:
                points, self._shown[sign] = self._shown[sign], []
                remove_leftovers(node, self._volume_node.GetScene())
                self._points[sign] = self._make_point_list(sign)
                if points:
                    self._changed(points, [])
                return
        self._strokes.node_removed(node)

    def close(self) -> None:
        """Stop following the nodes; they stay in the scene."""
        self._observations.close()

    # From the session to the nodes

    def _make_point_list(self, positive: bool) -> Any:
        role = "PromptSeg.PositivePoints" if positive else "PromptSeg.NegativePoints"
        sign = "+" if positive else "-"
        node = self._state.helper(role, "vtkMRMLMarkupsFiducialNode", f"PromptSeg {sign}")
        node.SetControlPointLabelFormat(sign)
        display_of(node).SetSelectedColor(POSITIVE_COLOR if positive else NEGATIVE_COLOR)
        with self._showing():
            node.RemoveAllControlPoints()
        for event in (node.PointPositionDefinedEvent, node.PointEndInteractionEvent, node.PointRemovedEvent):
            self._observations.add(node, event, self._points_changed, positive)
        return node

    def _show_points(self, positive: bool, wanted: list[Point]) -> None:
        """Remove the points that are not wanted and add those that are missing; one being placed stays."""
        node = self._points[positive]
        if node.GetDisplayNode() is None:
            display_of(node).SetSelectedColor(POSITIVE_COLOR if positive else NEGATIVE_COLOR)
        if wanted == self._shown[positive] and self._is_as_seen(positive):
            return
        placed = self._placed_points(positive)
        # Most are the very objects that were shown before: only the others are sought by where they lie.
        ids, held = {id(point) for point in wanted}, {id(point) for _, point in placed}
        missing = PointIndex(point for point in wanted if id(point) not in held)
        kept, unwanted = [], []
        for index, point in placed:
            shown = point if id(point) in ids else missing.take(point)
            ids.discard(id(point))  # one that is given twice is shown twice
            unwanted += [index] if shown is None else []
            kept += [] if shown is None else [shown]
        for index in reversed(unwanted):
            node.RemoveNthControlPoint(index)
        for point in missing.rest():
            node.AddControlPointWorld(node_to_world([point.position_ras], self._volume_node)[0].tolist())
            kept.append(point)
        self._shown[positive] = kept
        self._note_seen(positive)

    def _show_boxes(self, wanted: list[Box]) -> None:
        missing = list(wanted)
        for node, box in list(self._boxes):
            if box in missing and node.GetScene() is not None:
                missing.remove(box)
                continue
            self._boxes.remove((node, box))
            remove_node(node)
        for box in missing:
            self._boxes.append((self._make_roi(box), box))

    def _make_roi(self, box: Box) -> Any:
        node = self._state.add_shape_node("vtkMRMLMarkupsROINode")
        mark(node, box, False)
        self._put_under_volume(node)
        # An ROI of no thickness counts as not placed, so a 2D box is shown as a very thin one.
        size = np.where(np.array(box.size_mm) == 0, _THIN_MM, box.size_mm)
        node.SetAndObserveObjectToNodeMatrix(matrix_from_array(box.box_to_ras))
        node.SetSize(*size.tolist())
        self._observations.add(node, node.PointEndInteractionEvent, self._box_changed, node)
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
        self._seen.pop(positive, None)  # the node's time changes only after this event
        shown, placed = PointIndex(self._shown[positive]), []
        new = []
        for _, point in self._placed_points(positive):
            known = shown.take(point)
            placed.append(known or point)
            new += [] if known else [point]
        gone = list(shown.rest())
        self._shown[positive] = placed
        self._note_seen(positive)
        if gone or new:
            self._changed(gone, new)

    def _note_seen(self, positive: bool) -> None:
        """Take note that the point list holds what is in `_shown`, in that order: reading it takes 3 us a point."""
        self._seen[positive] = self._points[positive].GetMTime()

    def _is_as_seen(self, positive: bool) -> bool:
        return bool(self._seen.get(positive) == self._points[positive].GetMTime())

    def _placed_points(self, positive: bool) -> list[tuple[int, Point]]:
        """Return the index of each control point placed, and the point it stands for."""
        node = self._points[positive]
        if self._is_as_seen(positive):
            status, defined = node.GetNthControlPointPositionStatus, node.PositionDefined
            indices = [index for index in range(node.GetNumberOfControlPoints()) if status(index) == defined]
            return list(zip(indices, self._shown[positive], strict=True))
        placed = defined_control_points(node)
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
                self._changed([before], [box])

    @contextmanager
    def _showing(self) -> Iterator[None]:
        """Take what happens to the nodes within the block for our own doing."""
        before, self._is_showing = self._is_showing, True
        try:
            yield
        finally:
            self._is_showing = before
