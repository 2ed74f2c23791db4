"""What the newest prompt changed in a mask, as labels over the slice views: added green, taken away magenta."""

from __future__ import annotations

from typing import Any

import numpy as np

from PromptSegLib.bitmask import MaskDelta
from PromptSegLib.geometry import FloatArray, apply_affine, flip_axes
from PromptSegLib.mrml.foreground import composite_nodes
from PromptSegLib.mrml.transforms import matrix_from_array
from PromptSegLib.mrml.volumes import image_data

ADDED, REMOVED = 1, 2
"""The values of its voxels; 0 elsewhere."""
_COLORS = {ADDED: ("added", 0.2, 1.0, 0.2), REMOVED: ("taken away", 1.0, 0.2, 1.0)}
_OPACITY = 0.7


class ChangeOverlay:
    """A label map in the label layer of the slice views, until it is hidden; then what was there before.

    It lies on the lattice and under the transform of `volume_node`, in the box that changed. It is not saved.
    """

    def __init__(self, volume_node: Any) -> None:
        self.node: Any = None
        self._nodes: tuple[Any, ...] = ()
        self._volume_node = volume_node
        self._before: dict[Any, tuple[str | None, float]] = {}

    def show(self, change: MaskDelta, ijk_to_ras: FloatArray) -> None:
        """Show `change`, which is on the lattice `ijk_to_ras`."""
        self.hide()
        self._nodes = _add_nodes(self._volume_node.GetScene())
        self.node = self._nodes[0]
        matrix = ijk_to_ras.copy()
        matrix[:3, 3] = apply_affine(matrix, flip_axes(change.extent.start_kji))
        added, removed = change.added_and_removed()
        self.node.SetIJKToRASMatrix(matrix_from_array(matrix))
        self.node.SetAndObserveImageData(image_data((ADDED * added + REMOVED * removed).astype(np.uint8)))
        self.node.SetAndObserveTransformNodeID(self._volume_node.GetTransformNodeID())
        for view in composite_nodes(self._volume_node.GetScene()):
            self._before[view] = view.GetLabelVolumeID(), view.GetLabelOpacity()
            view.SetLabelVolumeID(self.node.GetID())
            view.SetLabelOpacity(_OPACITY)

    def hide(self) -> None:
        """Show the label layers as they were before, and remove the label map."""
        before, self._before = self._before, {}
        nodes, self._nodes, self.node = self._nodes, (), None
        for view, (volume_id, opacity) in before.items():
            scene = view.GetScene()
            # Where the user chose another one meanwhile, it stays.
            if scene is not None and view.GetLabelVolumeID() in (None, nodes[0].GetID()):
                is_there = volume_id is not None and scene.GetNodeByID(volume_id) is not None
                view.SetLabelVolumeID(volume_id if is_there else None)
                view.SetLabelOpacity(opacity)
        for node in nodes:
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)


def _add_nodes(scene: Any) -> tuple[Any, Any, Any]:
    """Add the label map, without voxels; return it, its display and its colours."""
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "newest change")
    node.CreateDefaultDisplayNodes()
    colors = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "change colors")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(1 + len(_COLORS))
    colors.SetColor(0, "unchanged", 0.0, 0.0, 0.0, 0.0)
    for value, (name, red, green, blue) in _COLORS.items():
        colors.SetColor(value, name, red, green, blue, 1.0)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    added = (node, display, colors)
    for each in added:
        each.SetSaveWithScene(False)
    return added
