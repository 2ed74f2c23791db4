"""A session in a scene: a volume node in, segments out, prompts as markups, all of it saved with the scene."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Any

import numpy as np
import slicer
import vtk

from PromptSegLib.errors import PromptError, PromptSegError, SceneError
from PromptSegLib.execution.executor import Executor
from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.rasterize import mask_on_grid
from PromptSegLib.measurement.carry_over import CarryOver
from PromptSegLib.mrml.certainty_overlay import CertaintyOverlay
from PromptSegLib.mrml.change_overlay import ChangeOverlay
from PromptSegLib.mrml.channel_nodes import ChannelNodes, checked_node
from PromptSegLib.mrml.layers import BINARY_LABELMAP, CLOSED_SURFACE
from PromptSegLib.mrml.markups import prompts_from_markups
from PromptSegLib.mrml.observations import Observations
from PromptSegLib.mrml.ownership import on_taken_over, take_over
from PromptSegLib.mrml.prompt_markups import PromptMarkups
from PromptSegLib.mrml.segments import SegmentMaskStore
from PromptSegLib.mrml.state_node import StateNode
from PromptSegLib.mrml.transforms import world_to_node
from PromptSegLib.predictors.base import Predictor
from PromptSegLib.predictors.registry import Recipe
from PromptSegLib.prompts import Point, Prompt, check_inside
from PromptSegLib.session.history import TargetRecord
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.session import Session
from PromptSegLib.view import View, Window

_log = logging.getLogger(__name__)

Later = Callable[[Callable[[], None]], None]
"""Runs a function some time soon; calls that come before it ran may be made one."""


class SceneSession(Session):
    """A `Session` on nodes: targets are the segments of `segmentation_node`, by their IDs.

    volume_node: scalar or RGB volume; its voxels are shared, not copied. Or several volumes by the names of channels,
    such as {"ct": ct_node, "pet": pet_node}: the first is the reference, and the others are resampled to its grid from
    where they are, each under transforms of its own. segmentation_node: made, on the volume's grid and under its
    transform, when None. segment_id: the segment to work on; None takes the first, or makes one.
    editor_node: a vtkMRMLSegmentEditorNode whose masking and overwrite mode are followed; without one there is no
    masking and nothing is overwritten. editor_history: the Segment Editor's vtkSegmentationHistory, when its undo is to
    take back what is written here, too. later: how the host runs something when it is idle; surfaces shown in 3D are
    made anew by it. view_now: returns the view that the user places prompts in.

    Prompts are in the volume's own RAS; `add_world` and `add_markups` take what is in the world. Points and boxes
    of the selected segment show as markups that can be dragged and deleted in the views. Prompts and channels are
    saved with the scene: a session on the same two nodes goes on where the last one stopped.

    Raises:
        GeometryError: a nonlinear transform lies between the nodes or volumes do not overlap.
        SceneError: for nodes of another kind.
    """

    def __init__(
        self,
        volume_node: Any,
        segmentation_node: Any = None,
        segment_id: str | None = None,
        predictor: str | Recipe | Predictor = "default",
        *,
        device: str = "auto",
        executor: Executor | None = None,
        observer: SessionObserver | None = None,
        editor_node: Any = None,
        editor_history: Any = None,
        auto: bool = True,
        window: Window | None = None,
        redraw: bool = False,
        later: Later = lambda function: function(),
        view_now: Callable[[], View | None] = lambda: None,
    ) -> None:
        channels = ChannelNodes(volume_node)
        volume_node = channels.reference
        with _nothing_left_on_error(volume_node.GetScene()):
            if segmentation_node is None:
                segmentation_node = add_segmentation_node(volume_node)
            self.volume_node = volume_node
            self.segmentation_node = checked_node(segmentation_node, "vtkMRMLSegmentationNode")
            check_source(segmentation_node)
            self._state = StateNode.of(volume_node, segmentation_node)
            self._channels = self._state.channels_of(channels)
            self._rules = self._make_rules(editor_node)
            self._segment_store = SegmentMaskStore(volume_node, segmentation_node, self._rules, editor_history)
            self._later = later
            self._view_now = view_now
            self._refresh_is_due = False
            self._carry: CarryOver | None = None
            self._markups: PromptMarkups | None = None
            self._overlay: CertaintyOverlay | None = None
            self._observations = Observations()
            self._ended = ""
            self._change_overlay = ChangeOverlay(volume_node)
            self._image_is_due = False
            super().__init__(
                self._channels.image(),
                predictor,
                device=device,
                executor=executor,
                observer=_SceneObserver(self, observer or SessionObserver()),
                store=self._segment_store,
                auto=auto,
                window=window,
                redraw=redraw,
            )
            if segment_id is not None:
                super().select(segment_id)
            take_over(volume_node, segmentation_node)
            self._state.write_channels(self._channels)
            self._resume(is_segment_chosen=segment_id is not None)
            self._markups = PromptMarkups(self._state, volume_node, self._markups_changed)
            self._markups.show(self.prompts())
            self._observe_nodes()

    # What a scene adds to a session

    def carry_over(self, carry: CarryOver | None) -> None:
        """Let a positive point on a mask that waits in `carry` make a segment of it, which the point then corrects."""
        self._carry = carry

    def add(self, prompt: Prompt, view: View | None = None) -> None:
        if self._carry is not None and isinstance(prompt, Point) and prompt.positive:
            name = self._carry.waiting_at(prompt)
            if name is not None:
                check_inside(prompt, self.image.grid)
                self._take_carried(name, prompt)
        super().add(prompt, view)

    def _take_carried(self, name: str, click: Point) -> None:
        assert self._carry is not None
        mask = self._carry.pending[name]
        self.add_target(name)
        if self.capabilities.takes(mask):
            super().add(mask)
        else:
            patch = mask_on_grid(mask, self.image.grid)
            placed = np.zeros(self.image.grid.shape_kji, dtype=bool)
            placed[patch.extent.slices] = patch.mask_kji
            self.set_mask(placed)
        self._carry.confirm(click)

    def add_world(self, position_world: Any, positive: bool = True, view: View | None = None) -> None:
        """Add a point at `position_world` : (3,), mm, in world RAS, as views show it."""
        x, y, z = world_to_node([Point(position_world).position_ras], self.volume_node)[0]
        self.add(Point((float(x), float(y), float(z)), positive), view)

    def add_markups(self, markups_node: Any, positive: bool = True) -> None:
        """Add what a markups node of the user's says, see `prompts_from_markups`; the node stays as it is."""
        checked_node(markups_node, "vtkMRMLMarkupsNode")
        prompts = prompts_from_markups(markups_node, self.volume_node, positive)
        if not prompts:
            raise PromptError(f"expected at least one placed control point, got none in {markups_node.GetName()!r}")
        for prompt in prompts:
            self.add(prompt)

    def point_node(self, positive: bool = True) -> Any:
        """Return the point list to place points in: each one placed there is added to the session."""
        assert self._markups is not None
        return self._markups.point_node(positive)

    @property
    def is_empty(self) -> bool:
        """Whether the selected segment has no voxels."""
        target = self.target
        return target not in self.targets or self._segment_store.is_empty(target)

    def take_edits(self) -> None:
        """Take what somebody else changed in the segments into the history."""
        self.before_change()

    def show_prompts(self, visible: bool) -> None:
        """Show the prompts in the views, or hide them there."""
        if self._markups is not None:
            self._markups.set_visible(visible)

    def highlight(self, prompt: Prompt | None) -> None:
        """Show `prompt`, one of the selected segment's, in another colour; None: show all alike."""
        if self._markups is not None:
            self._markups.highlight(prompt)

    def show_certainty(self, visible: bool = True) -> None:
        """Lay how sure the answers are of each voxel over the slice views, or take it away and show what was there.

        It follows the selected segment; where `certainty` has nothing to say, nothing is shown.

        Raises:
            SceneError: the nodes were removed.
        """
        if visible and self._overlay is None:
            self.before_change()
            self._overlay = CertaintyOverlay(self.volume_node, self.segmentation_node)
            self._show_certainty()
        elif not visible and self._overlay is not None:
            overlay, self._overlay = self._overlay, None
            overlay.hide()

    @property
    def shows_certainty(self) -> bool:
        """Whether it is shown how sure the answers are, as soon as one says so."""
        return self._overlay is not None

    @property
    def certainty_node(self) -> Any:
        """The volume that shows how sure the newest answer is, None while there is nothing to show."""
        return self._overlay.node if self._overlay is not None else None

    def show_change(self, visible: bool = True) -> None:
        """Lay over the slice views what the newest answer changed in a mask that came from elsewhere, or take it away.

        Nothing is shown where there was no such mask. It goes with the next answer, too, and with undo.
        """
        self._change_overlay.hide()
        answer = self.prediction if visible else None
        if answer is not None and answer.change is not None:
            self._change_overlay.show(answer.change, self.image.grid.ijk_to_ras)

    def select(self, target: str) -> None:
        super().select(target)
        self._show()

    def add_target(self, name: str = "segment") -> str:
        key = super().add_target(name)
        self._show()
        return key

    def refresh_surfaces(self) -> None:
        """Make the 3D surfaces of the segments that changed anew, where surfaces are shown."""
        self._refresh_is_due = False
        if self.segmentation_node.GetScene() is not None:
            self._segment_store.writer.refresh_surfaces()

    @property
    def volume_nodes(self) -> Mapping[str, Any]:
        """The volumes by the names of the channels that they are; the first one is `volume_node`."""
        return self._channels.nodes

    @property
    def is_open(self) -> bool:
        """Whether it has the nodes in hand: it was not closed, and no other session on them took over."""
        return not self._ended

    def close(self) -> None:
        """Stop what runs and let go of the nodes; prompts and segments stay in the scene. Nothing more can be done."""
        self._ended = self._ended or "one that was closed: make another on the same nodes to go on"
        self._observations.close()
        if self._markups is not None:
            self._markups.close()
        self._segment_store.close()
        self.show_certainty(False)
        self.show_change(False)
        super().close()

    # Within

    def _make_rules(self, editor_node: Any) -> Any:
        """Return a segment editor node of our own: writing selects segments in it, and the user's must not move."""
        self._editor_node = editor_node
        rules = self._state.helper("PromptSeg.Rules", "vtkMRMLSegmentEditorNode", "PromptSeg rules")
        rules.SetAndObserveSegmentationNode(self.segmentation_node)
        rules.SetAndObserveSourceVolumeNode(self.volume_node)
        rules.SetOverwriteMode(rules.OverwriteNone)
        return rules

    def _follow_rules(self) -> None:
        source = self._editor_node
        if source is None:
            return
        self._rules.SetOverwriteMode(source.GetOverwriteMode())
        self._rules.SetMaskMode(source.GetMaskMode())
        self._rules.SetMaskSegmentID(source.GetMaskSegmentID())
        self._rules.SetSourceVolumeIntensityMask(source.GetSourceVolumeIntensityMask())
        self._rules.SetSourceVolumeIntensityMaskRange(*source.GetSourceVolumeIntensityMaskRange())

    def _resume(self, is_segment_chosen: bool) -> None:
        """Take up the prompts that the scene was saved with; without them where they cannot be read."""
        try:
            prompts, selected = self._state.read()
        except PromptError as error:
            _log.warning("%s", error)
            self.observer.failed(error)
            return
        for key, saved in prompts.items():
            if key in self.targets:
                self.ledger.records[key] = TargetRecord(saved)
        if selected in self.targets and not is_segment_chosen:
            super().select(selected)

    def _taken_over(self, volume_id: str) -> None:
        if volume_id == self.volume_node.GetID() and self.is_open:
            self._ended = "one that another session on the same nodes took over from: go on with that one"
            self.close()
            self.error = SceneError(f"expected a session that has the nodes in hand, got {self._ended}")
            self.observer.failed(self.error)

    def before_change(self) -> None:
        if self.volume_node.GetScene() is None or self.segmentation_node.GetScene() is None:
            raise SceneError("expected a volume and a segmentation in a scene, got one that was removed")
        if self._ended:
            raise SceneError(f"expected a session that has the nodes in hand, got {self._ended}")
        check_source(self.segmentation_node)
        if self._rules.GetScene() is None:
            self._rules = self._make_rules(self._editor_node)
            self._segment_store.writer.follow(self._rules)
        self._take_image()
        self._follow_rules()
        super().before_change()

    def before_look(self) -> None:
        # Hosts ask while they paint, also a session that is over: what is wrong is said to whoever does something.
        if self.is_open:
            with suppress(PromptSegError):
                super().before_look()

    def _show(self) -> None:
        """Bring markups and saved state in line with the session."""
        if self._markups is not None:
            self._markups.show(self.ledger.record(self.ledger.selected).prompts)
            prompts = {key: record.prompts for key, record in self.ledger.records.items()}
            self._state.write(prompts, self.ledger.selected)
        self._show_certainty()

    def _show_certainty(self) -> None:
        if self._overlay is not None:
            certainty = self.certainty() if self.target in self.targets else None
            self._overlay.show(certainty, self.target, self.image.grid.ijk_to_ras)

    def _markups_changed(self, before: Sequence[Prompt], now: Sequence[Prompt]) -> None:
        try:
            if not now:
                self.remove(*before)
            for old, new in zip_longest(before if now else (), now):
                if old is None:
                    self.add(new, self._view_now())
                elif new is None:
                    self.remove(old)
                else:
                    self.replace(old, new)
        except PromptSegError as error:
            if self.is_open:
                self._show()
            self.error = error
            self.observer.failed(error)

    def _masks_changed(self) -> None:
        if not self.busy:  # Otherwise the answer that they are changed by is not there yet.
            self._show_certainty()
        if self.segmentation_node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE) and not self._refresh_is_due:
            self._refresh_is_due = True
            self._later(self.refresh_surfaces)

    # The nodes

    def _observe_nodes(self) -> None:
        scene, observe = self.volume_node.GetScene(), self._observations.add
        for node in self._channels.nodes.values():
            for event in (vtk.vtkCommand.ModifiedEvent, node.ImageDataModifiedEvent, node.TransformModifiedEvent):
                observe(node, event, self._channel_modified)
        observe(self.volume_node, self.volume_node.TransformModifiedEvent, self._show)
        observe(self.segmentation_node, slicer.vtkSegmentation.SegmentRemoved, self._segment_removed)
        observe(scene, scene.StartCloseEvent, self.close)
        self._observations.add_with_node(scene, scene.NodeAddedEvent, self._node_added)
        self._observations.add_with_node(scene, scene.NodeRemovedEvent, self._node_removed)
        on_taken_over(self._observations, self.segmentation_node, self._taken_over)

    def _channel_modified(self) -> None:
        """Start afresh when voxels or their place changed; a new name or display changes nothing."""
        if not self._channels.take_change():
            return
        self.cancel()
        self._image_is_due = True
        if len(self._channels.nodes) == 1:  # Several may have to be resampled: too slow for every step of a slider.
            with suppress(PromptSegError):
                self._take_image()

    def _take_image(self) -> None:
        if self._image_is_due:
            self.image_changed(self._channels.image())
            self._image_is_due = False
            self._show_certainty()

    def _segment_removed(self) -> None:
        self.before_look()
        self._show_certainty()

    def _node_added(self, node: Any) -> None:
        if node.IsA("vtkMRMLSliceCompositeNode"):
            self._show_certainty()

    def _node_removed(self, node: Any) -> None:
        if node is self.segmentation_node or any(node is volume for volume in self._channels.nodes.values()):
            self.close()
        elif node is self.certainty_node:
            self.show_certainty(False)
        elif self._markups is not None:
            self._markups.node_removed(node)


class _SceneObserver(SessionObserver):
    """Brings the scene in line with the session, then tells the host's own observer."""

    def __init__(self, session: SceneSession, then: SessionObserver) -> None:
        self._session = session
        self._then = then

    def prompts_changed(self, target: str) -> None:
        self._session._show()
        self._then.prompts_changed(target)

    def masks_changed(self, boxes: Mapping[str, Extent]) -> None:
        self._session._masks_changed()
        self._then.masks_changed(boxes)

    def answer_changed(self, target: str) -> None:
        self._session._change_overlay.hide()
        self._session._show_certainty()
        self._then.answer_changed(target)

    def busy_changed(self, busy: bool) -> None:
        self._then.busy_changed(busy)

    def progress(self, fraction: float, what: str) -> None:
        self._then.progress(fraction, what)

    def failed(self, error: PromptSegError) -> None:
        self._then.failed(error)


def has_saved_session(volume_node: Any, segmentation_node: Any) -> bool:
    """Tell whether the scene holds a session of these two nodes, to go on with."""
    states = StateNode.find_all(volume_node.GetScene())
    return any(s.volume_node is volume_node and s.segmentation_node is segmentation_node for s in states)


@contextmanager
def _nothing_left_on_error(scene: Any) -> Iterator[None]:
    """Remove the nodes that the block added when it fails."""
    before = {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}
    try:
        yield
    except BaseException:
        nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        for node in nodes:
            if node.GetID() not in before:
                scene.RemoveNode(node)
        raise


def check_source(segmentation_node: Any) -> None:
    """Raise SceneError when the segments are not kept as voxels: what is written would change nothing."""
    segmentation = segmentation_node.GetSegmentation()
    source = segmentation.GetSourceRepresentationName()
    if source == BINARY_LABELMAP:
        return
    if segmentation.GetNumberOfSegments() == 0:
        segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
        return
    raise SceneError(
        f"expected segments kept as {BINARY_LABELMAP!r}, got {segmentation_node.GetName()!r} kept as {source!r}: "
        "in the Segmentations module, under Representations, press Make source at Binary labelmap, or in Python call "
        "SetSourceRepresentationToBinaryLabelmap() of its vtkSegmentation; or work in another segmentation"
    )


def add_segmentation_node(volume_node: Any) -> Any:
    """Add a segmentation on the grid, and under the transform, of `volume_node`."""
    node = volume_node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume_node.GetName()} segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    return node
