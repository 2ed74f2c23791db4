"""Scribbles and lassos as curves in the views: to be seen, not to be dragged."""

from __future__ import annotations

from typing import Any

import numpy as np

from PromptSegLib.mrml.state_node import StateNode, remove_leftovers, remove_node
from PromptSegLib.mrml.transforms import node_to_world
from PromptSegLib.prompts import Lasso, Prompt, Scribble

POSITIVE_COLOR = (0.2, 0.85, 0.3)
NEGATIVE_COLOR = (0.95, 0.25, 0.2)
HIGHLIGHT_COLOR = (1.0, 0.85, 0.1)

_MOST_POINTS = 200  # a curve of a thousand control points makes every click slow


class StrokeMarkups:
    """A locked curve for each scribble, a closed one for each lasso, under the volume's transform."""

    def __init__(self, state: StateNode, volume_node: Any) -> None:
        self._state = state
        self._volume_node = volume_node
        self._shown: list[tuple[Any, Prompt]] = []

    def nodes(self) -> list[Any]:
        return [node for node, _ in self._shown if node.GetScene() is not None]

    def show(self, prompts: tuple[Prompt, ...]) -> None:
        """Show the strokes among `prompts`, and nothing else."""
        missing = [prompt for prompt in prompts if isinstance(prompt, Scribble | Lasso)]
        for node, prompt in list(self._shown):
            if prompt in missing and node.GetScene() is not None:
                missing.remove(prompt)
                continue
            self._shown.remove((node, prompt))
            remove_node(node)
        for prompt in missing:
            self._shown.append((self._make_curve(prompt), prompt))

    def node_removed(self, node: Any) -> None:
        """Take note that somebody removed `node` from the scene: what it showed stays, and is shown anew."""
        if any(node is curve for curve, _ in self._shown):
            remove_leftovers(node, self._volume_node.GetScene())

    def highlight(self, prompt: Prompt | None) -> None:
        for node, shown in self._shown:
            if node.GetScene() is not None:
                mark(node, shown, shown == prompt)

    def _make_curve(self, prompt: Scribble | Lasso) -> Any:
        kind = "ClosedCurve" if isinstance(prompt, Lasso) else "Curve"
        node = self._state.add_shape_node(f"vtkMRMLMarkups{kind}Node")
        node.SetCurveTypeToLinear()
        node.SetLocked(True)
        node.SetAndObserveTransformNodeID(self._volume_node.GetTransformNodeID())
        step = -(-len(prompt.points_ras) // _MOST_POINTS)
        for position in node_to_world(np.array(prompt.points_ras)[::step], self._volume_node):
            node.AddControlPointWorld(position.tolist())
        mark(node, prompt, False)
        return node


def mark(node: Any, prompt: Prompt, is_highlighted: bool) -> None:
    """Give a markups node that shows `prompt` its colour."""
    color = POSITIVE_COLOR if prompt.sign == "+" else NEGATIVE_COLOR
    display_of(node).SetSelectedColor(HIGHLIGHT_COLOR if is_highlighted else color)


def display_of(node: Any) -> Any:
    """Return the display of a markups node of ours; made, as its kind is shown, when there is none any more."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        if node.IsA("vtkMRMLMarkupsROINode"):
            display.SetFillVisibility(False)
        elif node.IsA("vtkMRMLMarkupsCurveNode"):
            display.SetPropertiesLabelVisibility(False)
            display.SetPointLabelsVisibility(False)
            display.SetUseGlyphScale(False)
            display.SetGlyphSize(0.01)
        else:
            display.SetColor(HIGHLIGHT_COLOR)  # of points that are not selected: see `PromptMarkups.highlight`
            display.SetGlyphScale(2.5)
            display.SetTextScale(0.0)
    return node.GetDisplayNode()
