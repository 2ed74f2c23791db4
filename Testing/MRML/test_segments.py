"""Segments as masks, against a model in plain arrays: every geometry, layer, overwrite mode and masking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import add_segmentation, add_transform, add_volume, affine_of, rotation, vtk_matrix
from vtk.util.numpy_support import vtk_to_numpy

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import Extent, apply_affine, flip_axes
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.segments import SegmentMaskStore

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


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
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
