"""Several volumes of one patient in a scene, each on a grid and under a transform of its own."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from fakes import BallPredictor, HotInBodyPredictor
from scenes import GEOMETRIES, add_transform, add_volume, add_volume_of, placed, rotation, volume_array, vtk_matrix

from PromptSegLib.errors import GeometryError, SceneError, VolumeError
from PromptSegLib.geometry import apply_affine, flip_axes
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.console_lines import console_lines
from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.state_node import StateNode
from PromptSegLib.mrml.volumes import volume_from_node

SHAPE = (20, 24, 28)
RADIUS_MM = 7.0


@pytest.fixture
def scene():
    with start_scene() as standalone:
        yield standalone.scene


def distance_mm(shape_kji, ijk_to_world, centre_world):
    index_ijk = flip_axes(np.moveaxis(np.indices(shape_kji), 0, -1))
    return np.linalg.norm(apply_affine(ijk_to_world, index_ijk) - centre_world, axis=-1)


def hot_ball(shape_kji, ijk_to_world, centre_world):
    """Values linear in the distance from the centre, 50 on the ball's surface."""
    return np.clip(50 + 5 * (RADIUS_MM - distance_mm(shape_kji, ijk_to_world, centre_world)), 0, None)


def add_ct_and_pet(scene, geometry, pet_parent=None):
    """Add a CT of one of the GEOMETRIES, and a PET on an oblique grid, under `pet_parent`, around its middle."""
    ct = add_volume_of(scene, geometry, np.full(SHAPE, 40, dtype=np.int16), name="CT")
    ijk_to_ras, parent = GEOMETRIES[geometry]
    ct_to_world = ijk_to_ras if parent is None else parent @ ijk_to_ras
    centre = apply_affine(ct_to_world, (flip_axes(SHAPE) - 1) / 2)
    pet_to_world = rotation(35, (2, -1, 1)) @ np.diag([2.5, 2.5, 3.0, 1.0])
    pet_shape = (30, 30, 30)
    pet_to_world = placed(pet_to_world, centre - pet_to_world[:3, :3] @ ((flip_axes(pet_shape) - 1) / 2))
    parent = np.eye(4) if pet_parent is None else pet_parent
    pet = add_volume(scene, hot_ball(pet_shape, pet_to_world, centre), np.linalg.inv(parent) @ pet_to_world, name="PET")
    transform = add_transform(scene, parent, pet)
    return ct, pet, transform, centre, ct_to_world


def assert_is_the_ball(session, ct_to_world, centre):
    distance = distance_mm(SHAPE, ct_to_world, centre)
    mask = session.mask_kji
    assert mask[distance < RADIUS_MM - 1].all()
    assert not mask[distance > RADIUS_MM + 1].any()


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("pet_parent", [None, placed(rotation(25, (1, 0, 2)), (40, -30, 12))], ids=["free", "moved"])
def test_a_second_volume_is_seen_where_it_is_in_the_world(scene, geometry, pet_parent):
    ct, pet, _, centre, ct_to_world = add_ct_and_pet(scene, geometry, pet_parent)
    session = SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor())
    assert session.volume_node is ct
    session.add_world(centre)
    assert_is_the_ball(session, ct_to_world, centre)


def test_moving_a_channel_moves_what_is_seen_of_it(scene):
    ct, pet, transform, centre, ct_to_world = add_ct_and_pet(scene, "oblique")
    session = SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor())
    session.add_world(centre)
    before = session.image
    ct.SetName("renamed")
    session.add_world(centre + 1)
    assert session.image is before, "a new name is no reason to resample"
    shift = np.array([5.0, -3.0, 4.0])
    transform.SetMatrixTransformToParent(vtk_matrix(placed(np.eye(4), shift)))
    session.add_world(centre)
    assert_is_the_ball(session, ct_to_world, centre + shift)


def test_a_transform_above_both_leaves_the_image_as_it_is(scene):
    ct, pet, *_ = add_ct_and_pet(scene, "flipped")
    pet.SetAndObserveTransformNodeID(None)
    session = SceneSession({"ct": ct, "pet": pet}, predictor=BallPredictor())
    before = session.image.channels["pet"].array.copy()
    add_transform(scene, placed(rotation(30, (0, 0, 1)), (10, 20, 30)), ct, pet)
    session.add_world(apply_affine(placed(rotation(30, (0, 0, 1)), (10, 20, 30)), (-60.0, 5, 20)))
    np.testing.assert_allclose(session.image.channels["pet"].array, before, atol=1e-4)


def test_changed_voxels_of_a_channel_are_seen(scene):
    ct, pet, _, centre, _ = add_ct_and_pet(scene, "isotropic")
    session = SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor())
    session.add_world(centre)
    assert session.mask_kji.any()
    volume_array(pet)[...] = 0
    pet.GetImageData().Modified()
    session.add_world(centre + 1)
    assert not session.mask_kji.any()


def test_a_channel_on_the_reference_s_grid_shares_its_voxels(scene):
    ct, t1 = (add_volume_of(scene, "oblique", np.zeros(SHAPE, np.int16), name=name) for name in ("CT", "T1"))
    session = SceneSession({"ct": ct, "t1": t1}, predictor=BallPredictor())
    assert np.shares_memory(session.image.channels["t1"].array, volume_from_node(t1).array)


def test_channels_that_lie_apart_are_refused_and_nothing_is_left_in_the_scene(scene):
    ct, pet, transform, centre, _ = add_ct_and_pet(scene, "oblique")
    session = SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor())
    session.add_world(centre)
    mask = session.mask_kji
    transform.SetMatrixTransformToParent(vtk_matrix(placed(np.eye(4), (900, 0, 0))))
    with pytest.raises(GeometryError, match="they do not overlap"):
        session.add_world(centre + 1)
    transform.SetMatrixTransformToParent(vtk_matrix(np.eye(4)))
    assert np.array_equal(session.mask_kji, mask)
    session.add_world(centre + 1)
    session.close()
    transform.SetMatrixTransformToParent(vtk_matrix(placed(np.eye(4), (900, 0, 0))))
    count = scene.GetNumberOfNodes()
    with pytest.raises(GeometryError, match="they do not overlap"):
        SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor())
    assert scene.GetNumberOfNodes() == count


def test_a_nonlinear_transform_between_channels_is_refused_but_not_one_above_both(scene):
    ct, pet, *_ = add_ct_and_pet(scene, "isotropic")
    warp = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    spline = vtk.vtkThinPlateSplineTransform()
    points = [vtk.vtkPoints(), vtk.vtkPoints()]
    for p in [(0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (50, 50, 50)]:
        points[0].InsertNextPoint(p)
        points[1].InsertNextPoint([2 * v if v else 1 for v in p])
    spline.SetSourceLandmarks(points[0])
    spline.SetTargetLandmarks(points[1])
    spline.SetBasisToR()
    warp.SetAndObserveTransformToParent(spline)
    ct.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(GeometryError, match="nonlinear one: 'warp'"):
        SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor())
    pet.SetAndObserveTransformNodeID(warp.GetID())
    assert list(SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor()).image.channels) == ["ct", "pet"]


def test_what_is_missing_is_named(scene):
    ct = add_volume_of(scene, "isotropic", np.zeros(SHAPE, np.int16))
    with pytest.raises(VolumeError, match="expected the channels ct, pet for 'pet-ct', got ct: pet missing"):
        SceneSession({"ct": ct}, predictor=HotInBodyPredictor())
    with pytest.raises(SceneError, match="at least one volume"):
        SceneSession({}, predictor=BallPredictor())
    with pytest.raises(SceneError, match="expected a vtkMRMLVolumeNode that is in a scene, got NoneType"):
        SceneSession({"ct": ct, "pet": None}, predictor=BallPredictor())
    with start_scene() as other:
        elsewhere = add_volume(other.scene, np.zeros(SHAPE), name="elsewhere")
        with pytest.raises(SceneError, match="got elsewhere in another one"):
            SceneSession({"ct": ct, "pet": elsewhere}, predictor=BallPredictor())


def test_a_saved_scene_knows_which_volume_is_which_channel(scene, tmp_path):
    ct, pet, _, centre, ct_to_world = add_ct_and_pet(scene, "oblique")
    SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor()).close()
    save_mrb(scene, tmp_path / "scene.mrb")
    with start_scene() as other:
        open_mrb(other.scene, tmp_path / "scene.mrb")
        volume = other.scene.GetFirstNodeByName("CT")
        segmentation = other.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        session = SceneSession(volume, segmentation, predictor=HotInBodyPredictor())
        assert {name: node.GetName() for name, node in session.volume_nodes.items()} == {"ct": "CT", "pet": "PET"}
        session.add_world(centre)
        assert_is_the_ball(session, ct_to_world, centre)


def test_removing_a_channel_s_volume_ends_the_session_and_the_state_s_end_keeps_the_volumes(scene):
    ct, pet, *_ = add_ct_and_pet(scene, "isotropic")
    session = SceneSession({"pet": pet, "ct": ct}, predictor=HotInBodyPredictor())
    ct.SetHideFromEditors(True)
    (state,) = StateNode.find_all(scene)
    session.close()
    state.remove()
    assert ct.GetScene() is scene
    session = SceneSession({"pet": pet, "ct": ct}, predictor=HotInBodyPredictor())
    scene.RemoveNode(ct)
    with pytest.raises(VolumeError, match="ct missing"):
        SceneSession(pet, session.segmentation_node, predictor=HotInBodyPredictor())


def test_the_console_lines_name_the_channels(scene, monkeypatch):
    ct, pet, _, centre, _ = add_ct_and_pet(scene, "permuted")
    session = SceneSession({"ct": ct, "pet": pet}, predictor=HotInBodyPredictor())
    session.add_world(centre)
    lines = console_lines(session)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    names = {}
    exec(lines.replace("predictor='pet-ct'", "predictor='fakes:HotInBodyPredictor'"), names)
    assert np.array_equal(names["session"].mask_kji, session.mask_kji)
