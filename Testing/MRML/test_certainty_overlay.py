"""How sure the answers are lies over the slice views where the anatomy is, and leaves nothing when it goes."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from fakes import BallPredictor, SureBallPredictor, sureness
from scenes import (
    GEOMETRIES,
    add_segmentation,
    add_transform,
    add_volume,
    add_volume_of,
    ijk_to_ras_of,
    ijk_to_world_of,
    oriented_image,
    rotation,
    volume_array,
)
from test_scene_session import user_nodes

from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import SceneError
from PromptSegLib.geometry import apply_affine, flip_axes
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.transforms import node_to_world
from PromptSegLib.prompts import Point

SHAPE = (26, 30, 34)
A, B = Point((16.0, 14.0, 12.0)), Point((20.0, 14.0, 12.0), positive=False)
ELSEWHERE = Point((10.0, 10.0, 10.0))


@pytest.fixture
def scene():
    with start_scene() as standalone:
        yield standalone.scene


@pytest.fixture
def a_volume(scene):
    return add_volume(scene, np.zeros(SHAPE, dtype=np.int16), name="CT")


@pytest.fixture
def views(scene, a_volume):
    """Three slice views of the CT; in the second one a PET lies over it, added to it at 0.3."""
    nodes = [add_view(scene, name, a_volume) for name in ("Red", "Green", "Yellow")]
    pet = add_volume(scene, np.ones(SHAPE, dtype=np.float32), name="PET")
    nodes[1].SetForegroundVolumeID(pet.GetID())
    nodes[1].SetForegroundOpacity(0.3)
    nodes[1].SetCompositing(nodes[1].Add)
    return nodes


def add_view(scene, name, volume):
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", name)
    view.SetLayoutName(name)
    view.SetBackgroundVolumeID(volume.GetID())
    return view


def foregrounds(views):
    return [(view.GetForegroundVolumeID(), view.GetForegroundOpacity(), view.GetCompositing()) for view in views]


def a_session(volume, predictor=None, segmentation=None, **options):
    return SceneSession(volume, segmentation, predictor=predictor or SureBallPredictor(), **options)


def assert_shows(session, *prompts, radius_mm=5.0):
    """Check every voxel of the volume shown, and where it lies in the world."""
    node, volume = session.certainty_node, session.volume_node
    expected = sureness(session.image.grid, prompts, radius_mm)
    shown = volume_array(node)
    first_ijk = apply_affine(np.linalg.inv(ijk_to_ras_of(volume)) @ ijk_to_ras_of(node), (0, 0, 0))
    np.testing.assert_allclose(first_ijk, np.rint(first_ijk), atol=1e-9)
    start = flip_axes(np.rint(first_ijk)).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(start, shown.shape, strict=True))
    np.testing.assert_allclose(shown, expected[box], atol=1 / 500)
    np.testing.assert_allclose(ijk_to_ras_of(node)[:3, :3], ijk_to_ras_of(volume)[:3, :3], atol=1e-12)
    assert (expected[box] >= 0.5).sum() == (expected >= 0.5).sum()
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_it_lies_where_the_anatomy_is(scene, geometry):
    volume = add_volume_of(scene, geometry, np.zeros(SHAPE, dtype=np.int16))
    session = a_session(volume)
    session.show_certainty()
    point = Point(tuple(session.image.grid.to_ras((15, 13, 12))))
    session.add_world(node_to_world([point.position_ras], volume)[0])
    assert_shows(session, point)
    node = session.certainty_node
    shown = volume_array(node)
    brightest = flip_axes(np.unravel_index(shown.argmax(), shown.shape))
    world = node_to_world([apply_affine(ijk_to_ras_of(node), brightest)], node)[0]
    np.testing.assert_allclose(world, apply_affine(ijk_to_world_of(geometry), (15, 13, 12)), atol=1e-9)


def test_it_is_shown_from_0_to_1_in_two_hues_and_what_is_unlikely_is_transparent(a_volume):
    session = a_session(a_volume)
    session.show_certainty()
    session.add(A)
    display = session.certainty_node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    assert not display.GetAutoWindowLevel()
    assert display.GetApplyThreshold()
    assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (0.2, 1.0)
    colors, color = display.GetColorNode(), [0.0] * 4
    reddish = []
    for share in (0.25, 0.495, 0.505, 0.95):
        colors.GetColor(int(share * colors.GetNumberOfColors()), color)
        reddish.append(color[0] > color[2])
    assert reddish == [False, False, True, True]
    segment = session.segmentation_node.GetSegmentation().GetSegment(session.target)
    assert session.certainty_node.GetName() == f"{segment.GetName()} certainty"


def test_off_again_the_views_and_all_other_nodes_are_as_before(scene, a_volume, views):
    session = a_session(a_volume)
    session.add(A)
    display = session.segmentation_node.GetDisplayNode()
    before, layers = user_nodes(scene), foregrounds(views)
    session.show_certainty()
    assert foregrounds(views) == [(session.certainty_node.GetID(), 0.5, views[0].Alpha)] * 3
    assert not display.GetSegmentVisibility2DFill(session.target), "its filling would mix with the colours"
    assert display.GetVisibility2DFill()
    session.show_certainty(False)
    assert foregrounds(views) == layers
    assert session.certainty_node is None
    assert display.GetSegmentVisibility2DFill(session.target)
    assert user_nodes(scene) == before


def test_a_segment_that_was_an_outline_stays_one(a_volume):
    session = a_session(a_volume)
    session.add(A)
    display = session.segmentation_node.GetDisplayNode()
    display.SetSegmentVisibility2DFill(session.target, False)
    session.show_certainty()
    session.show_certainty(False)
    assert not display.GetSegmentVisibility2DFill(session.target)


def test_it_follows_clicks_undo_redo_targets_and_what_is_accepted(scene, a_volume, views):
    before = foregrounds(views)
    session = a_session(a_volume)
    session.show_certainty()
    assert session.certainty_node is None
    session.add(A)
    assert_shows(session, A)
    session.add(B)
    assert_shows(session, A, B)
    session.undo()
    assert_shows(session, A)
    session.undo()
    assert session.certainty_node is None
    assert foregrounds(views) == before
    session.redo()
    session.redo()
    assert_shows(session, A, B)
    first, second = session.target, session.add_target("second")
    assert session.certainty_node is None
    session.add(ELSEWHERE)
    assert_shows(session, ELSEWHERE)
    assert session.certainty_node.GetName() == "second certainty"
    display = session.segmentation_node.GetDisplayNode()
    assert [display.GetSegmentVisibility2DFill(key) for key in (first, second)] == [True, False]
    session.select(first)
    assert session.certainty_node.GetName() == "segment certainty"
    assert [display.GetSegmentVisibility2DFill(key) for key in (first, second)] == [False, True]
    session.accept()
    assert session.certainty_node is None
    assert foregrounds(views) == before


def test_an_edit_by_hand_ends_it_and_undoing_that_brings_it_back(a_volume):
    session = a_session(a_volume)
    session.show_certainty()
    session.add(A)
    session.set_mask(np.zeros(SHAPE, dtype=bool))
    assert session.certainty_node is None
    session.undo()
    assert_shows(session, A)
    brush = np.zeros(SHAPE, dtype=bool)
    brush[2:4, 2:4, 2:4] = True
    write = slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment
    write(oriented_image(brush, ijk_to_ras_of(a_volume)), session.segmentation_node, session.target)
    session.take_edits()
    assert session.certainty_node is None


def test_nothing_is_computed_while_it_is_off_and_once_for_each_answer_while_it_is_on(a_volume, monkeypatch):
    computed = []
    probability = Certainty.probability_kji.fget
    monkeypatch.setattr(Certainty, "probability_kji", property(lambda c: computed.append(c) or probability(c)))
    session = a_session(a_volume)
    session.add(A)
    session.undo()
    session.redo()
    assert computed == []
    session.show_certainty()
    session.add(B)
    session.select(session.target)
    add_transform(a_volume.GetScene(), rotation(10, (0, 0, 1)), a_volume)
    assert len(computed) == 2
    session.show_certainty(False)
    session.undo()
    assert len(computed) == 2


def test_it_moves_with_the_volume(scene, a_volume):
    session = a_session(a_volume)
    session.show_certainty()
    session.add(A)
    add_transform(scene, rotation(25, (1, 0, 0)), a_volume)
    assert_shows(session, A)
    a_volume.SetAndObserveTransformNodeID(None)
    assert_shows(session, A)
    a_volume.SetOrigin(5.0, 6.0, 7.0)
    x, y, z = A.position_ras
    assert_shows(session, Point((x + 5.0, y + 6.0, z + 7.0)))


def test_a_model_that_does_not_say_how_sure_it_is_shows_nothing(scene, a_volume, views):
    before = foregrounds(views)
    session = a_session(a_volume)
    session.show_certainty()
    session.add(A)
    session.use(BallPredictor())
    assert_shows(session, A)
    session.add(B)
    assert session.certainty_node is None
    assert foregrounds(views) == before
    session.undo()
    assert_shows(session, A)


def test_what_the_user_makes_of_the_views_meanwhile_stays(scene, a_volume, views):
    pet = views[1].GetForegroundVolumeID()
    session = a_session(a_volume)
    session.show_certainty()
    session.add(A)
    views[0].SetForegroundVolumeID(pet)
    views[2].SetForegroundOpacity(0.8)
    session.add(B)
    assert views[0].GetForegroundVolumeID() == pet
    assert views[2].GetForegroundOpacity() == 0.8
    session.undo()
    session.undo()
    assert foregrounds(views)[2] == (None, 0.0, 0)
    session.redo()
    assert views[2].GetForegroundOpacity() == 0.8
    views[0].SetForegroundVolumeID(pet)
    views[1].SetForegroundVolumeID(None)
    session.show_certainty(False)
    assert [view.GetForegroundVolumeID() for view in views] == [pet, None, None]


def test_views_that_come_later_show_it_and_views_that_went_are_no_matter(scene, a_volume, views):
    session = a_session(a_volume)
    session.show_certainty()
    session.add(A)
    added = add_view(scene, "Slice4", a_volume)
    assert added.GetForegroundVolumeID() == session.certainty_node.GetID()
    scene.RemoveNode(views[0])
    session.show_certainty(False)
    assert added.GetForegroundVolumeID() is None


def test_a_foreground_that_was_removed_meanwhile_is_not_put_back(scene, a_volume, views):
    pet = scene.GetNodeByID(views[1].GetForegroundVolumeID())
    session = a_session(a_volume)
    session.show_certainty()
    session.add(A)
    scene.RemoveNode(pet)
    session.show_certainty(False)
    assert foregrounds(views)[1] == (None, 0.3, views[1].Add)


def node_ids(scene):
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def test_removing_the_volume_shown_switches_it_off(scene, a_volume, views):
    before = foregrounds(views)
    session = a_session(a_volume)
    session.add(A)
    nodes = node_ids(scene)
    session.show_certainty()
    scene.RemoveNode(session.certainty_node)
    assert foregrounds(views) == before
    assert not session.shows_certainty
    session.add(B)
    assert session.certainty_node is None
    assert node_ids(scene) == nodes
    session.show_certainty()
    assert_shows(session, A, B)


@pytest.mark.parametrize("end", ["close", "volume", "segmentation", "clear", "clear all"])
def test_nothing_is_left_when_the_session_ends(scene, a_volume, views, end):
    before = foregrounds(views)
    session = a_session(a_volume)
    session.add(A)
    nodes = node_ids(scene)
    session.show_certainty()
    assert len(node_ids(scene) - nodes) == 3
    if end == "close":
        session.close()
    elif end == "volume":
        scene.RemoveNode(a_volume)
    elif end == "segmentation":
        scene.RemoveNode(session.segmentation_node)
    else:
        scene.Clear(end == "clear all")
    assert not session.shows_certainty
    assert node_ids(scene) <= nodes
    if "clear" not in end:
        assert foregrounds(views) == before
    if end != "close":
        with pytest.raises(SceneError, match="removed"):
            session.show_certainty()
        assert not session.shows_certainty


def test_removing_the_segment_ends_it(scene, a_volume, views):
    before = foregrounds(views)
    session = a_session(a_volume)
    session.add(A)
    nodes = node_ids(scene)
    session.show_certainty()
    session.segmentation_node.GetSegmentation().RemoveSegment(session.target)
    assert foregrounds(views) == before
    assert node_ids(scene) == nodes
    session.add(A)
    assert_shows(session, A)


def test_another_session_in_the_scene_takes_its_place(scene, a_volume, views):
    before = foregrounds(views)
    first, second = a_session(a_volume), a_session(a_volume, SureBallPredictor(radius_mm=3.0))
    for session in (first, second):
        session.add(A)
    nodes = node_ids(scene)
    first.show_certainty()
    second.show_certainty()
    assert not first.shows_certainty
    assert_shows(second, A, radius_mm=3.0)
    assert [view.GetForegroundVolumeID() for view in views] == [second.certainty_node.GetID()] * 3
    first.close()
    assert_shows(second, A, radius_mm=3.0)
    second.close()
    assert foregrounds(views) == before
    assert node_ids(scene) == nodes


def test_it_is_not_saved_with_the_scene(scene, a_volume, tmp_path):
    view = add_view(scene, "Red", a_volume)
    session = a_session(a_volume)
    session.show_certainty()
    session.add(A)
    assert view.GetForegroundVolumeID() == session.certainty_node.GetID()
    save_mrb(scene, tmp_path / "scene.mrb")
    assert_shows(session, A)
    with start_scene() as other:
        open_mrb(other.scene, tmp_path / "scene.mrb")
        assert [node.GetName() for node in other.scene.GetNodesByClass("vtkMRMLScalarVolumeNode")] == ["CT"]
        assert other.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeDisplayNode") == 1
        view = other.scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
        assert view.GetForegroundVolumeID() is None
        other.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        assert view.GetForegroundVolumeID() is None
        again = a_session(
            other.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode"),
            segmentation=other.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"),
        )
        again.show_certainty()
        again.predict()
        assert_shows(again, A)


def test_a_segmentation_under_a_transform_of_its_own_does_not_move_it(scene, a_volume):
    segmentation = add_segmentation(scene, a_volume, {})
    add_transform(scene, rotation(40, (1, 1, 0)), segmentation)
    session = a_session(a_volume, segmentation=segmentation)
    session.show_certainty()
    session.add(A)
    assert_shows(session, A)
