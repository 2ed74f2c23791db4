"""The tool in the user's hand: what clicks and drags in the views add to a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from PromptSegLib.errors import PromptSegError
from PromptSegLib.geometry import FloatArray
from PromptSegLib.mrml.markups import prompts_from_markups
from PromptSegLib.mrml.placing import interaction_node, is_placing, selection_node, start_placing, stop_placing
from PromptSegLib.mrml.scene_session import Later, SceneSession
from PromptSegLib.mrml.state_node import hidden_node, remove_node
from PromptSegLib.mrml.stroke_markups import NEGATIVE_COLOR, POSITIVE_COLOR
from PromptSegLib.mrml.stroke_tool import Shape, StrokeTool
from PromptSegLib.mrml.view_geometry import (
    box_from_stroke,
    lasso_from_stroke,
    scribble_from_stroke,
    slice_node_under_mouse,
    view_of,
)
from PromptSegLib.prompts import Prompt
from PromptSegLib.view import View

ASKING = "ask"
"""The tool of `PromptTools.ask`."""

_MARKUPS = {"point": "vtkMRMLMarkupsFiducialNode", "box3d": "vtkMRMLMarkupsROINode"}
_STROKES: dict[str, Shape] = {"scribble": "scribble", "lasso": "lasso", "box2d": "box"}


class DrawingView(NamedTuple):
    """A slice view of the host's: vtkRenderWindowInteractor, vtkMRMLSliceNode, and what asks for a rendering."""

    interactor: Any
    slice_node: Any
    redraw: Callable[[], None]


class PromptTools:
    """Takes one tool at a time in hand, by its name in `availability.TOOL_FEATURES`, or ASKING.

    views: returns the slice views there are now. later: see `SceneSession`. changed: called when a tool is taken or
    dropped, also by others, such as with Escape. failed: called when a prompt is refused.
    """

    def __init__(
        self,
        scene: Any,
        views: Callable[[], Iterable[DrawingView]],
        later: Later,
        changed: Callable[[], None],
        failed: Callable[[PromptSegError], None],
    ) -> None:
        self.tool = ""
        self._scene = scene
        self._views = views
        self._later = later
        self._changed = changed
        self._failed = failed
        self._brush_mm = 5.0
        self._session: SceneSession | None = None
        self._stroke: StrokeTool | None = None
        self._placed: Any = None
        self._helper: Any = None
        self._answer: Callable[[Prompt], None] | None = None
        self._users_place_node_id: str | None = None
        self._tag: int | None = None

    @property
    def brush_mm(self) -> float:
        """Diameter of the brush of scribbles."""
        return self._brush_mm

    @brush_mm.setter
    def brush_mm(self, diameter_mm: float) -> None:
        self._brush_mm = diameter_mm
        if self._stroke is not None:
            self._stroke.diameter_mm = diameter_mm

    def take(self, tool: str, session: SceneSession) -> None:
        """Let clicks and drags add prompts of this kind to `session`."""
        self._put_down()
        self.tool, self._session = tool, session
        kind = tool.rstrip("+-")
        if kind == "point":
            self._place(session.point_node(self._is_positive), persistent=True)
        elif kind == "box3d":
            self._place_helper(kind)
        else:
            self._stroke = self._draw(_STROKES[kind])
        self._changed()

    def ask(self, kind: Literal["point", "box3d"], session: SceneSession, answer: Callable[[Prompt], None]) -> None:
        """Let the next click, or two for a box, give one prompt to `answer`, and not to the session."""
        self._put_down()
        self.tool, self._session, self._answer = ASKING, session, answer
        self._place_helper(kind)
        self._changed()

    def drop(self) -> None:
        """Let clicks and drags do again what they do otherwise."""
        if self.tool:
            self._put_down()
            self._changed()

    @property
    def _is_positive(self) -> bool:
        return not self.tool.endswith("-")

    def _put_down(self) -> None:
        if self._tag is not None:
            interaction_node(self._scene).RemoveObserver(self._tag)
            self._tag = None
        if self._stroke is not None:
            self._stroke.detach()
        if self._placed is not None and is_placing(self._placed):
            stop_placing(self._scene)
            selection_node(self._scene).SetActivePlaceNodeID(self._users_place_node_id)
        self._remove_helper()
        self.tool, self._session, self._stroke, self._placed, self._answer = "", None, None, None, None

    # Points and 3D boxes: markups in place mode

    def _place(self, markups_node: Any, persistent: bool) -> None:
        if self._placed is None:
            self._users_place_node_id = selection_node(self._scene).GetActivePlaceNodeID()
        self._placed = markups_node
        start_placing(markups_node, persistent=persistent)
        if self._tag is None:
            interaction = interaction_node(self._scene)
            self._tag = interaction.AddObserver(interaction.InteractionModeChangedEvent, self._mode_changed)

    def _mode_changed(self, *_: Any) -> None:
        """Drop the tool when placing was ended, unless by a 3D box that is complete: another may follow."""
        if self._placed is None or is_placing(self._placed):
            return
        self._later(self._helper_complete if self._helper is not None else self.drop)

    def _place_helper(self, kind: str) -> None:
        """Let clicks complete a node that is there for one prompt only."""
        node = self._helper = hidden_node(self._scene, _MARKUPS[kind], "PromptSeg 3D box")
        node.SetSaveWithScene(False)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().SetSelectedColor(POSITIVE_COLOR)
        self._place(node, persistent=False)

    def _helper_complete(self) -> None:
        node, session, answer = self._helper, self._session, self._answer
        if node is None or session is None or is_placing(node):
            return
        is_box = node.IsA(_MARKUPS["box3d"])
        if not node.GetNumberOfDefinedControlPoints() or (is_box and min(node.GetSize()) <= 0):
            self.drop()
            return
        (prompt,) = prompts_from_markups(node, session.volume_node)
        if answer is not None:
            self.drop()
            self._attempt(lambda: answer(prompt))
            return
        self._attempt(lambda: session.add(prompt, self.view_now()))
        self._remove_helper()
        if self.tool:
            self._place_helper("box3d")

    def _remove_helper(self) -> None:
        node, self._helper = self._helper, None
        if node is not None:
            remove_node(node)

    # Scribbles, lassos and 2D boxes: drags

    def _draw(self, shape: Shape) -> StrokeTool:
        color = POSITIVE_COLOR if self._is_positive else NEGATIVE_COLOR
        stroke = StrokeTool(shape, self._stroke_drawn, self._brush_mm, color)
        for view in self._views():
            stroke.attach(*view)
        return stroke

    def _stroke_drawn(self, points_xy: FloatArray, slice_node: Any) -> None:
        session = self._session
        if session is None:
            return
        volume_node, positive = session.volume_node, self._is_positive
        view = view_of(slice_node, volume_node)

        def prompt() -> Prompt:
            if self.tool == "box2d":
                return box_from_stroke(points_xy, slice_node, volume_node, positive)
            if self.tool.startswith("lasso"):
                return lasso_from_stroke(points_xy, slice_node, volume_node, positive)
            return scribble_from_stroke(points_xy, slice_node, volume_node, positive, self._brush_mm)

        self._attempt(lambda: session.add(prompt(), view))

    def view_now(self) -> View | None:
        """Return the slice view that the mouse is in, as a View; None when it is in none."""
        slice_node = slice_node_under_mouse(self._scene)
        if slice_node is None or self._session is None:
            return None
        return view_of(slice_node, self._session.volume_node)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except PromptSegError as error:
            self._failed(error)
