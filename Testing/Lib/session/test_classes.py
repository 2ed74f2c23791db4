"""Several structures by their names, each in a target of its own, and clicks on them afterwards."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import strategies
from fakes import BallPredictor, EditableMaskStore, ValuePredictor, ball_patch
from recording import RecordingObserver

from PromptSegLib.errors import PredictionError, PromptError, UnsupportedPromptError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.geometry import Extent, affine_from_parts
from PromptSegLib.prompts import Box, ClassPrompt, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

VALUES = np.zeros((16, 20, 24), dtype=np.uint8)
VALUES[2:9, 3:12, 4:11] = 1
VALUES[12:14, 3:12, 4:11] = 1
VALUES[2:9, 3:12, 13:20] = 2
VOLUME = Volume(VALUES, affine_from_parts((1.0, 1.5, 2.0), strategies.rotation(4), (-30.0, 40.0, 50.0)))
IN_THE_UPPER_LIVER = Point(VOLUME.grid.to_ras((6, 5, 13)))
ABOVE_THE_LIVER = Point(VOLUME.grid.to_ras((6, 15, 5)))


@pytest.fixture
def session():
    return Session(VOLUME, ValuePredictor())


def with_ball(mask, *points):
    patch = ball_patch(VOLUME.grid, points, 5.0)
    after = mask.copy()
    after[patch.extent.slices] = patch.mask_kji
    return after


def test_each_structure_gets_a_target_of_its_name_in_one_run(session):
    keys = session.add_classes(["liver", "spleen"])
    assert keys == ("liver", "spleen")
    assert session.target == "liver"
    np.testing.assert_array_equal(session.mask("liver"), VALUES == 1)
    np.testing.assert_array_equal(session.mask("spleen"), VALUES == 2)
    assert session.prompts("spleen") == (ClassPrompt("spleen"),)
    [state] = session.predictor.states
    assert state.asked == {"liver": (ClassPrompt("liver"),), "spleen": (ClassPrompt("spleen"),)}


def test_one_undo_takes_all_of_them_back_and_one_redo_makes_them_again(session):
    session.add_classes(["liver", "spleen"])
    assert session.undo() == "add liver, spleen"
    assert not session.mask("liver").any()
    assert not session.mask("spleen").any()
    assert session.prompts("liver") == session.prompts("spleen") == ()
    assert not session.can_undo
    session.redo()
    np.testing.assert_array_equal(session.mask("liver"), VALUES == 1)
    np.testing.assert_array_equal(session.mask("spleen"), VALUES == 2)
    assert session.prompts("spleen") == (ClassPrompt("spleen"),)


def test_a_step_of_many_structures_has_a_short_name():
    predictor = ValuePredictor()
    predictor.capabilities = replace(predictor.capabilities, classes=("liver", "spleen", "left kidney", "a", "b"))
    session = Session(VOLUME, predictor)
    session.add_classes(predictor.capabilities.classes)
    assert session.undo() == "add liver, spleen, left kidney and 2 more"


def test_the_model_may_be_asked_by_a_synonym(session):
    assert session.add_classes(["kidney_left", "SPLEEN"]) == ("left kidney", "spleen")


def test_a_target_that_is_there_is_used_and_what_it_held_gives_way(session):
    session.add_target("liver")
    before = np.zeros(VALUES.shape, dtype=bool)
    before[0, 0, 0] = True
    session.set_mask(before)
    session.add_classes(["liver"])
    assert session.targets == ("segment", "liver")
    np.testing.assert_array_equal(session.mask("liver"), VALUES == 1)
    session.undo()
    np.testing.assert_array_equal(session.mask("liver"), before)


def test_a_box_leaves_what_is_inside_of_it(session):
    box = Box.from_indices(VOLUME.grid, (4, 3, 2), (20, 12, 6))
    session.add_classes(["liver", "spleen"], where=box)
    inside = np.zeros(VALUES.shape, dtype=bool)
    inside[2:7, 3:13, 4:21] = True
    np.testing.assert_array_equal(session.mask("liver"), (VALUES == 1) & inside)
    np.testing.assert_array_equal(session.mask("spleen"), (VALUES == 2) & inside)


def test_a_click_means_the_part_under_it(session):
    session.add_classes(["liver"], where=IN_THE_UPPER_LIVER)
    expected = VALUES == 1
    expected[:10] = False
    np.testing.assert_array_equal(session.mask("liver"), expected)


def test_a_click_beside_the_structure_finds_nothing(session):
    session.add_classes(["liver"], where=ABOVE_THE_LIVER)
    assert not session.mask("liver").any()


def test_a_click_after_the_name_narrows_it_to_the_part_under_it_and_goes_back(session):
    session.add_classes(["liver"])
    session.add(IN_THE_UPPER_LIVER)
    assert not session.mask("liver")[:10].any()
    session.remove(IN_THE_UPPER_LIVER)
    np.testing.assert_array_equal(session.mask("liver"), VALUES == 1)


@pytest.mark.parametrize("target", ["liver", "spleen"])
def test_a_click_of_another_model_refines_the_mask_and_one_undo_returns_to_it(session, target):
    session.add_classes(["liver", "spleen"])
    other = BallPredictor()
    session.use(other)
    session.select(target)
    named = session.mask(target)
    session.add(ABOVE_THE_LIVER)
    [state] = other.states
    assert state.prompts == (ABOVE_THE_LIVER,)
    np.testing.assert_array_equal(state.mask.read(), named)
    np.testing.assert_array_equal(session.mask(target), with_ball(named, ABOVE_THE_LIVER))
    session.undo()
    np.testing.assert_array_equal(session.mask(target), named)
    assert session.prompts(target) == (ClassPrompt(target),)
    session.undo()
    assert not session.mask("liver").any()


@pytest.mark.parametrize("target", ["liver", "spleen"])
def test_removing_the_click_of_another_model_returns_to_what_the_name_gave(session, target):
    session.add_classes(["liver", "spleen"])
    session.select(target)
    named = session.mask(target)
    session.use(BallPredictor())
    session.add(ABOVE_THE_LIVER)
    session.add(IN_THE_UPPER_LIVER)
    session.remove(ABOVE_THE_LIVER)
    np.testing.assert_array_equal(session.mask(target), with_ball(named, IN_THE_UPPER_LIVER))
    session.remove(IN_THE_UPPER_LIVER)
    np.testing.assert_array_equal(session.mask(target), named)
    assert session.prediction.predictor == "values"


@pytest.mark.parametrize("target", ["liver", "spleen"])
def test_a_reset_of_one_leaves_the_others(session, target):
    session.add_classes(["liver", "spleen"])
    session.select(target)
    session.reset()
    [other] = {"liver", "spleen"} - {target}
    assert not session.mask(target).any()
    np.testing.assert_array_equal(session.mask(other), {"liver": 1, "spleen": 2}[other] == VALUES)
    session.undo()
    np.testing.assert_array_equal(session.mask(target), {"liver": 1, "spleen": 2}[target] == VALUES)


def test_without_names_left_a_model_of_clicks_refuses(session):
    session.auto = False
    session.add_classes(["liver"])
    session.use(BallPredictor())
    with pytest.raises(PromptError, match="at least one prompt for 'liver' that 'ball' takes, got class"):
        session.predict()


def test_several_targets_are_answered_in_one_run_when_asked(session):
    session.auto = False
    session.add_classes(["liver", "spleen"])
    assert not session.mask("liver").any()
    session.predict(targets=("liver", "spleen"))
    np.testing.assert_array_equal(session.mask("spleen"), VALUES == 2)
    assert len(session.predictor.states) == 1


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["livver"], PromptError, "expected a structure that 'values' knows, got 'livver'; did you mean liver"),
        (["liver", "Liver"], PromptError, "each structure once, got 'liver' twice"),
        ([], PromptError, "at least one structure's name, got none"),
        ([TextPrompt("the liver")], UnsupportedPromptError, "got text"),
        (["spleen", "brain"], PromptError, "got 'brain'"),
    ],
)
def test_what_cannot_be_asked_changes_nothing(session, names, error, message):
    with pytest.raises(error, match=message):
        session.add_classes(names)
    assert session.targets == ("segment",)
    assert not session.can_undo


def test_a_model_of_clicks_refuses_names_and_says_so():
    with pytest.raises(UnsupportedPromptError, match="got class"):
        Session(VOLUME, BallPredictor()).add_classes(["liver"])


def test_a_place_outside_of_the_image_is_refused(session):
    with pytest.raises(PromptError, match="outside of it"):
        session.add_classes(["liver"], where=Point((1e4, 0.0, 0.0)))
    assert session.targets == ("segment",)


def test_a_failure_leaves_prompts_and_masks_as_they_were():
    predictor = ValuePredictor()
    session = Session(VOLUME, predictor)
    session.add_classes(["liver"])
    predictor.error = RuntimeError("out of order")
    with pytest.raises(PredictionError, match="out of order"):
        session.add_classes(["liver", "spleen"])
    np.testing.assert_array_equal(session.mask("liver"), VALUES == 1)
    assert session.prompts("liver") == (ClassPrompt("liver"),)
    assert not session.mask("spleen").any()


def test_a_run_in_the_background_can_be_cancelled():
    gate = threading.Event()
    executor = ThreadExecutor()
    session = Session(VOLUME, ValuePredictor(gate=gate), executor=executor, observer=RecordingObserver())
    session.add_classes(["liver", "spleen"])
    session.cancel()
    gate.set()
    assert session.wait(5.0)
    assert not session.mask("liver").any()
    session.predict(targets=("liver", "spleen"))
    assert session.wait(5.0)
    np.testing.assert_array_equal(session.mask("spleen"), VALUES == 2)
    executor.close()


def test_an_edit_of_one_of_them_meanwhile_asks_anew_for_all():
    gate = threading.Event()
    executor = ThreadExecutor()
    store = EditableMaskStore(VALUES.shape)
    predictor = ValuePredictor(gate=gate)
    session = Session(VOLUME, predictor, executor=executor, store=store)
    keys = session.add_classes(["liver", "spleen"])
    box = Extent((0, 0, 0), (1, 1, 1))
    store.edit(keys[1], box, np.ones((1, 1, 1), dtype=bool))
    gate.set()
    assert session.wait(5.0)
    assert [set(state.asked) for state in predictor.states] == [set(keys), set(keys)]
    np.testing.assert_array_equal(session.mask(keys[1]), VALUES == 2)
    session.undo()
    assert session.mask(keys[1]).sum() == 1
    executor.close()
