"""Segments as masks, against a model in plain arrays: every geometry, layer, overwrite mode and masking."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pytest
import slicer
import vtk
from fakes import BallPredictor
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import (
    add_segmentation,
    add_transform,
    add_volume,
    affine_of,
    oriented_image,
    rotation,
    vtk_matrix,
)
from vtk.util.numpy_support import vtk_to_numpy

from PromptSegLib.bitmask import Patch
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent, apply_affine, flip_axes
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.layers import layer_of
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.segments import SegmentMaskStore
from PromptSegLib.prompts import Point

SHAPE = (14, 16, 18)
EDITOR = slicer.vtkMRMLSegmentEditorNode
SEGMENTATION = slicer.vtkMRMLSegmentationNode


def oblique_affine(seed):
    """Return an affine: turned about a random axis, anisotropic, each axis perhaps flipped, shifted."""
    rng = np.random.default_rng(seed)
    affine = rotation(rng.uniform(-180, 180), rng.normal(size=3)) if seed % 4 else np.eye(4)
    affine[:3, :3] = affine[:3, :3] * rng.uniform(0.4, 5, 3) * rng.choice([-1, 1], 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def random_motion(seed):
    rng = np.random.default_rng(seed)
    affine = rotation(rng.uniform(-180, 180), rng.normal(size=3))
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return affine


def random_patch(rng):
    start = [int(rng.integers(0, n - 2)) for n in SHAPE]
    stop = [int(rng.integers(a + 1, n + 1)) for a, n in zip(start, SHAPE, strict=True)]
    extent = Extent(tuple(start), tuple(stop))
    return Patch(extent, rng.random(extent.shape_kji) < rng.choice([0.0, 0.3, 0.8, 1.0]))


def world_voxels(volume_node, segmentation_node, segment_id):
    """Return the volume's indices (n, 3), kji, of a segment's voxels, found by their position in the world."""
    segmentation = segmentation_node.GetSegmentation()
    segment = segmentation.GetSegment(segment_id)
    image = segment.GetRepresentation("Binary labelmap")
    if image is None or image.GetPointData().GetScalars() is None:
        return set()
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    if i1 < i0:
        return set()
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    index_ijk = flip_axes(np.argwhere(labels == segment.GetLabelValue())) + np.array([i0, j0, k0])
    to_world, matrix = vtk_matrix(np.eye(4)), vtk_matrix(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        segmentation_node.GetParentTransformNode(), None, to_world
    )
    points_world = apply_affine(affine_of(to_world) @ affine_of(matrix), index_ijk)
    volume_matrix, volume_to_world = vtk_matrix(np.eye(4)), vtk_matrix(np.eye(4))
    volume_node.GetIJKToRASMatrix(volume_matrix)
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        volume_node.GetParentTransformNode(), None, volume_to_world
    )
    ijk_to_world = affine_of(volume_to_world) @ affine_of(volume_matrix)
    nearest = np.rint(apply_affine(np.linalg.inv(ijk_to_world), points_world))
    assert len(nearest) == 0 or np.abs(apply_affine(ijk_to_world, nearest) - points_world).max() < 1e-6
    return {tuple(int(n) for n in flip_axes(voxel)) for voxel in nearest}


def voxels_of(mask_kji):
    return {tuple(int(n) for n in voxel) for voxel in np.argwhere(mask_kji)}


@dataclass
class Case:
    """What a store is tried on."""

    seed: int
    volume_moved: bool
    segmentation_moved: bool
    shared: bool
    overwrite: int
    masking: str


CASES = st.builds(
    Case,
    seed=st.integers(0, 2**20),
    volume_moved=st.booleans(),
    segmentation_moved=st.booleans(),
    shared=st.booleans(),
    overwrite=st.sampled_from([EDITOR.OverwriteNone, EDITOR.OverwriteVisibleSegments, EDITOR.OverwriteAllSegments]),
    masking=st.sampled_from(["", "", "inside segment", "outside all", "intensity"]),
)


class Stage:
    """A volume and a segmentation with three segments in a scene, and the same in plain arrays."""

    def __init__(self, scene, case):
        self.rng = rng = np.random.default_rng(case.seed)
        values = rng.integers(0, 100, SHAPE).astype(np.int16)
        self.volume = add_volume(scene, values, oblique_affine(case.seed))
        self.masks = {"target": rng.random(SHAPE) < 0.2}
        self.masks["shown"] = (rng.random(SHAPE) < 0.3) & ~self.masks["target"]
        self.masks["hidden"] = (rng.random(SHAPE) < 0.3) & ~self.masks["target"] & ~self.masks["shown"]
        self.segmentation = add_segmentation(scene, self.volume, {})
        self.editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.editor.SetAndObserveSegmentationNode(self.segmentation)
        self.editor.SetAndObserveSourceVolumeNode(self.volume)
        self.editor.SetOverwriteMode(EDITOR.OverwriteNone)
        if case.volume_moved:
            add_transform(scene, random_motion(case.seed + 1), self.volume)
        if case.segmentation_moved:
            add_transform(scene, random_motion(case.seed + 2), self.segmentation)
        self.store = SegmentMaskStore(self.volume, self.segmentation, self.editor)
        ids = {}
        for name, mask in self.masks.items():
            ids[name] = self.store.add(name)
            self.store.write(ids[name], Patch(Extent.of_shape(SHAPE), mask))
        self.ids = ids
        if not case.shared:
            for segment_id in ids.values():
                self.segmentation.GetSegmentation().SeparateSegmentLabelmap(segment_id)
        self.segmentation.GetDisplayNode().SetSegmentVisibility(ids["hidden"], False)
        self.editor.SetOverwriteMode(case.overwrite)
        self.editable = self._set_masking(case.masking, values)
        self.overwritten = {
            EDITOR.OverwriteNone: [],
            EDITOR.OverwriteVisibleSegments: ["shown"],
            EDITOR.OverwriteAllSegments: ["shown", "hidden"],
        }[case.overwrite]

    def _set_masking(self, masking, values):
        if masking == "inside segment":
            self.editor.SetMaskMode(SEGMENTATION.EditAllowedInsideSingleSegment)
            self.editor.SetMaskSegmentID(self.ids["shown"])
            return lambda: self.masks["shown"] | False
        if masking == "outside all":
            self.editor.SetMaskMode(SEGMENTATION.EditAllowedOutsideAllSegments)
            return lambda: ~(self.masks["shown"] | self.masks["hidden"])
        if masking == "intensity":
            self.editor.SetSourceVolumeIntensityMask(True)
            self.editor.SetSourceVolumeIntensityMaskRange(20, 70)
            return lambda: (values >= 20) & (values <= 70)
        return lambda: np.ones(SHAPE, dtype=bool)

    def write(self, patch):
        deltas = self.store.write(self.ids["target"], patch)
        before = self.masks["target"]
        wanted = before.copy()
        wanted[patch.extent.slices] = patch.mask_kji
        editable = self.editable()
        added, removed = wanted & ~before & editable, before & ~wanted
        if self.editor.GetMaskMode() == SEGMENTATION.EditAllowedInsideSingleSegment:
            # Slicer's own rule: what is erased while painting inside a segment is given back to that segment.
            self.masks["shown"] = self.masks["shown"] | removed
        else:
            removed &= editable
        self.masks["target"] = before & ~removed | added
        for name in self.overwritten:
            self.masks[name] = self.masks[name] & ~added
        return deltas

    def check(self):
        for name, mask in self.masks.items():
            assert world_voxels(self.volume, self.segmentation, self.ids[name]) == voxels_of(mask), name
            assert np.array_equal(self.store.read(self.ids[name], Extent.of_shape(SHAPE)), mask), name
            snapshot = self.store.snapshot(self.ids[name])
            assert np.array_equal(snapshot.read() if snapshot else np.zeros(SHAPE, bool), mask), name
        assert self.store.foreign_edits() == {}


@settings(max_examples=60)
@given(case=CASES)
def test_every_voxel_lies_in_the_world_where_it_was_predicted_and_neighbours_follow_the_rules(case):
    with start_scene() as standalone:
        stage = Stage(standalone.scene, case)
        stage.check()
        history = []
        for _ in range(3):
            before = {name: mask.copy() for name, mask in stage.masks.items()}
            deltas = stage.write(random_patch(stage.rng))
            stage.check()
            history.append((before, {name: mask.copy() for name, mask in stage.masks.items()}, deltas))
        for before, _, deltas in reversed(history):
            for key, delta in reversed(deltas.items()):
                stage.store.apply(key, delta, revert=True)
            stage.masks = before
            stage.check()
        for _, after, deltas in history:
            for key, delta in deltas.items():
                stage.store.apply(key, delta, revert=False)
            stage.masks = after
            stage.check()


def other_grid(affine, kind):
    """Return shape (k, j, i) and affine of a grid on the lattice of `affine` : axes permuted, flipped, cropped."""
    matrix, shape = np.array(affine), list(SHAPE)
    if kind in ("permuted", "all"):
        matrix[:3, :3] = matrix[:3, [1, 2, 0]]
        shape = [SHAPE[2], SHAPE[0], SHAPE[1]]
    if kind in ("flipped", "all"):
        matrix[:3, 3] += matrix[:3, 0] * (shape[2] - 1) + matrix[:3, 2] * (shape[0] - 1)
        matrix[:3, [0, 2]] *= -1
    if kind in ("cropped", "all"):
        matrix[:3, 3] += matrix[:3, :3] @ [2, 1, 3]
        shape = [shape[0] - 3, shape[1] - 1, shape[2] - 2]
    return tuple(shape), matrix


@pytest.mark.parametrize("kind", ["permuted", "flipped", "cropped", "all"])
@pytest.mark.parametrize("has_neighbour", [False, True])
def test_a_segmentation_on_a_permuted_flipped_or_cropped_grid_is_written_exactly(kind, has_neighbour, caplog):
    rng = np.random.default_rng(5)
    affine = oblique_affine(5)
    with start_scene() as standalone:
        volume = add_volume(standalone.scene, np.zeros(SHAPE, np.int16), affine)
        shape, matrix = other_grid(affine, kind)
        other = add_volume(standalone.scene, np.zeros(shape, np.int16), matrix)
        neighbour = np.zeros(shape, dtype=bool)
        neighbour[:2, :2, :2] = has_neighbour
        segmentation = add_segmentation(standalone.scene, other, {"neighbour": neighbour} if has_neighbour else {})
        editor = standalone.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        editor.SetOverwriteMode(EDITOR.OverwriteNone)
        store = SegmentMaskStore(volume, segmentation, editor)
        key = store.add("target")
        mask = rng.random(SHAPE) < 0.4
        deltas = store.write(key, Patch(Extent.of_shape(SHAPE), mask))
        assert world_voxels(volume, segmentation, key) == voxels_of(mask)
        assert np.array_equal(store.snapshot(key).read(), mask)
        assert store.image_extent(key, deltas[key].extent) == Extent.of_mask(mask)
        assert not caplog.records
        store.apply(key, deltas[key], revert=True)
        assert not store.read(key, Extent.of_shape(SHAPE)).any()


def test_another_grid_is_resampled_to_the_nearest_voxel_with_a_warning(caplog):
    with start_scene() as standalone:
        volume = add_volume(standalone.scene, np.zeros((30, 32, 34), np.int16))
        coarse = add_volume(
            standalone.scene,
            np.zeros((12, 12, 12), np.int16),
            np.diag([2.5, 2.5, 2.5, 1]) @ rotation(20, (0, 0, 1)),
        )
        segmentation = add_segmentation(standalone.scene, coarse, {"neighbour": np.ones((12, 12, 12), bool)})
        editor = standalone.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        editor.SetOverwriteMode(EDITOR.OverwriteNone)
        with caplog.at_level(logging.WARNING):
            store = SegmentMaskStore(volume, segmentation, editor)
        assert "nearest" in caplog.text
        key = store.add("target")
        k, j, i = np.ogrid[:30, :32, :34]
        ball = (k - 14) ** 2 + (j - 16) ** 2 + (i - 8) ** 2 <= 49
        delta = store.write(key, Patch(Extent.of_shape(ball.shape), ball))[key]
        written = store.read(key, Extent.of_shape(ball.shape))
        assert 2 * (written & ball).sum() / (written.sum() + ball.sum()) > 0.85
        store.apply(key, delta, revert=True)
        assert not store.read(key, Extent.of_shape(ball.shape)).any()


def test_a_nonlinear_transform_is_refused_with_the_way_out():
    with start_scene() as standalone:
        volume = add_volume(standalone.scene, np.zeros(SHAPE, np.int16))
        segmentation = add_segmentation(standalone.scene, volume, {})
        warp = standalone.scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
        spline = vtk.vtkThinPlateSplineTransform()
        points = vtk.vtkPoints()
        for corner in np.argwhere(np.ones((2, 2, 2))) * 10.0:
            points.InsertNextPoint(*corner)
        moved = vtk.vtkPoints()
        moved.DeepCopy(points)
        moved.SetPoint(0, 3, 1, 2)
        spline.SetSourceLandmarks(points)
        spline.SetTargetLandmarks(moved)
        warp.SetAndObserveTransformToParent(spline)
        volume.SetAndObserveTransformNodeID(warp.GetID())
        editor = standalone.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        with pytest.raises(GeometryError, match=r"nonlinear.*'warp'.*harden"):
            SegmentMaskStore(volume, segmentation, editor)
        segmentation.SetAndObserveTransformNodeID(warp.GetID())
        SegmentMaskStore(volume, segmentation, editor)


def test_an_edit_by_somebody_else_is_noticed_to_the_voxel():
    with start_scene() as standalone:
        stage = Stage(standalone.scene, Case(3, True, False, True, EDITOR.OverwriteNone, ""))
        stage.check()
        box = np.zeros(SHAPE, dtype=bool)
        box[3:6, 3:6, 3:6] = True
        stage.store.writer._editor.ModifySegmentByLabelmap(
            stage.segmentation,
            stage.ids["target"],
            oriented_image(box, stage.store._lattices.default),
            stage.store.writer._editor.ModificationModeRemove,
            False,
            False,
        )
        edits = stage.store.foreign_edits()
        assert set(edits) == {stage.ids["target"]}
        delta = edits[stage.ids["target"]]
        assert delta.changed_voxels() == (stage.masks["target"] & box).sum()
        stage.store.apply(stage.ids["target"], delta, revert=True)
        stage.check()


def test_a_segment_that_others_emptied_comes_back_by_undo_though_it_was_drawn_on_meanwhile():
    """An empty segment may be drawn on the volume's own lattice; what is to be taken back lay on another one."""
    with start_scene() as standalone:
        volume = add_volume(standalone.scene, np.zeros((30, 32, 34), np.int16))
        other = np.zeros((30, 32, 34), bool)
        other[20:25, 20:25, 20:25] = True
        segmentation = add_segmentation(standalone.scene, volume, {"other": other})
        mask = np.zeros((12, 12, 12), bool)
        mask[3:6, 4:8, 5:9] = True
        image = oriented_image(mask, np.diag([2.5, 2.5, 2.5, 1]) @ rotation(20, (0, 0, 1)))
        segment = slicer.vtkSegment()
        segment.AddRepresentation("Binary labelmap", image)
        segmentation.GetSegmentation().AddSegment(segment, "organ")
        session = SceneSession(volume, segmentation, "organ", BallPredictor())
        before = session.mask_kji
        assert not session.is_empty
        layer = layer_of(segmentation.GetSegmentation(), session.target)
        layer.array[:] = 0
        layer.image.Modified()
        assert not session.mask_kji.any()
        session.add(Point((12.0, 15.0, 20.0)))
        drawn = session.mask_kji
        assert drawn.any()
        assert [session.undo(), session.mask_kji.any()] == ["add point+", False]
        assert session.undo() == "edit"
        assert np.array_equal(session.mask_kji, before)
        assert [session.redo(), session.redo()] == ["edit", "add point+"]
        assert np.array_equal(session.mask_kji, drawn)


def test_when_the_segmentation_is_moved_against_the_volume_earlier_changes_are_given_up():
    with start_scene() as standalone:
        stage = Stage(standalone.scene, Case(4, False, False, True, EDITOR.OverwriteNone, ""))
        before = stage.store.revision
        add_transform(standalone.scene, random_motion(9), stage.segmentation)
        stage.store.foreign_edits()
        assert stage.store.revision == before + 1
