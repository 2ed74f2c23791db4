"""Structures by their names in a scene: each a segment, named and coloured after it."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import BallPredictor, ValuePredictor
from scenes import add_transform, add_volume, rotation
from test_scene_session import SHAPE
from tiny_sat import sat_that_knows

from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.volumes import volume_from_node
from PromptSegLib.predictors.sat.predictor import SatNano
from PromptSegLib.predictors.sat.preparation import prepare
from PromptSegLib.prompts import ClassPrompt, Point, TextPrompt
from PromptSegLib.structures.names import find_structure
from PromptSegLib.structures.terminology import terminology_entry

VALUES = np.zeros(SHAPE, dtype=np.int16)
VALUES[3:12, 4:14, 5:15] = 1
VALUES[3:12, 4:14, 18:30] = 2


@pytest.fixture
def scene():
    with start_scene() as standalone:
        yield standalone.scene


@pytest.fixture
def session(scene):
    return SceneSession(add_volume(scene, VALUES, name="CT"), predictor=ValuePredictor())


def segments_of(session):
    segmentation = session.segmentation_node.GetSegmentation()
    return {segmentation.GetSegment(key).GetName(): segmentation.GetSegment(key) for key in session.targets}


def test_structures_become_segments_of_their_name_and_colour(session):
    liver, spleen = session.add_classes(["liver", "spleen"])
    np.testing.assert_array_equal(session.mask(liver), VALUES == 1)
    np.testing.assert_array_equal(session.mask(spleen), VALUES == 2)
    segments = segments_of(session)
    for name in ("liver", "spleen"):
        assert segments[name].GetColor() == pytest.approx(find_structure(name).colour)


def test_a_segment_of_that_name_is_used_and_keeps_its_colour(session):
    key = session.add_target("liver")
    segment = session.segmentation_node.GetSegmentation().GetSegment(key)
    segment.SetColor(0.1, 0.2, 0.3)
    assert session.add_classes(["liver", "spleen"])[0] == key
    assert segment.GetColor() == pytest.approx((0.1, 0.2, 0.3))
    assert sorted(segments_of(session)) == ["liver", "segment", "spleen"]


def test_a_click_refines_one_of_them_and_undo_returns_to_the_name_and_then_to_nothing(session):
    _, spleen = session.add_classes(["liver", "spleen"])
    session.use(BallPredictor())
    session.select(spleen)
    session.add_world((10.0, 25.0, 20.0))
    assert (session.mask(spleen) & (VALUES == 0)).any()
    session.undo()
    np.testing.assert_array_equal(session.mask(spleen), VALUES == 2)
    session.undo()
    assert not any(session.mask(key).any() for key in session.targets)


def test_names_are_saved_with_the_scene_and_gone_on_with(session, tmp_path):
    session.add_classes(["liver", "spleen"], where=Point((8.0, 8.0, 8.0)))
    save_mrb(session.volume_node.GetScene(), tmp_path / "case.mrb")
    with start_scene() as reopened:
        open_mrb(reopened.scene, tmp_path / "case.mrb")
        volume = reopened.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        segmentation = reopened.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        again = SceneSession(volume, segmentation, predictor=ValuePredictor())
        assert again.prompts(again.targets[1]) == (ClassPrompt("liver"), Point((8.0, 8.0, 8.0)))
        again.predict(targets=again.targets[1:])
        np.testing.assert_array_equal(again.mask(again.targets[1]), VALUES == 1)


@pytest.mark.parametrize("angle_deg", [0, 25])
def test_structures_lie_where_they_are_in_an_oblique_volume(scene, angle_deg):
    affine = rotation(angle_deg, (1.0, 0.5, 0.2)) @ np.diag((0.8, 0.9, 2.0, 1.0))
    session = SceneSession(add_volume(scene, VALUES, affine, name="CT"), predictor=ValuePredictor())
    [liver] = session.add_classes(["liver"])
    np.testing.assert_array_equal(session.mask(liver), VALUES == 1)


def test_texts_in_a_scene_become_segments_where_the_anatomy_is_under_its_transforms(scene):
    array = np.full((12, 36, 40), 10, np.int16)
    array[3:6, 8:20, 10:30] = 100
    array[7:11, 20:30, 10:20] = 300
    volume = add_volume(scene, array, np.diag([-1.0, -1.0, 3.0, 1.0]), name="CT")
    motion = rotation(40, (1, 2, 1))
    motion[:3, 3] = (12, -7, 30)
    add_transform(scene, motion, volume)
    values, _ = prepare(array, volume_from_node(volume).grid, is_ct=True)
    levels = (round(float(level), 3) for level in np.unique(values)[1:])
    session = SceneSession({"ct": volume}, predictor=SatNano(sat_that_knows(*levels)))
    liver, spleen = session.add_classes([TextPrompt("liver"), TextPrompt("spleen")])
    np.testing.assert_array_equal(session.mask(liver), array == 100)
    np.testing.assert_array_equal(session.mask(spleen), array == 300)
    assert segments_of(session)["liver"].GetTerminology() == terminology_entry(find_structure("liver"))
    session.undo()
    assert not session.mask(spleen).any()
