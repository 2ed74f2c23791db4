"""How segments and volumes are shown, and the rules that the Segment Editor shares."""

from __future__ import annotations

from typing import Any

import slicer

from PromptSegLib.mrml.layers import CLOSED_SURFACE
from PromptSegLib.view import Window

_EDITOR_TAG = "SegmentEditor"


def is_shown_in_3d(segmentation_node: Any) -> bool:
    return bool(segmentation_node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE))


def show_in_3d(segmentation_node: Any, show: bool) -> None:
    """Show the segments as surfaces in 3D views, or take the surfaces away."""
    if show:
        segmentation_node.CreateClosedSurfaceRepresentation()
    else:
        segmentation_node.RemoveClosedSurfaceRepresentation()


def show_volume(application_logic: Any, volume_node: Any) -> None:
    """Show a volume in the background of all slice views."""
    application_logic.GetSelectionNode().SetActiveVolumeID(volume_node.GetID())
    application_logic.PropagateVolumeSelection()


def shown_window(volume_node: Any) -> Window | None:
    """Return the intensities from black to white in which a scalar volume is shown, None for other volumes."""
    display = volume_node.GetDisplayNode()
    if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        return None
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return Window(low, high) if low < high else None


def editor_node(scene: Any) -> Any:
    """Return the Segment Editor's own node, made when nobody edited yet: its masking and overwrite mode hold."""
    node = scene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(_EDITOR_TAG)
        node.SetOverwriteMode(node.OverwriteNone)  # nobody chose to lose a neighbour
        node = scene.AddNode(node)
    return node


def overwrite_modes() -> tuple[int, ...]:
    """Return the overwrite modes in the order in which a list shows them: none, visible segments, all segments."""
    node = slicer.vtkMRMLSegmentEditorNode
    return (node.OverwriteNone, node.OverwriteVisibleSegments, node.OverwriteAllSegments)


def overwrite_mode(scene: Any) -> int:
    """Return the overwrite mode that holds."""
    node = scene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    return int(node.GetOverwriteMode() if node else slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
