"""The current case of a worklist in the scene: its volume and its segmentation, and nothing else of the user's."""

from __future__ import annotations

from typing import Any

from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import PromptSegError
from PromptSegLib.geometry import Grid
from PromptSegLib.io.certainty_file import read_certainties
from PromptSegLib.mrml.export import load_segmentation, load_volume, save_segmentation
from PromptSegLib.mrml.layers import BINARY_LABELMAP
from PromptSegLib.mrml.scene_session import add_segmentation_node
from PromptSegLib.mrml.volumes import volume_from_node
from PromptSegLib.panel.stopwatch import Stopwatch
from PromptSegLib.worklist.case import CaseState, WorklistCase
from PromptSegLib.worklist.worklist import Worklist


class OpenCase:
    """Loads the cases of `worklist` into `scene`, one at a time."""

    def __init__(self, scene: Any, worklist: Worklist) -> None:
        self.worklist = worklist
        self.volume_node: Any = None
        self.segmentation_node: Any = None
        self.clicks = 0
        self.stopwatch = Stopwatch()
        self._scene = scene
        self._saved: tuple[object, ...] = ()
        self._certainties: dict[str, Certainty] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a case's nodes are in the scene."""
        nodes = (self.volume_node, self.segmentation_node)
        return all(node is not None and node.GetScene() is not None for node in nodes)

    @property
    def is_as_proposed(self) -> bool:
        """Whether the segments are what a model proposed, and nobody has changed them."""
        return self.worklist.current.state is CaseState.PROPOSED and not self.is_changed

    @property
    def is_changed(self) -> bool:
        """Whether the segments are others than those that were loaded or saved."""
        return self.is_open and _look_of(self.segmentation_node) != self._saved

    def open(self, index: int) -> None:
        """Save the case that is open, remove it, and load another.

        Raises:
            SceneFileError: one of the cases cannot be saved or read; the one that is open then stays, as it does below.
            WorklistError: the list cannot be read or written.
            CaseTakenError: what would be saved is another reader's.
        """
        wanted = self.worklist.cases[index]
        self.save()
        index = self.worklist.cases.index(self.worklist.find(wanted))
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
        self._begin_anew()

    def save(self) -> bool:
        """Save the segmentation of the open case if it changed, and return whether it did.

        The case is in work then, and the reader's.

        Raises:
            CaseTakenError: it is another's: nothing is saved then.
        """
        if not self.is_changed:
            return False
        case = self.worklist.claim(self.worklist.current)
        save_segmentation(self.segmentation_node, case.segmentation)
        self._saved = _look_of(self.segmentation_node)
        self.worklist.record(case, add_seconds=self.stopwatch.take(), add_clicks=self._take_clicks())
        return True

    def decide(self, state: CaseState, comment: str) -> WorklistCase:
        """Save the open case, and record what the reader decided of it.

        Raises:
            CaseTakenError: another reader has it.
        """
        self.save()
        case = self.worklist.current
        if case.is_others(self.worklist.reader):
            case = self.worklist.claim(case)
        return self.worklist.record(
            case,
            add_seconds=self.stopwatch.take(),
            add_clicks=self._take_clicks(),
            state=state,
            reader=self.worklist.reader,
            comment=comment,
        )

    def go_on_as(self, case: WorklistCase) -> None:
        """Let what is open be `case`, another reading of the image: what was changed is saved to that one."""
        self.worklist.go(self.worklist.cases.index(self.worklist.find(case)))
        self._certainties = {}

    def certainties(self) -> dict[str, Certainty]:
        """Return how sure the model was of what it proposed, by the names of segments.

        Raises:
            VolumeError: that cannot be read; it is told once.
            GeometryError: as before, as it is of another grid.
        """
        if self._certainties is None:
            self._certainties = {}
            path = self.worklist.current.certainty_file
            if self.is_open and path.is_file():
                volume = volume_from_node(self.volume_node)
                grid = Grid(volume.grid.shape_kji, volume.ijk_to_ras)
                self._certainties = read_certainties(path, grid)
        return self._certainties

    def _begin_anew(self) -> None:
        self._certainties = None
        self._saved = _look_of(self.segmentation_node)
        self.stopwatch.take()
        self.clicks = 0

    def _take_clicks(self) -> int:
        clicks, self.clicks = self.clicks, 0
        return clicks

    def _load_segmentation(self, case: WorklistCase, volume_node: Any) -> Any:
        node = add_segmentation_node(volume_node)
        if case.is_saved:
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


def _look_of(segmentation_node: Any) -> tuple[object, ...]:
    """Return what a change of segments changes: names, and when voxels were written; empty ones don't count."""
    segmentation = segmentation_node.GetSegmentation()
    look: list[object] = []
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        if image is not None and not image.IsEmpty():
            look.append((segment_id, segment.GetName(), int(image.GetMTime()), segment.GetLabelValue()))
    return tuple(look)
