"""How sure a predictor is of each voxel, as colours over the slice views."""

from __future__ import annotations

from typing import Any

from PromptSegLib.certainty import Certainty
from PromptSegLib.geometry import FloatArray, apply_affine, flip_axes
from PromptSegLib.mrml.foreground import Foreground
from PromptSegLib.mrml.transforms import matrix_from_array
from PromptSegLib.mrml.volumes import image_data

_MARK = "PromptSeg.Certainty"
_SHADES = 256
_LOWEST = 0.2
"""What is less likely is transparent. At 0.05, half of a body was coloured around a liver that was right."""
_OPACITY = 0.5


class CertaintyOverlay:
    """A scalar volume of probabilities, 0 to 1, in the foreground of the slice views, for as long as there are any.

    It holds the box that is known something of, on the lattice and under the transform of `volume_node`. The segment
    that it is about is drawn as an outline meanwhile, as its filling would mix with the colours. A scene has one such
    volume: another session's gives way. It is not saved with the scene.
    """

    def __init__(self, volume_node: Any, segmentation_node: Any) -> None:
        self.node: Any = None
        self._nodes: tuple[Any, ...] = ()
        self._volume_node = volume_node
        self._segmentation_node = segmentation_node
        self._foreground = Foreground(_OPACITY)
        self._shown: tuple[object, ...] = ()
        self._outlined = ""

    def show(self, certainty: Certainty | None, segment_id: str, ijk_to_ras: FloatArray) -> None:
        """Show `certainty`, which is about this segment, in the lattice `ijk_to_ras`; None: nothing."""
        if certainty is None:
            self.hide()
            return
        if self.node is None:
            self._nodes = _add_nodes(self._volume_node.GetScene())
            self.node = self._nodes[0]
        wanted = (certainty, segment_id, ijk_to_ras.tobytes())
        if wanted != self._shown:
            self._write(certainty, ijk_to_ras)
            self.node.SetName(f"{self._segment(segment_id).GetName()} certainty")
            self._outline(segment_id)
            self._shown = wanted
        if self.node.GetTransformNodeID() != self._volume_node.GetTransformNodeID():
            self.node.SetAndObserveTransformNodeID(self._volume_node.GetTransformNodeID())
        self._foreground.show(self.node)

    def hide(self) -> None:
        """Show the views as they were before, and remove the volume."""
        nodes, self._nodes, self.node, self._shown = self._nodes, (), None, ()
        self._foreground.put_back()
        self._outline("")
        for node in nodes:
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)

    def _write(self, certainty: Certainty, ijk_to_ras: FloatArray) -> None:
        matrix = ijk_to_ras.copy()
        matrix[:3, 3] = apply_affine(matrix, flip_axes(certainty.extent.start_kji))
        before = self.node.StartModify()
        self.node.SetIJKToRASMatrix(matrix_from_array(matrix))
        self.node.SetAndObserveImageData(image_data(certainty.probability_kji))
        self.node.EndModify(before)

    def _segment(self, segment_id: str) -> Any:
        return self._segmentation_node.GetSegmentation().GetSegment(segment_id)

    def _outline(self, segment_id: str) -> None:
        """Draw this segment without its filling, and the one before as it was; "": none."""
        display = self._segmentation_node.GetDisplayNode()
        if display is None or segment_id == self._outlined:
            return
        if self._outlined and self._segment(self._outlined) is not None:
            display.SetSegmentVisibility2DFill(self._outlined, True)
        is_filled = bool(segment_id) and display.GetSegmentVisibility2DFill(segment_id)
        self._outlined = segment_id if is_filled else ""
        if is_filled:
            display.SetSegmentVisibility2DFill(segment_id, False)


def _add_nodes(scene: Any) -> tuple[Any, Any, Any]:
    """Add the volume, without voxels, in the place of another session's; return it, its display and its colours."""
    _remove_nodes(scene)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetAttribute(_MARK, "1")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    colors = _add_colors(scene)
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetThreshold(_LOWEST, 1.0)
    display.SetApplyThreshold(True)
    added = (node, display, colors)
    for each in added:
        each.SetSaveWithScene(False)
    return added


def _add_colors(scene: Any) -> Any:
    """Add the colours: cyan to blue below a half, red to yellow above, so that they part where the outline runs.

    Slicer's table fMRI has these hues, but parts them at 0.53: voxels of the segment would be blue.
    """
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "certainty colors")
    node.SetTypeToUser()
    node.SetNumberOfColors(_SHADES)
    for shade in range(_SHADES):
        probability = (shade + 0.5) / _SHADES
        rgb = (0.0, 1 - 2 * probability, 1.0) if probability < 0.5 else (1.0, 2 * probability - 1, 0.0)
        node.SetColor(shade, f"{probability:.2f}", *rgb, 1.0)
    return node


def _remove_nodes(scene: Any) -> None:
    """Remove such volumes, but for those that the user wants to have saved with the scene."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode") for index in range(count)]
    for node in nodes:
        if node.GetAttribute(_MARK) and not node.GetSaveWithScene():
            scene.RemoveNode(node)
