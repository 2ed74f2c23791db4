"""Masks carried over from an earlier time point that wait for a click, shown in the views."""

from __future__ import annotations

from typing import Any

import numpy as np

from PromptSegLib.measurement.carry_over import CarryOver
from PromptSegLib.mrml.layers import oriented_image

_COLOUR = (1.0, 0.83, 0.23)


class CarriedMasks:
    """Shows what waits in a `CarryOver` as outlines in a segmentation of its own, under the volume's transform."""

    def __init__(self, carry: CarryOver, volume_node: Any) -> None:
        self.carry = carry
        self._scene = volume_node.GetScene()
        self.node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "To confirm by a click")
        self.node.SetSaveWithScene(False)
        self.node.CreateDefaultDisplayNodes()
        self.node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        display = self.node.GetDisplayNode()
        display.SetVisibility2DFill(False)
        for name, mask in carry.pending.items():
            image = oriented_image(mask.mask_kji, mask.grid.extent, mask.ijk_to_ras)
            self.node.AddSegmentFromBinaryLabelmapRepresentation(image, name, np.array(_COLOUR).tolist())

    def show(self) -> None:
        """Take away what waits no longer; the node goes with the last one."""
        segmentation = self.node.GetSegmentation()
        for segment_id in list(segmentation.GetSegmentIDs()):
            if segmentation.GetSegment(segment_id).GetName() not in self.carry.pending:
                segmentation.RemoveSegment(segment_id)
        if not self.carry.pending:
            self.close()

    def close(self) -> None:
        """Take the node out of the scene; masks that wait are forgotten."""
        if self.node.GetScene() is not None:
            self._scene.RemoveNode(self.node)
