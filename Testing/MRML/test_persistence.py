"""Saved and loaded, prompts and segments are where they were, under every geometry, and the session goes on."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import BallPredictor
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import add_segmentation, add_transform, add_volume
from test_segments import oblique_affine, random_motion, world_voxels

from PromptSegLib.geometry import apply_affine
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.transforms import node_to_world
from PromptSegLib.prompts import Box, Lasso, Point, Scribble, VoxelScribble

SHAPE = (14, 16, 18)


def world_positions(session, target):
    """Return the (n, 3) world positions of a segment's voxels, sorted."""
    index_kji = np.array(sorted(world_voxels(session.volume_node, session.segmentation_node, target)))
    positions = node_to_world(session.image.grid.to_ras(index_kji[:, [2, 1, 0]]), session.volume_node)
    return positions[np.lexsort(np.round(positions, 3).T)]


def a_session(scene, seed, volume_moved, segmentation_moved):
    rng = np.random.default_rng(seed)
    affine = oblique_affine(seed)
    volume = add_volume(scene, rng.integers(0, 99, SHAPE).astype(np.int16), affine, name="image")
    segmentation = add_segmentation(scene, volume, {})
    if volume_moved:
        add_transform(scene, random_motion(seed + 1), volume)
    if segmentation_moved:
        add_transform(scene, random_motion(seed + 2), segmentation)
    radius = 3 * float(np.linalg.norm(affine[:3, :3], axis=0).max())
    session = SceneSession(volume, segmentation, predictor=BallPredictor(radius))
    corners = apply_affine(affine, [[3, 3, 5], [9, 3, 5], [9, 9, 5], [3, 9, 5]])
    for center in ([6, 7, 6], [11, 9, 8]):
        session.add(Point(tuple(apply_affine(affine, center))))
        session.add(Point(tuple(apply_affine(affine, [2, 2, 2])), positive=False))
        session.add_target()
    session.select(session.targets[0])
    session.auto = False
    session.add(Box.from_indices(session.image.grid, [2, 3, 4], [9, 9, 4]))
    session.add(Scribble(tuple(map(tuple, corners)), width_mm=1.5))
    session.add(VoxelScribble(tuple(map(tuple, corners)), positive=False))
    session.add(Lasso(tuple(map(tuple, corners))))
    return session


@settings(max_examples=10)
@given(seed=st.integers(0, 2**20), volume_moved=st.booleans(), segmentation_moved=st.booleans())
def test_an_mrb_keeps_prompts_and_segments_where_they_were(tmp_path_factory, seed, volume_moved, segmentation_moved):
    path = tmp_path_factory.mktemp("scene") / "case.mrb"
    with start_scene() as standalone:
        session = a_session(standalone.scene, seed, volume_moved, segmentation_moved)
        prompts = {key: session.prompts(key) for key in session.targets}
        before = {key: world_positions(session, key) for key in session.targets[:2]}
        session.close()
        save_mrb(standalone.scene, path)
    with start_scene() as standalone:
        open_mrb(standalone.scene, path)
        volume = standalone.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        segmentation = standalone.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        again = SceneSession(volume, segmentation, predictor=BallPredictor(1.0))
        assert {key: again.prompts(key) for key in again.targets} == prompts
        for key, positions in before.items():
            assert world_positions(again, key) == pytest.approx(positions, abs=1e-4)
        count = again.mask_kji.sum()
        again.predict()
        assert again.undo() == "predict"
        assert again.mask_kji.sum() == count
        again.close()


@settings(max_examples=10)
@given(seed=st.integers(0, 2**20))
def test_a_seg_nrrd_keeps_segments_where_they_were(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("segmentation") / "case.seg.nrrd"
    with start_scene() as standalone:
        session = a_session(standalone.scene, seed, False, False)
        before = {key: world_positions(session, key) for key in session.targets[:2]}
        storage = standalone.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.WriteData(session.segmentation_node)
        loaded = standalone.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        assert storage.ReadData(loaded)
        again = SceneSession(session.volume_node, loaded, predictor=BallPredictor(1.0))
        for key, positions in before.items():
            assert world_positions(again, key) == pytest.approx(positions, abs=1e-4)
        again.close()
        session.close()
