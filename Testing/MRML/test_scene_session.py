"""The session in a scene: what it changes, what it leaves alone, and how it goes on after a reopening."""

from __future__ import annotations

import threading
import time
from xml.etree import ElementTree

import numpy as np
import pytest
import slicer
import vtk
from fakes import BallPredictor, ball_patch
from scenes import (
    add_segmentation,
    add_transform,
    add_volume,
    ijk_to_ras_of,
    oriented_image,
    rotation,
    segment_mask,
    volume_array,
)
from test_segments import oblique_affine, random_motion, voxels_of, world_voxels

from PromptSegLib.errors import GeometryError, PredictionError, PromptError, SceneError, UnknownPredictorError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.geometry import apply_affine
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.transforms import node_to_world
from PromptSegLib.prompts import Box, Point
from PromptSegLib.session.observer import SessionObserver

SHAPE = (26, 30, 34)
POSITIVE, NEGATIVE = (16.0, 14.0, 12.0), (20.0, 14.0, 12.0)


@pytest.fixture
def scene():
    with start_scene() as standalone:
        yield standalone.scene


@pytest.fixture
def a_volume(scene):
    return add_volume(scene, np.zeros(SHAPE, dtype=np.int16), name="CT")


def ball(points, volume, radius_mm=5.0):
    mask = np.zeros(volume.grid.shape_kji, dtype=bool)
    patch = ball_patch(volume.grid, points, radius_mm)
    mask[patch.extent.slices] = patch.mask_kji
    return mask


def test_ten_lines_from_a_volume_node_to_corrected_segments(scene, a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    session.add(Point(POSITIVE))
    first = session.mask_kji
    session.add(Point(NEGATIVE, positive=False))
    session.undo()
    assert np.array_equal(session.mask_kji, first)
    session.redo()
    session.add_target("second")
    session.add_world((10.0, 10.0, 10.0))
    names = [session.segmentation_node.GetSegmentation().GetSegment(key).GetName() for key in session.targets]
    assert names == ["segment", "second"]
    assert session.labelmap().max() == 2


@pytest.mark.parametrize("volume_moved", [False, True])
@pytest.mark.parametrize("segmentation_moved", [False, True])
def test_a_click_in_the_world_gives_voxels_around_it_in_the_world(scene, volume_moved, segmentation_moved):
    affine = oblique_affine(7)
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0) / 1.5
    volume = add_volume(scene, np.zeros(SHAPE, dtype=np.int16), affine)
    segmentation = add_segmentation(scene, volume, {})
    if volume_moved:
        add_transform(scene, random_motion(1), volume)
    if segmentation_moved:
        add_transform(scene, random_motion(2), segmentation)
    session = SceneSession(volume, segmentation, predictor=BallPredictor())
    center_ras = session.image.grid.to_ras([15, 14, 12])
    session.add_world(node_to_world([center_ras], volume)[0])
    expected = ball([Point(tuple(center_ras))], session.image)
    assert world_voxels(volume, segmentation, session.target) == voxels_of(expected)
    assert expected.sum() > 50


def test_the_voxels_are_shared_with_the_node_not_copied(a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    assert np.shares_memory(session.image.reference.array, volume_array(a_volume))


def test_no_node_of_the_user_changes_but_the_chosen_segment(scene, a_volume):
    other = add_volume(scene, np.arange(60, dtype=np.int16).reshape(3, 4, 5), name="other")
    add_transform(scene, rotation(10, (0, 0, 1)), a_volume)
    neighbour = np.zeros(SHAPE, dtype=bool)
    neighbour[10:14, 12:16, 14:22] = True
    segmentation = add_segmentation(scene, a_volume, {"neighbour": neighbour, "mine": np.zeros(SHAPE, dtype=bool)})
    markups = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    markups.AddControlPointWorld((1.0, 2.0, 3.0))
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "SegmentEditor")
    editor.SetOverwriteMode(editor.OverwriteNone)
    before, arrays = user_nodes(scene), [volume_array(n).copy() for n in (a_volume, other)]
    session = SceneSession(a_volume, segmentation, "mine", predictor=BallPredictor(), editor_node=editor)
    session.add(Point(POSITIVE))
    session.add(Box.from_corners((8.0, 8.0, 8.0), (20.0, 20.0, 20.0)))
    session.add(Point(NEGATIVE, positive=False))
    session.undo()
    session.add_markups(markups)
    session.close()
    after = user_nodes(scene)
    assert set(before) <= set(after)
    for node_id, xml in before.items():
        assert after[node_id] == xml, node_id
    helpers = [scene.GetNodeByID(node_id) for node_id in set(after) - set(before)]
    assert helpers
    of_helpers = ("vtkMRMLDisplayNode", "vtkMRMLStorageNode")
    assert all(node.GetHideFromEditors() or any(map(node.IsA, of_helpers)) for node in helpers)
    for node, array in zip((a_volume, other), arrays, strict=True):
        assert np.array_equal(volume_array(node), array)
    assert np.array_equal(segment_mask(segmentation, "neighbour", SHAPE), neighbour)


def user_nodes(scene):
    """Return the XML of every node by its ID."""
    scene.SetSaveToXMLString(1)
    scene.Commit()
    root = ElementTree.fromstring(scene.GetSceneXMLString())
    return {element.get("id"): ElementTree.tostring(element).strip() for element in root.iter() if element.get("id")}


def test_a_reopened_scene_goes_on_where_it_stopped(scene, a_volume, tmp_path):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    add_transform(scene, rotation(25, (1, 0, 0)), a_volume, session.segmentation_node)
    session.add(Point(POSITIVE))
    session.add_target("second")
    session.add(Point((8.0, 8.0, 8.0)))
    session.add(Box.from_corners((4.0, 4.0, 4.0), (12.0, 12.0, 12.0)))
    prompts = {key: session.prompts(key) for key in session.targets}
    masks = {key: session.mask(key) for key in session.targets}
    session.close()
    save_mrb(scene, tmp_path / "case.mrb")
    with start_scene() as reopened:
        open_mrb(reopened.scene, tmp_path / "case.mrb")
        volume = reopened.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        segmentation = reopened.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        again = SceneSession(volume, segmentation, predictor=BallPredictor())
        assert {key: again.prompts(key) for key in again.targets} == prompts
        assert all(np.array_equal(again.mask(key), mask) for key, mask in masks.items())
        assert segmentation.GetSegmentation().GetSegment(again.target).GetName() == "second"
        assert again.point_node().GetNumberOfControlPoints() == 1
        again.add(Point((20.0, 20.0, 8.0)))
        assert again.mask_kji.sum() > masks[again.target].sum()
        again.undo()
        assert np.array_equal(again.mask_kji, masks[again.target])
        again.close()


def test_two_sessions_one_after_the_other_share_one_state(scene, a_volume):
    first = SceneSession(a_volume, None, predictor=BallPredictor())
    first.add(Point(POSITIVE))
    nodes = scene.GetNumberOfNodes()
    first.close()
    second = SceneSession(a_volume, first.segmentation_node, predictor=BallPredictor())
    assert second.prompts() == (Point(POSITIVE),)
    assert scene.GetNumberOfNodes() == nodes


def test_points_placed_moved_and_deleted_in_the_scene_change_the_segment(a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    points = session.point_node()
    points.AddControlPointWorld(POSITIVE)
    assert session.prompts() == (Point(POSITIVE),)
    placed = session.mask_kji
    points.SetNthControlPointPositionWorld(0, 20.0, 18.0, 12.0)
    points.InvokeEvent(points.PointEndInteractionEvent)
    assert session.prompts() == (Point((20.0, 18.0, 12.0)),)
    assert np.array_equal(session.mask_kji, ball(session.prompts(), session.image))
    session.point_node(positive=False).AddControlPointWorld(NEGATIVE)
    assert [prompt.positive for prompt in session.prompts()] == [True, False]
    session.point_node(positive=False).RemoveNthControlPoint(0)
    assert len(session.prompts()) == 1
    session.undo()
    session.undo()
    session.undo()
    assert np.array_equal(session.mask_kji, placed)
    assert points.GetNthControlPointPositionWorld(0) == pytest.approx(POSITIVE)
    points.RemoveAllControlPoints()
    assert session.prompts() == ()
    assert not session.mask_kji.any()


def test_a_point_placed_outside_the_volume_is_taken_back_and_explained(a_volume):
    failures = []

    class Recorder(SessionObserver):
        def failed(self, error):
            failures.append(str(error))

    session = SceneSession(a_volume, None, predictor=BallPredictor(), observer=Recorder())
    session.point_node().AddControlPointWorld((500.0, 0.0, 0.0))
    assert session.prompts() == ()
    assert session.point_node().GetNumberOfControlPoints() == 0
    assert "inside the image" in failures[0]


def test_a_box_in_the_views_follows_its_prompt_and_back(scene, a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor(), auto=False)
    session.add(Box.from_corners((4.0, 4.0, 4.0), (12.0, 12.0, 12.0)))
    rois = nodes_of(scene, "vtkMRMLMarkupsROINode")
    assert len(rois) == 1
    assert rois[0].GetCenterWorld() == pytest.approx((8, 8, 8))
    rois[0].SetCenterWorld(10.0, 8.0, 8.0)
    rois[0].InvokeEvent(rois[0].PointEndInteractionEvent)
    assert session.prompts()[0].center_ras == pytest.approx((10, 8, 8))
    session.undo()
    session.undo()
    assert nodes_of(scene, "vtkMRMLMarkupsROINode") == []
    session.redo()
    scene.RemoveNode(nodes_of(scene, "vtkMRMLMarkupsROINode")[0])
    assert session.prompts() == ()


def test_a_box_on_a_slice_that_is_dragged_in_the_views_stays_flat(scene, a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor(), auto=False)
    session.add(Box.from_corners((4.0, 6.0, 8.0), (12.0, 12.0, 8.0)))
    roi = nodes_of(scene, "vtkMRMLMarkupsROINode")[0]
    assert min(roi.GetSize()) > 0  # a flat one could not be seen
    roi.SetCenterWorld(10.0, 9.0, 11.0)
    roi.InvokeEvent(roi.PointEndInteractionEvent)
    box = session.prompts()[0]
    assert box.size_mm == pytest.approx((8, 6, 0))
    assert box.is_planar
    assert box.center_ras == pytest.approx((10, 9, 11))


def nodes_of(scene, class_name):
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]


def test_markups_stay_with_the_anatomy_when_the_volume_is_moved(scene, a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    session.add(Point(POSITIVE))
    motion = rotation(30, (0, 1, 0))
    add_transform(scene, motion, a_volume)
    assert session.prompts() == (Point(POSITIVE),)
    world = session.point_node().GetNthControlPointPositionWorld(0)
    assert world == pytest.approx(apply_affine(motion, POSITIVE))


def test_a_hand_edit_is_kept_by_the_next_click_and_taken_back_by_undo(a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    session.add(Point(POSITIVE))
    predicted = session.mask_kji
    edit_by_hand(session, np.s_[0:3, 0:3, 0:3])
    session.add(Point((24.0, 20.0, 12.0)))
    assert session.mask_kji[0:3, 0:3, 0:3].all()
    session.undo()
    session.undo()
    assert np.array_equal(session.mask_kji, predicted)


def edit_by_hand(session, where):
    """Add voxels to the selected segment as the Segment Editor does."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[where] = True
    image = oriented_image(mask, ijk_to_ras_of(session.volume_node))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, session.segmentation_node, session.target, logic.MODE_MERGE_MASK)


def test_a_hand_edit_during_a_prediction_is_not_wiped_out(a_volume):
    gate = threading.Event()
    predictor = BallPredictor(gate=gate)
    session = SceneSession(a_volume, None, predictor=predictor, executor=ThreadExecutor())
    session.add(Point(POSITIVE))
    edit_by_hand(session, np.s_[10:14, 12:16, 12:20])
    edited = session.mask_kji
    gate.set()
    assert session.wait(10)
    assert len(predictor.states) == 2
    assert predictor.states[-1].mask.count() == edited.sum()
    session.close()


@pytest.mark.parametrize("change", ["voxels", "removed volume", "removed segmentation", "closed scene"])
def test_a_prediction_under_way_never_lands_in_the_wrong_place(scene, a_volume, change):
    predictor = BallPredictor(gate=threading.Event())
    session = SceneSession(a_volume, None, predictor=predictor, executor=ThreadExecutor())
    session.add(Point(POSITIVE))
    deadline = time.monotonic() + 5
    while not predictor.states and time.monotonic() < deadline:
        time.sleep(0.005)
    if change == "voxels":
        volume_array(a_volume)[:] = 7
        a_volume.GetImageData().Modified()
        a_volume.Modified()
    elif change == "removed volume":
        scene.RemoveNode(a_volume)
    elif change == "removed segmentation":
        scene.RemoveNode(session.segmentation_node)
    else:
        scene.Clear(False)
    assert not session.busy
    predictor.gate.set()
    session.poll(0.2)
    if change == "voxels":
        assert not session.mask_kji.any()
        session.predict()
        assert session.wait(10)
        assert predictor.encoded == 2
        assert session.mask_kji.any()
    else:
        with pytest.raises(SceneError, match="removed"):
            session.add(Point(POSITIVE))
    session.close()


def test_a_new_name_or_display_does_not_disturb_a_prediction(a_volume):
    predictor = BallPredictor(gate=threading.Event())
    session = SceneSession(a_volume, None, predictor=predictor, executor=ThreadExecutor())
    session.add(Point(POSITIVE))
    a_volume.SetName("another name")
    a_volume.GetDisplayNode().SetWindowLevel(100, 50)
    assert session.busy
    predictor.gate.set()
    assert session.wait(10)
    assert session.mask_kji.any()
    session.close()


def test_a_failing_predictor_leaves_scene_and_session_as_they_were(scene, a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    session.add(Point(POSITIVE))
    before = session.mask_kji
    session.use(BallPredictor(error=ValueError("no luck")))
    with pytest.raises(PredictionError, match="no luck") as caught:
        session.add(Point(NEGATIVE, positive=False))
    assert isinstance(caught.value.__cause__, ValueError)
    assert session.prompts() == (Point(POSITIVE),)
    assert np.array_equal(session.mask_kji, before)
    assert session.point_node(positive=False).GetNumberOfControlPoints() == 0


def test_overwriting_follows_the_users_editor_node_and_undo_gives_the_neighbour_back(scene, a_volume):
    neighbour = np.zeros(SHAPE, dtype=bool)
    neighbour[8:18, 10:20, 10:24] = True
    segmentation = add_segmentation(scene, a_volume, {"neighbour": neighbour})
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetOverwriteMode(editor.OverwriteNone)
    session = SceneSession(a_volume, segmentation, predictor=BallPredictor(), editor_node=editor)
    session.add_target("mine")
    session.add(Point(POSITIVE))
    assert np.array_equal(session.mask("neighbour"), neighbour)
    session.undo()
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    session.add(Point(POSITIVE))
    assert np.array_equal(session.mask("neighbour"), neighbour & ~session.mask_kji)
    session.remove(Point(POSITIVE))
    assert np.array_equal(session.mask("neighbour"), neighbour)
    session.undo()
    session.undo()
    assert np.array_equal(session.mask("neighbour"), neighbour)


def test_the_segment_editors_own_undo_takes_a_click_back_and_the_session_goes_on_from_there(scene, a_volume):
    segmentation = add_segmentation(scene, a_volume, {})
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(segmentation.GetSegmentation())
    session = SceneSession(a_volume, segmentation, predictor=BallPredictor(), editor_history=history)
    session.add(Point(POSITIVE))
    first = session.mask_kji
    session.add(Point(NEGATIVE, positive=False))
    second = session.mask_kji
    assert history.RestorePreviousState()
    assert np.array_equal(session.mask_kji, first)
    assert session.undo() == "edit"
    assert np.array_equal(session.mask_kji, second)


def test_once_the_segmentation_is_moved_against_the_volume_only_what_comes_after_is_undone(scene, a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    session.add(Point(POSITIVE))
    add_transform(scene, rotation(20, (0, 0, 1)), session.segmentation_node)
    moved = session.mask_kji
    assert session.undo() is None
    assert np.array_equal(session.mask_kji, moved)
    session.add(Point(NEGATIVE))
    session.add(Point((10.0, 14.0, 12.0)))
    assert [session.undo(), session.undo(), session.undo()] == ["add point+", "add point+", None]
    assert np.array_equal(session.mask_kji, moved)


def test_surfaces_are_made_anew_once_for_many_clicks(a_volume):
    waiting = []
    session = SceneSession(a_volume, None, predictor=BallPredictor(), later=waiting.append)
    session.add(Point(POSITIVE))
    assert waiting == []
    session.segmentation_node.CreateClosedSurfaceRepresentation()
    shown = surface_points(session)
    for x in (18.0, 22.0, 26.0):
        session.add(Point((x, 14.0, 12.0)))
    assert len(waiting) == 1
    assert surface_points(session) == shown
    waiting.pop()()
    assert surface_points(session) > shown


@pytest.mark.parametrize("masking", ["EditAllowedEverywhere", "EditAllowedInsideVisibleSegments"])
def test_the_surface_of_what_gives_way_is_made_anew_too(scene, a_volume, masking):
    neighbour = np.zeros(SHAPE, dtype=bool)
    neighbour[8:18, 10:20, 12:24] = True
    segmentation = add_segmentation(scene, a_volume, {"neighbour": neighbour, "mine": np.zeros(SHAPE, dtype=bool)})
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    editor.SetMaskMode(getattr(slicer.vtkMRMLSegmentationNode, masking))
    waiting = []
    session = SceneSession(a_volume, segmentation, "mine", BallPredictor(), editor_node=editor, later=waiting.append)
    segmentation.CreateClosedSurfaceRepresentation()
    shown = surface_points(session, "neighbour")
    session.add(Point(POSITIVE))
    assert session.mask("neighbour").sum() < neighbour.sum()
    waiting.pop()()
    assert surface_points(session, "neighbour") != shown
    assert surface_points(session, session.target) > 0


def surface_points(session, key=None):
    segment = session.segmentation_node.GetSegmentation().GetSegment(key or session.target)
    return segment.GetRepresentation("Closed surface").GetNumberOfPoints()


def test_an_rgb_volume_and_a_labelmap_volume_are_segmented(scene):
    rgb = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(20, 18, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    image.GetPointData().GetScalars().Fill(9)
    rgb.SetAndObserveImageData(image)
    session = SceneSession(rgb, None, predictor=BallPredictor())
    assert session.image.reference.components == 3
    session.add(Point((8.0, 8.0, 0.0)))
    assert session.mask_kji.any()


def test_a_sequence_is_segmented_at_the_time_point_shown(scene):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "cine")
    for value in (1, 2, 3):
        frame = add_volume(scene, np.full(SHAPE, value, dtype=np.int16), name="frame")
        sequence.SetDataNodeAtValue(frame, str(value))
        scene.RemoveNode(frame)
    browser.AddSynchronizedSequenceNode(sequence)
    browser.SetSelectedItemNumber(1)
    proxy = browser.GetProxyNode(sequence)
    if proxy is None:
        logic = slicer.vtkSlicerSequencesLogic()
        logic.SetMRMLScene(scene)
        logic.UpdateAllProxyNodes()
        proxy = browser.GetProxyNode(sequence)
    predictor = BallPredictor()
    session = SceneSession(proxy, None, predictor=predictor)
    session.add(Point(POSITIVE))
    shown = int(session.image.reference.array[0, 0, 0])
    browser.SetSelectedItemNumber(2)
    session.add(Point((8.0, 8.0, 8.0)))
    assert int(session.image.reference.array[0, 0, 0]) == int(volume_array(proxy)[0, 0, 0])
    assert shown in (1, 2, 3)
    session.close()


def add_warp(scene, *nodes):
    """Put nodes under a nonlinear transform."""
    corners = np.argwhere(np.ones((2, 2, 2))) * 25.0
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in corners:
        source.InsertNextPoint(*corner)
        target.InsertNextPoint(*(corner + 3 * np.sin(corner[::-1])))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    warp = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    warp.SetAndObserveTransformToParent(spline)
    for node in nodes:
        node.SetAndObserveTransformNodeID(warp.GetID())


def test_prompts_go_through_a_nonlinear_transform_that_volume_and_segmentation_share(scene, a_volume):
    segmentation = add_segmentation(scene, a_volume, {})
    add_warp(scene, a_volume, segmentation)
    session = SceneSession(a_volume, segmentation, predictor=BallPredictor())
    shown_at = node_to_world([POSITIVE], a_volume)[0]
    assert not np.allclose(shown_at, POSITIVE, atol=0.1)
    session.add_world(shown_at)
    assert session.prompts()[0].position_ras == pytest.approx(POSITIVE, abs=1e-2)
    assert session.point_node().GetNthControlPointPositionWorld(0) == pytest.approx(shown_at, abs=1e-2)
    assert session.mask_kji.any()


def test_a_nonlinear_transform_between_them_is_refused_with_the_way_out_and_nothing_is_left(scene, a_volume):
    segmentation = add_segmentation(scene, a_volume, {})
    add_warp(scene, a_volume)
    before = scene.GetNumberOfNodes()
    with pytest.raises(GeometryError, match="harden it"):
        SceneSession(a_volume, segmentation, predictor=BallPredictor())
    with pytest.raises(UnknownPredictorError):
        SceneSession(a_volume, None, predictor="no such model")
    assert scene.GetNumberOfNodes() == before


def test_writing_is_refused_once_a_nonlinear_transform_comes_in_between(scene, a_volume):
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    session.add(Point(POSITIVE))
    before = segment_mask(session.segmentation_node, session.target, SHAPE)
    add_warp(scene, a_volume)
    with pytest.raises(GeometryError, match="harden it"):
        session.add(Point(NEGATIVE, positive=False))
    assert np.array_equal(segment_mask(session.segmentation_node, session.target, SHAPE), before)


def test_nodes_that_are_none_are_refused(scene, a_volume):
    markups = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    with pytest.raises(SceneError, match="vtkMRMLVolumeNode"):
        SceneSession(None, None)
    with pytest.raises(SceneError, match="vtkMRMLSegmentationNode"):
        SceneSession(a_volume, markups)
    session = SceneSession(a_volume, None, predictor=BallPredictor())
    with pytest.raises(PromptError, match="placed control point"):
        session.add_markups(markups)
