"""Slicer's place mode: whether clicks in the views add control points, and to which node."""

from __future__ import annotations

from typing import Any


def interaction_node(scene: Any) -> Any:
    return scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")


def selection_node(scene: Any) -> Any:
    return scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")


def start_placing(markups_node: Any, *, persistent: bool) -> None:
    """Let clicks add control points to `markups_node`, until stopped or, unless `persistent`, it is complete."""
    scene = markups_node.GetScene()
    selection, interaction = selection_node(scene), interaction_node(scene)
    selection.SetReferenceActivePlaceNodeClassName(markups_node.GetClassName())
    selection.SetActivePlaceNodeID(markups_node.GetID())
    interaction.SetPlaceModePersistence(persistent)
    interaction.SetCurrentInteractionMode(interaction.Place)


def stop_placing(scene: Any) -> None:
    """Let clicks do again what they do otherwise."""
    interaction = interaction_node(scene)
    interaction.SetPlaceModePersistence(False)
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def is_placing(markups_node: Any) -> bool:
    """Tell whether clicks add control points to `markups_node`."""
    scene = markups_node.GetScene()
    if scene is None:
        return False
    interaction = interaction_node(scene)
    return bool(
        interaction.GetCurrentInteractionMode() == interaction.Place
        and selection_node(scene).GetActivePlaceNodeID() == markups_node.GetID()
    )
