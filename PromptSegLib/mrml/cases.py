"""The current case of a worklist in the scene: its volume and its segmentation, and nothing else of the user's."""

from __future__ import annotations

from typing import Any

from PromptSegLib.errors import PromptSegError
from PromptSegLib.io.worklist import Worklist, WorklistCase
from PromptSegLib.mrml.export import load_segmentation, load_volume, save_segmentation
from PromptSegLib.mrml.scene_session import add_segmentation_node


class OpenCase:
    """Loads the cases of `worklist` into `scene`, one at a time."""

    def __init__(self, scene: Any, worklist: Worklist) -> None:
        self.worklist = worklist
        self.volume_node: Any = None
        self.segmentation_node: Any = None
        self._scene = scene

    def open(self, index: int) -> None:
        """Save the case that is open, remove it, and load another.

        Raises:
            SceneFileError: that one cannot be saved; it then stays.
        """
        self.save()
        case = self.worklist.cases[index]
        volume_node = load_volume(self._scene, case.image)
        try:
            segmentation_node = self._load_segmentation(case, volume_node)
        except PromptSegError:
            self._scene.RemoveNode(volume_node)
            raise
        self._remove()
        self.volume_node, self.segmentation_node = volume_node, segmentation_node
        self.worklist.go(index)

    def save(self) -> bool:
        """Save the segmentation of the open case, and return whether there was anything to save."""
        node = self.segmentation_node
        if node is None or node.GetScene() is None or not node.GetSegmentation().GetNumberOfSegments():
            return False
        save_segmentation(node, self.worklist.current.segmentation)
        return True

    def _load_segmentation(self, case: WorklistCase, volume_node: Any) -> Any:
        node = add_segmentation_node(volume_node)
        if case.is_done:
            try:
                load_segmentation(node, case.segmentation)
            except PromptSegError:
                self._scene.RemoveNode(node)
                raise
        return node

    def _remove(self) -> None:
        for node in (self.volume_node, self.segmentation_node):
            if node is not None and node.GetScene() is not None:
                display = node.GetDisplayNode()
                self._scene.RemoveNode(node)
                if display is not None:
                    self._scene.RemoveNode(display)
