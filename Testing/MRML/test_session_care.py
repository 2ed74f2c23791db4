"""What others do to the nodes of a session: segments removed, lattices and sources changed, helper nodes gone."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import slicer
from calls import calls_in
from fakes import BallPredictor, ball_patch
from scene_storm import nodes_of, run_storm, world_voxels, wrong_of_a_click
from scenes import add_segmentation, add_volume, ijk_to_ras_of, oriented_image

from PromptSegLib.errors import SceneError
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.state_node import StateNode
from PromptSegLib.prompts import Box, Point, Scribble
from PromptSegLib.session.observer import SessionObserver

SHAPE = (20, 24, 28)
A, B = Point((8.0, 10.0, 10.0)), Point((20.0, 12.0, 9.0))
EDITOR, SEGMENTATION = slicer.vtkMRMLSegmentEditorNode, slicer.vtkMRMLSegmentationNode


@pytest.fixture
def scene():
    with start_scene() as standalone:
        yield standalone.scene


@pytest.fixture
def a_volume(scene):
    return add_volume(scene, np.zeros(SHAPE, np.int16))


def a_session(volume, segmentation=None, **options):
    return SceneSession(volume, segmentation, predictor=BallPredictor(4.0), **options)


def ball(session, *points):
    mask, patch = np.zeros(SHAPE, bool), ball_patch(session.image.grid, points, 4.0)
    mask[patch.extent.slices] = patch.mask_kji
    return mask


# Segments that are gone


def test_a_click_after_a_segment_was_deleted_knows_nothing_of_its_prompts(a_volume):
    session = a_session(a_volume)
    session.add(A)
    session.segmentation_node.GetSegmentation().RemoveSegment(session.target)
    assert session.prompts() == ()
    session.add(B)
    assert session.prompts() == (B,)
    assert np.array_equal(session.mask_kji, ball(session, B))
    assert session.point_node().GetNumberOfControlPoints() == 1


def test_another_segment_under_the_id_of_one_that_was_deleted_is_another(a_volume):
    session = a_session(a_volume)
    session.add(A)
    segmentation, key = session.segmentation_node.GetSegmentation(), session.target
    segmentation.RemoveSegment(key)
    segmentation.AddEmptySegment(key, "another")
    assert session.prompts() == ()
    assert not session.can_undo
    assert session.point_node().GetNumberOfControlPoints() == 0
    session.add(B)
    assert np.array_equal(session.mask_kji, ball(session, B))


def test_prompts_of_a_segment_that_is_gone_are_not_saved_for_another_under_its_id(a_volume):
    session = a_session(a_volume)
    session.add(A)
    key, segmentation = session.target, session.segmentation_node.GetSegmentation()
    session.add_target("second")
    segmentation.RemoveSegment(key)
    segmentation.AddEmptySegment(key, "another")
    again = a_session(a_volume, session.segmentation_node)
    assert again.prompts(key) == ()


@pytest.mark.parametrize("use", ["prompts", "undo", "reset", "accept", "predict", "set_mask", "prediction", "mask"])
def test_whatever_comes_after_a_deletion_is_about_the_segment_that_is_left(a_volume, use):
    session = a_session(a_volume)
    session.add(A)
    left = session.target
    session.add_target("second")
    session.add(B)
    session.segmentation_node.GetSegmentation().RemoveSegment(session.target)
    if use == "prompts":
        assert session.prompts() == (A,)
    elif use == "prediction":
        assert session.prediction.changed_voxels == ball(session, A).sum()
    elif use == "mask":
        assert np.array_equal(session.mask_kji, ball(session, A))
    elif use == "set_mask":
        session.set_mask(np.zeros(SHAPE))
    else:
        getattr(session, use)()
    assert session.target == left
    assert session.point_node().GetNumberOfControlPoints() == len(session.prompts())


# Several lattices


@pytest.mark.parametrize("seed", range(12))
def test_a_click_after_moves_and_edits_lies_where_it_was_made_and_moves_no_neighbour(seed, caplog):
    caplog.set_level(logging.ERROR)
    assert wrong_of_a_click(seed) == ""


def two_lattices(volume, editor=None):
    """Return a session whose segment "moved" lies on the grid that the volume had before it was moved."""
    session = a_session(volume, None, editor_node=editor)
    old, new = session.target, session.add_target("new")
    session.select(old)
    session.add(A)
    session.accept()
    volume.SetOrigin(3.3, 0.4, -0.7)
    image = oriented_image(np.pad(np.ones((2, 2, 2), bool), [(0, n - 2) for n in SHAPE]), ijk_to_ras_of(volume))
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, session.segmentation_node, new)
    session.select(new)
    session.accept()
    return session, old, new


def test_what_gives_way_on_another_lattice_is_cleared_there_and_stays_where_it_is(scene, a_volume):
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetOverwriteMode(EDITOR.OverwriteAllSegments)
    session, old, _ = two_lattices(a_volume, editor)
    before = world_voxels(session.segmentation_node, old)
    session.add(Point((11.0, 10.0, 10.0)))
    left = world_voxels(session.segmentation_node, old)
    click = np.array([11.0, 10.0, 10.0])
    assert 0 < len(left) < len(before)
    assert set(map(tuple, left)) <= set(map(tuple, before))
    assert np.linalg.norm(left - click, axis=1).min() > 4.0 - 0.9
    session.undo()
    assert np.array_equal(world_voxels(session.segmentation_node, old), before)


@pytest.mark.parametrize(
    "mode", [SEGMENTATION.EditAllowedInsideSingleSegment, SEGMENTATION.EditAllowedOutsideAllSegments]
)
def test_masking_holds_on_several_lattices_too(scene, a_volume, mode):
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetOverwriteMode(EDITOR.OverwriteNone)
    session, old, new = two_lattices(a_volume, editor)
    editor.SetMaskMode(mode)
    editor.SetMaskSegmentID(old)
    inside = world_voxels(session.segmentation_node, old)
    session.add(Point((11.0, 10.0, 10.0)))
    found = world_voxels(session.segmentation_node, new)
    found = found[np.linalg.norm(found - [11.0, 10.0, 10.0], axis=1) < 6]
    near = np.array([np.linalg.norm(inside - voxel, axis=1).min() for voxel in found])
    assert len(found) > 20
    assert (near < 0.9).all() if mode == SEGMENTATION.EditAllowedInsideSingleSegment else (near > 0.3).all()
    assert np.array_equal(world_voxels(session.segmentation_node, old), inside)


# Other sources, helper nodes, saved text


def a_surface(scene, volume):
    node = add_segmentation(scene, volume, {"stl": np.pad(np.ones((4, 4, 4), bool), [(2, n - 6) for n in SHAPE])})
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    return node


def test_a_segmentation_kept_as_surfaces_is_refused_with_the_way_out(scene, a_volume):
    node = a_surface(scene, a_volume)
    count = scene.GetNumberOfNodes()
    with pytest.raises(SceneError, match=r"kept as 'Closed surface'.*Make source"):
        a_session(a_volume, node)
    assert scene.GetNumberOfNodes() == count


def test_a_source_that_changes_meanwhile_is_noticed_and_an_empty_segmentation_needs_nothing(scene, a_volume):
    session = a_session(a_volume)
    session.add(A)
    session.segmentation_node.CreateClosedSurfaceRepresentation()
    session.segmentation_node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    with pytest.raises(SceneError, match="Make source"):
        session.add(B)
    assert session.prompts() == (A,)
    empty = add_segmentation(scene, a_volume, {})
    empty.GetSegmentation().SetSourceRepresentationName("Closed surface")
    session = a_session(a_volume, empty)
    session.add(A)
    assert np.array_equal(session.mask_kji, ball(session, A))


@pytest.mark.parametrize("kind", ["vtkMRMLTextNode", "vtkMRMLSegmentEditorNode", "vtkMRMLMarkupsDisplayNode"])
def test_helper_nodes_that_others_removed_are_made_again(scene, a_volume, kind):
    session = a_session(a_volume)
    session.add(A)
    session.auto = False
    session.add(Box.from_corners((4.0, 4.0, 4.0), (12.0, 12.0, 12.0)))
    session.add(Scribble(((4.0, 4.0, 4.0), (12.0, 4.0, 4.0)), width_mm=1.0))
    session.auto = True
    count = scene.GetNumberOfNodes()
    for node in nodes_of(scene, kind):
        scene.RemoveNode(node)
    session.add(B)
    assert scene.GetNumberOfNodes() == count
    session.close()
    again = a_session(a_volume, session.segmentation_node)
    assert len(again.prompts()) == 4
    assert scene.GetNumberOfNodes() == count


def test_prompts_that_come_and_go_leave_nothing_in_the_scene(scene, a_volume):
    session = a_session(a_volume)
    session.auto = False
    session.add(Box.from_corners((4.0, 4.0, 4.0), (12.0, 12.0, 12.0)))
    session.add(Scribble(((4.0, 4.0, 4.0), (12.0, 4.0, 4.0)), width_mm=1.0))
    count = scene.GetNumberOfNodes()
    for turn in range(10):
        box, stroke = session.prompts()
        session.replace(box, Box.from_corners((4.0, 4.0, 4.0), (12.0 + turn, 12.0, 12.0)))
        session.replace(stroke, Scribble(((4.0, 4.0, 4.0), (12.0 + turn, 4.0, 4.0)), width_mm=1.0))
    assert scene.GetNumberOfNodes() == count
    session.reset()
    assert scene.GetNumberOfNodes() == count - 4


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "promptseg-prompts", "version": 99, "targets": "?"}'])
def test_prompts_that_cannot_be_read_are_kept_and_do_not_stand_in_the_way(scene, a_volume, text):
    session = a_session(a_volume)
    session.add(A)
    mask, segmentation = session.mask_kji, session.segmentation_node
    session.close()
    StateNode.of(a_volume, segmentation).node.SetText(text)
    heard = []

    class Heard(SessionObserver):
        def failed(self, error):
            heard.append(str(error))

    again = a_session(a_volume, segmentation, observer=Heard())
    assert again.prompts() == ()
    assert np.array_equal(again.mask_kji, mask)
    assert "cannot be read" in heard[0]
    again.add(B)
    again.close()
    assert [node.GetText() for node in nodes_of(scene, "vtkMRMLTextNode")].count(text) == 1
    last = a_session(a_volume, segmentation)
    assert last.prompts() == (B,)
    scene.RemoveNode(segmentation)
    StateNode.remove_orphans(scene)
    assert nodes_of(scene, "vtkMRMLTextNode") == []


# What it costs


def test_a_click_costs_at_most_what_is_shown(a_volume):
    session = a_session(a_volume, auto=False)
    points = [Point((4 + n % 20 + 0.01 * n, 10.0, 10.0)) for n in range(241)]
    costs = {}
    for count, point in enumerate(points):
        cost = calls_in(lambda point=point: session.add(point))
        if count in (60, 120, 240):
            costs[count] = cost
    assert costs[240] - costs[120] < 2.4 * (costs[120] - costs[60]) + 200
    assert costs[240] < 240 * 25 + 4000


def test_a_click_and_a_look_cost_little_more_among_many_segments(scene, a_volume):
    costs = []
    for count in (2, 60):
        session = a_session(a_volume, add_segmentation(scene, a_volume, {}))
        for _ in range(count):
            session.add_target()
            session.add(A)
        session.prompts()
        add, look = calls_in(lambda s=session: s.add(B)), calls_in(lambda s=session: s.prompts())
        costs.append((max(add, look), calls_in(lambda s=session: s.prompts())))
    (few, look_few), (many, look_many) = costs
    assert many - few < 60 * 60
    assert look_many < look_few + 60 * 4


# All of it at random


@pytest.mark.parametrize("seed", [101, 102])
def test_a_storm_leaves_everything_in_order(tmp_path, seed):
    storm = run_storm(seed, 60, tmp_path)
    assert sum(storm.done.values()) == 60
