"""All that a user, other modules and a second session may do to a scene, in random order; what must hold throughout."""

from __future__ import annotations

import itertools
import logging
import sys

import numpy as np
import slicer
from fakes import BallPredictor
from scenes import add_segmentation, add_volume, affine_of, ijk_to_ras_of, oriented_image, rotation, vtk_matrix
from vtk.util.numpy_support import vtk_to_numpy

from PromptSegLib.errors import PromptSegError, SceneError
from PromptSegLib.geometry import apply_affine, flip_axes
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.transforms import node_to_world, world_to_node
from PromptSegLib.prompts import Box, Point, Scribble

SHAPE = (14, 18, 20)
LABELMAP, SURFACE = "Binary labelmap", "Closed surface"
HELPERS = ("vtkMRMLMarkupsNode", "vtkMRMLTextNode", "vtkMRMLSegmentEditorNode")


def world_voxels(segmentation_node, key):
    """Return the (n, 3) positions of a segment's voxels in the segmentation's RAS, in the order of their indices."""
    segment = segmentation_node.GetSegmentation().GetSegment(key)
    image = segment.GetRepresentation(LABELMAP)
    if image is None or image.GetPointData().GetScalars() is None:
        return np.zeros((0, 3))
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    if i1 < i0:
        return np.zeros((0, 3))
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    matrix = vtk_matrix(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    index_ijk = flip_axes(np.argwhere(labels == segment.GetLabelValue())) + np.array([i0, j0, k0])
    return apply_affine(affine_of(matrix), index_ijk)


def nodes_of(scene, class_name):
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]


class Storm:
    """One scene and its sessions. `act` does one thing at random and checks what must hold; `end` undoes all."""

    def __init__(self, seed, folder):
        self.rng = np.random.default_rng(seed)
        self.folder = folder
        self.standalone = start_scene()
        affine = rotation(self.rng.uniform(0, 40), self.rng.normal(size=3)) @ np.diag([1.2, 0.9, 1.6, 1.0])
        volume = add_volume(self.standalone.scene, np.zeros(SHAPE, np.int16), affine)
        segmentation = add_segmentation(self.standalone.scene, volume, {})
        self.editor = self.standalone.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "the user's")
        self.editor.SetOverwriteMode(self.editor.OverwriteNone)
        self.editor.SetHideFromEditors(False)
        self.refused = 0
        self.done = {}
        self.can_save = True
        self.open(volume, segmentation)

    def open(self, volume, segmentation):
        self.session = SceneSession(volume, segmentation, predictor=BallPredictor(3.5), editor_node=self.editor)
        self.begin_anew()

    # What must hold

    @property
    def scene(self):
        return self.standalone.scene

    @property
    def segmentation(self):
        return self.session.segmentation_node

    def state(self):
        keys = self.segmentation.GetSegmentation().GetSegmentIDs()
        return {key: np.round(world_voxels(self.segmentation, key), 4) for key in keys}

    def begin_anew(self):
        self.session.take_edits()
        self.start, self.revision = self.state(), self.session._segment_store.revision

    def check_others(self, before, after, owners, is_given_back):
        for key, voxels in before.items():
            if key in after and key not in owners:
                now, then = set(map(tuple, after[key])), set(map(tuple, voxels))
                assert now <= then or is_given_back, f"{key} gained {len(now - then)} voxels"
                if self.editor.GetOverwriteMode() == self.editor.OverwriteNone and not is_given_back:
                    assert now == then, f"{key} lost {len(then - now)} voxels"

    def check_nodes(self):
        states = [node for node in nodes_of(self.scene, "vtkMRMLTextNode") if node.GetAttribute("PromptSeg.Session")]
        assert len(states) == 1, f"{len(states)} states"
        roles = []
        states[0].GetNodeReferenceRoles(roles)
        count = states[0].GetNumberOfNodeReferences
        held = [states[0].GetNthNodeReference(role, n) for role in roles for n in range(count(role))]
        for node in itertools.chain.from_iterable(nodes_of(self.scene, name) for name in HELPERS):
            assert not node.GetHideFromEditors() or node in (*held, *states), f"orphan {node.GetName()}"
        displays = nodes_of(self.scene, "vtkMRMLMarkupsDisplayNode")
        markups = nodes_of(self.scene, "vtkMRMLMarkupsNode")
        shown = {node.GetDisplayNodeID() for node in markups}
        assert len(displays) == len(shown), f"{len(displays)} displays, {len(shown)} shown of {len(markups)} markups"
        points = sum(isinstance(prompt, Point) for prompt in self.session.prompts())
        shown = sum(self.session.point_node(sign).GetNumberOfControlPoints() for sign in (True, False))
        assert shown == points, f"{shown} points shown of {points}"
        assert len(held) < 60, "references pile up"

    def undo_all(self):
        self.session.take_edits()
        self.follow_revision()
        now, steps = self.state(), 0
        while self.session.undo() is not None:
            steps += 1
        self.compare(self.start, self.state(), "undo to the start")
        for _ in range(steps):
            assert self.session.redo() is not None
        self.compare(now, self.state(), "redo to the end")

    def compare(self, expected, found, what):
        for key, voxels in found.items():
            then = expected.get(key, np.zeros((0, 3)))
            differ = set(map(tuple, voxels)) ^ set(map(tuple, then))
            if differ:  # what others do outside of the image is no step of its history
                world = node_to_world(np.array(sorted(differ)), self.segmentation)
                differ = (
                    self.session.image.grid.contains(world_to_node(world, self.session.volume_node)).any() and differ
                )
            assert not differ, f"{what}: {len(differ)} voxels of {key} differ"

    # What happens

    def act(self):
        name = str(self.rng.choice(list(ACTIONS), p=WEIGHTS))
        self.done[name] = self.done.get(name, 0) + 1
        self.session.take_edits()
        self.follow_revision()
        before, target, step = self.state(), self.session.target, self.session.ledger.history.newest
        known = set(self.session._segment_store._known)
        try:
            ACTIONS[name](self)
        except PromptSegError:
            self.refused += 1
        self.session.take_edits()
        if name in OWN:
            replayed = self.session.ledger.history.next_redo if name == "undo" else self.session.ledger.history.newest
            owners = {target, self.session.target}
            if name in ("undo", "redo"):
                owners = {c.target for s in (step, replayed) if s is not None for c in s.changes} | owners
            # A start-over gives back what its segment took from others.
            self.check_others(before, self.state(), owners, self.done.get("overwrite") and name in START_OVER)
        elif name in EDITS:  # in segments that the session has not looked at, these are no steps of its history
            self.start |= {key: voxels for key, voxels in self.state().items() if key in before and key not in known}
        self.follow_revision()
        self.check_nodes()

    def follow_revision(self):
        if self.session._segment_store.revision != self.revision:
            self.begin_anew()

    def end(self):
        self.undo_all()
        self.session.close()
        self.standalone.__exit__(None, None, None)

    def a_position(self):
        return self.session.image.grid.to_ras([self.rng.uniform(1, n - 2) for n in flip_axes(SHAPE)])

    def a_point(self):
        return Point(tuple(self.a_position().tolist()), bool(self.rng.random() < 0.75))

    def prompts(self):
        of_all = {key: self.session.prompts(key) for key in self.session.targets}
        return {key: prompts for key, prompts in of_all.items() if prompts}

    def a_key(self):
        return str(self.rng.choice(self.segmentation.GetSegmentation().GetSegmentIDs() or [self.session.add_target()]))

    def a_prompt(self):
        prompts = self.session.prompts()
        return prompts[self.rng.integers(len(prompts))] if prompts else None

    def click(self):
        point = self.a_point()
        self.session.add(point)
        if point.positive:
            k, j, i = self.session.image.grid.nearest_kji(point.position_ras)
            assert self.session.mask_kji[k, j, i], "the clicked voxel is not set"
            world = node_to_world([point.position_ras], self.session.volume_node)
            voxels = node_to_world(world_voxels(self.segmentation, self.session.target), self.segmentation)
            off = np.linalg.norm(voxels - world, axis=1).min()
            assert off < 1.5, f"the nearest voxel lies {off:.2f} mm from the click"

    def place(self):
        point = self.a_point()
        world = node_to_world([point.position_ras], self.session.volume_node)[0]
        self.session.point_node(point.positive).AddControlPointWorld(world.tolist())

    def drag_in_view(self):
        node = self.session.point_node(bool(self.rng.random() < 0.7))
        if node.GetNumberOfControlPoints():
            world = node_to_world([self.a_position()], self.session.volume_node)[0]
            index = int(self.rng.integers(node.GetNumberOfControlPoints()))
            node.SetNthControlPointPositionWorld(index, *world.tolist())
            node.InvokeEvent(node.PointEndInteractionEvent)

    def delete_in_view(self):
        node = self.session.point_node(True)
        if self.rng.random() < 0.2:
            node.RemoveAllControlPoints()
        elif node.GetNumberOfControlPoints():
            node.RemoveNthControlPoint(int(self.rng.integers(node.GetNumberOfControlPoints())))

    def box(self):
        self.session.add(Box.from_corners(tuple(self.a_position().tolist()), tuple(self.a_position().tolist())))

    def scribble(self):
        self.session.add(Scribble(tuple(tuple(self.a_position().tolist()) for _ in range(4)), width_mm=1.5))

    def drag(self):
        old = self.a_prompt()
        if isinstance(old, Point):
            self.session.replace(old, Point(tuple(self.a_position().tolist()), old.positive))

    def remove(self):
        if (prompt := self.a_prompt()) is not None:
            self.session.remove(prompt)

    def set_mask(self):
        mask = np.zeros(SHAPE, bool)
        k, j, i = (int(self.rng.integers(0, n - 4)) for n in SHAPE)
        mask[k : k + 4, j : j + 3, i : i + 4] = True
        self.session.set_mask(mask)

    def add_target(self):
        if len(self.session.targets) < 6:
            self.session.add_target("more")

    # What others do

    def edit(self, replace=False):
        """Edit a segment by hand, on the grid that the volume has now."""
        logic, key = slicer.vtkSlicerSegmentationsModuleLogic, self.a_key()
        mask = np.zeros(SHAPE, bool)
        k, j, i = (int(self.rng.integers(0, n - 3)) for n in SHAPE)
        mask[k : k + 3, j : j + 3, i : i + 3] = True
        image = oriented_image(mask, ijk_to_ras_of(self.session.volume_node))
        mode = logic.MODE_REPLACE if replace else logic.MODE_MERGE_MASK
        logic.SetBinaryLabelmapToSegment(image, self.segmentation, key, mode)

    def remove_segment(self):
        segmentation, key = self.segmentation.GetSegmentation(), self.a_key()
        if segmentation.GetNumberOfSegments() > 1 or self.rng.random() < 0.2:
            segmentation.RemoveSegment(key)
            self.start.pop(key, None)
            if self.rng.random() < 0.3:
                segmentation.AddEmptySegment(key, "another")
                assert self.session.prompts(key) == ()

    def remove_helper(self):
        hidden = [node for name in HELPERS for node in nodes_of(self.scene, name) if node.GetHideFromEditors()]
        displays = nodes_of(self.scene, "vtkMRMLMarkupsDisplayNode")
        nodes = [*hidden, *displays]
        self.scene.RemoveNode(nodes[self.rng.integers(len(nodes))])
        self.session.add(self.a_point())

    def move(self):
        self.session.volume_node.SetOrigin(*self.rng.uniform(-6, 6, 3).tolist())

    def put_under_a_transform(self):
        transform = self.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
        motion = rotation(self.rng.uniform(0, 30), self.rng.normal(size=3))
        transform.SetMatrixTransformToParent(vtk_matrix(motion))
        nodes = [self.session.volume_node, self.segmentation]
        for node in nodes if self.rng.random() < 0.6 else nodes[:1]:
            node.SetAndObserveTransformNodeID(transform.GetID())

    def another_source(self):
        segmentation, self.can_save = self.segmentation.GetSegmentation(), False  # the wheel's writer then aborts
        if not any(len(voxels) for voxels in self.state().values()):
            return
        self.segmentation.CreateClosedSurfaceRepresentation()
        segmentation.SetSourceRepresentationName(SURFACE)
        try:
            self.session.add(self.a_point())
            raise AssertionError("a click on surfaces was taken")
        except SceneError:
            pass
        finally:
            segmentation.SetSourceRepresentationName(LABELMAP)
            self.segmentation.RemoveClosedSurfaceRepresentation()

    def overwrite(self):
        mode = self.editor.OverwriteAllSegments if self.rng.random() < 0.5 else self.editor.OverwriteNone
        self.editor.SetOverwriteMode(mode)

    def second_session(self):
        old, prompts = self.session, self.prompts()
        self.open(old.volume_node, old.segmentation_node)
        assert self.prompts() == prompts
        assert not old.is_open
        for use in (lambda: old.add(self.a_point()), old.undo, old.reset, lambda: old.add_target("no")):
            before = self.state()
            try:
                use()
                raise AssertionError("a session that was taken over did something")
            except SceneError:
                self.compare(before, self.state(), "an old session")

    def save_and_load(self):
        if not self.can_save:
            return
        path = self.folder / "storm.mrb"
        prompts = [len(self.session.prompts(key)) for key in self.session.targets] or [0]
        before = [len(voxels) for voxels in self.state().values()] or [0]
        self.session.close()
        save_mrb(self.scene, path)
        self.standalone.__exit__(None, None, None)
        self.standalone = start_scene()
        open_mrb(self.scene, path)
        self.editor = next(n for n in nodes_of(self.scene, "vtkMRMLSegmentEditorNode") if not n.GetHideFromEditors())
        self.open(
            nodes_of(self.scene, "vtkMRMLScalarVolumeNode")[0], nodes_of(self.scene, "vtkMRMLSegmentationNode")[0]
        )
        assert [len(self.session.prompts(key)) for key in self.session.targets] == prompts
        assert [len(voxels) for voxels in self.state().values()] == before


_OWN = {
    "click": (Storm.click, 24),
    "place": (Storm.place, 6),
    "drag": (Storm.drag, 8),
    "drag in view": (Storm.drag_in_view, 4),
    "delete in view": (Storm.delete_in_view, 2),
    "remove": (Storm.remove, 5),
    "box": (Storm.box, 3),
    "scribble": (Storm.scribble, 2),
    "set mask": (Storm.set_mask, 2),
    "reset": (lambda storm: storm.session.reset(), 3),
    "accept": (lambda storm: storm.session.accept(), 2),
    "add target": (Storm.add_target, 3),
    "select": (lambda storm: storm.session.select(storm.a_key()), 6),
    "undo": (lambda storm: storm.session.undo(), 8),
    "redo": (lambda storm: storm.session.redo(), 4),
}
_OTHERS = {
    "edit": (Storm.edit, 6),
    "replace": (lambda storm: storm.edit(replace=True), 3),
    "remove segment": (Storm.remove_segment, 3),
    "remove helper": (Storm.remove_helper, 3),
    "move": (Storm.move, 2),
    "transform": (Storm.put_under_a_transform, 1),
    "another source": (Storm.another_source, 1),
    "overwrite": (Storm.overwrite, 2),
    "second session": (Storm.second_session, 2),
    "undo all": (Storm.undo_all, 2),
    "save and load": (Storm.save_and_load, 0.5),
}
OWN = set(_OWN)
EDITS = {"edit", "replace", "another source"}
START_OVER = {"drag", "drag in view", "delete in view", "remove", "reset"}
ACTIONS = {name: action for name, (action, _) in (_OWN | _OTHERS).items()}
WEIGHTS = np.array([weight for _, weight in (_OWN | _OTHERS).values()])
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def wrong_of_a_click(seed):
    """Move the volume, edit segments on its grid as it is then, click in one; return what is wrong with that, or ""."""
    rng = np.random.default_rng(seed)
    radius = 4.0
    with start_scene() as standalone:
        spacing = rng.uniform(0.7, 1.8, 3)
        affine = rotation(rng.choice([0.0, rng.uniform(0, 60)]), rng.normal(size=3)) @ np.diag([*spacing, 1.0])
        volume = add_volume(standalone.scene, np.zeros(SHAPE, np.int16), affine)
        session = SceneSession(volume, None, predictor=BallPredictor(radius))
        segmentation = session.segmentation_node
        keys = [session.target, session.add_target("b"), session.add_target("c")]

        def somewhere():
            return session.image.grid.to_ras([rng.uniform(3, n - 4) for n in flip_axes(SHAPE)])

        for _ in range(int(rng.integers(1, 4))):
            session.select(str(rng.choice(keys)))
            session.add(Point(tuple(somewhere().tolist())))
        for _ in range(int(rng.integers(1, 3))):
            _move(rng, standalone.scene, volume, segmentation)
            _edit(rng, volume, segmentation, str(rng.choice(keys)))
        key = str(rng.choice(keys))
        session.select(key)
        session.accept()  # earlier points would be answered, too, where the volume has taken them
        before = {each: _world_of(segmentation, each) for each in keys}
        click = somewhere()
        session.add(Point(tuple(click.tolist())))
        after = {each: _world_of(segmentation, each) for each in keys}
        at = node_to_world([click], volume)[0]
        expected = session.image.grid.to_ras(flip_axes(np.argwhere(np.ones(SHAPE))))
        expected = node_to_world(expected[np.linalg.norm(expected - click, axis=1) < radius - 2.5], volume)
    if moved := [each for each in keys if each != key and not np.array_equal(before[each], after[each])]:
        return f"{len(moved)} neighbours changed"
    new = set(map(tuple, np.round(after[key], 3))) - set(map(tuple, np.round(before[key], 3)))
    reach = np.linalg.norm(spacing)
    far = max((float(np.linalg.norm(np.array(voxel) - at)) for voxel in new), default=0.0)
    if far > radius + reach:
        return f"a voxel lies {far:.2f} mm from the click"
    for point in expected:
        if not len(after[key]) or np.linalg.norm(after[key] - point, axis=1).min() > reach / 2 + 1e-3:
            return "a voxel of the ball is missing"
    return ""


def _world_of(segmentation, key):
    return node_to_world(world_voxels(segmentation, key), segmentation)


def _move(rng, scene, volume, segmentation):
    kind = rng.integers(3)
    if kind == 0:
        volume.SetOrigin(*rng.uniform(-7, 7, 3).tolist())
        return
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    motion = rotation(rng.uniform(0, 30), rng.normal(size=3))
    motion[:3, 3] = rng.uniform(-5, 5, 3)
    transform.SetMatrixTransformToParent(vtk_matrix(motion))
    for node in (volume, segmentation) if kind == 1 else (volume,):
        node.SetAndObserveTransformNodeID(transform.GetID())


def _edit(rng, volume, segmentation, key):
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    mask = np.zeros(SHAPE, bool)
    k, j, i = (int(rng.integers(0, n - 5)) for n in SHAPE)
    mask[k : k + 5, j : j + 5, i : i + 5] = True
    to_segmentation = vtk_matrix(np.eye(4))
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        volume.GetParentTransformNode(), segmentation.GetParentTransformNode(), to_segmentation
    )
    image = oriented_image(mask, affine_of(to_segmentation) @ ijk_to_ras_of(volume))
    mode = logic.MODE_REPLACE if rng.random() < 0.7 else logic.MODE_MERGE_MASK
    logic.SetBinaryLabelmapToSegment(image, segmentation, key, mode)


def run_storm(seed, actions, folder):
    """Let a storm of `actions` pass; return it. Raises AssertionError, or whatever came that is no PromptSegError."""
    logging.disable(logging.WARNING)
    caught = []
    hook, sys.excepthook = sys.excepthook, lambda kind, error, trace: caught.append(error)
    storm = Storm(seed, folder)
    try:
        for _ in range(actions):
            storm.act()
            assert not caught, caught
        storm.end()
    finally:
        sys.excepthook = hook
        logging.disable(logging.NOTSET)
    return storm
