"""Markups for tests, and what the user switches on to place them by clicks."""

from __future__ import annotations

import numpy as np


def add_markups(scene, kind, name):
    """Add a markups node of `kind`, such as "Fiducial", "ROI" or "ClosedCurve"."""
    node = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", name)
    node.CreateDefaultDisplayNodes()
    return node


def start_placing(markups_node, *, persistent=True):
    """Let clicks in the views of the node's scene add control points to it, until stopped or, else, complete."""
    scene = markups_node.GetScene()
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    selection.SetReferenceActivePlaceNodeClassName(markups_node.GetClassName())
    selection.SetActivePlaceNodeID(markups_node.GetID())
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    interaction.SetPlaceModePersistence(persistent)
    interaction.SetCurrentInteractionMode(interaction.Place)


def stop_placing(scene):
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def is_placing(scene):
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    return interaction.GetCurrentInteractionMode() == interaction.Place


def defined_points(markups_node):
    """Return the world positions (n, 3) of the control points that are placed, hovering ones left out."""
    return np.array(
        [
            markups_node.GetNthControlPointPositionWorld(n)
            for n in range(markups_node.GetNumberOfControlPoints())
            if markups_node.GetNthControlPointPositionStatus(n) == markups_node.PositionDefined
        ]
    ).reshape(-1, 3)
