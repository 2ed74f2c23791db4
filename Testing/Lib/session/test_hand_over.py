"""One model's mask is where another one goes on from: from a slice to the volume, and back to a slice."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from fakes import BallPredictor
from slice_phantoms import PerfectPredictor, affine, ball, middle_ras
from window_fakes import BrightPredictor, dice

from PromptSegLib.errors import PredictionError, PromptError, UnsupportedPromptError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.geometry import Grid
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.prompts import Box, Point
from PromptSegLib.session.session import Session
from PromptSegLib.span import Span
from PromptSegLib.view import View
from PromptSegLib.volume import Volume

GRID = Grid((30, 44, 50), affine(spacing=(1.5, 1.5, 2.0), turned_deg=20))
MIDDLE = middle_ras(GRID)
BALL = ball(GRID, MIDDLE, 18)
VOLUME = Volume((250 * BALL).astype(np.uint8), GRID.ijk_to_ras)
K = int(GRID.nearest_kji(MIDDLE)[0])


def on_slice(mask, k):
    layer = np.zeros_like(mask)
    layer[k] = mask[k]
    return layer


def view_of(k):
    x, y = GRID.directions[:, 0], GRID.directions[:, 1]
    center = GRID.to_ras((GRID.shape_kji[2] / 2, GRID.shape_kji[1] / 2, k))
    return View(tuple(center), tuple(x), tuple(y), (70.0, 70.0))


@pytest.fixture
def session():
    """A session whose middle slice was segmented by a 2D model, from a click."""
    session = Session(VOLUME, PerfectPredictor())
    session.add(Point(tuple(GRID.to_ras((24, 21, K)))))
    np.testing.assert_array_equal(session.mask_kji, on_slice(BALL, K))
    return session


def test_a_mask_of_a_slice_becomes_a_structure_and_undo_brings_the_slice_back(session):
    predictor = BrightPredictor()
    session.hand_over(predictor)
    assert session.capabilities.name == "sam-med3d"
    [(_, labels, before)] = predictor.model.asked
    assert labels == [1]
    assert before.max() == 10
    assert dice(session.mask_kji, BALL) > 0.9
    assert session.undo() == "hand over to sam-med3d"
    np.testing.assert_array_equal(session.mask_kji, on_slice(BALL, K))
    assert session.redo() == "hand over to sam-med3d"
    assert dice(session.mask_kji, BALL) > 0.9


def test_a_structure_goes_back_to_a_slice_model_for_the_slice_looked_at(session):
    session.hand_over(BrightPredictor())
    whole = session.mask_kji
    assert (whole[K + 4] != BALL[K + 4]).any()
    session.hand_over(PerfectPredictor(), view_of(K + 4))
    expected = whole.copy()
    expected[K + 4] = BALL[K + 4]
    np.testing.assert_array_equal(session.mask_kji, expected)
    assert session.undo() == "hand over to perfect"
    np.testing.assert_array_equal(session.mask_kji, whole)
    session.undo()
    session.undo()
    assert not session.can_undo


def test_what_was_carried_through_the_volume_is_refined_as_a_whole(session):
    session.propagate(Span())
    carried = session.mask_kji
    assert dice(carried, BALL) > 0.9
    predictor = BrightPredictor()
    session.hand_over(predictor)
    [(_, _, before)] = predictor.model.asked
    assert (before > 0).any(axis=(0, 1)).sum() > 3
    assert dice(session.mask_kji, BALL) > 0.9
    session.undo()
    np.testing.assert_array_equal(session.mask_kji, carried)


def test_a_mask_that_was_accepted_needs_no_prompt(session):
    session.accept()
    session.hand_over(BrightPredictor())
    assert session.prompts() == ()
    assert dice(session.mask_kji, BALL) > 0.9
    session.hand_over("classical")
    assert session.mask_kji.any()


def test_a_click_after_it_goes_on_from_the_new_model_s_own_answer(session):
    predictor = BrightPredictor(most_grown=0)
    session.hand_over(predictor)
    [tile] = session.prediction.feedback.tiles
    session.add(Point(tuple(GRID.to_ras((27, 21, K)))))
    assert len(predictor.model.windows) == 1
    assert predictor.model.asked[-1][2] is tile.logits


def test_a_click_on_a_slice_after_it_changes_that_slice_only(session):
    session.hand_over(BrightPredictor())
    whole = session.mask_kji
    session.use(PerfectPredictor())
    session.redraw = True
    session.add(Point(tuple(GRID.to_ras((24, 21, K + 3)))))
    expected = whole.copy()
    expected[K + 3] = BALL[K + 3]
    np.testing.assert_array_equal(session.mask_kji, expected)
    session.undo()
    session.redraw = False
    session.add(Point(tuple(GRID.to_ras((24, 21, K + 3)))))
    assert not (whole & ~session.mask_kji).any()  # a positive click takes nothing away
    assert not (session.mask_kji & ~whole & ~expected).any()


def test_the_first_model_goes_on_from_its_own_answer_after_undo(session):
    session.hand_over(BrightPredictor())
    session.undo()
    predictor = PerfectPredictor()
    session.use(predictor)
    session.add(Point(tuple(GRID.to_ras((28, 21, K)))))
    assert predictor.model.asked[-1][0].logits is not None


def test_predicting_without_prompts_refines_the_mask():
    session = Session(VOLUME, BrightPredictor())
    session.set_mask(ball(GRID, MIDDLE, 12))
    session.predict()
    assert dice(session.mask_kji, BALL) > 0.9
    assert session.undo() == "predict"


def test_prompts_of_the_slice_model_are_taken_along():
    session = Session(VOLUME, PerfectPredictor())
    session.add(Box.from_indices(GRID, (8, 5, K), (42, 38, K)))
    predictor = BrightPredictor()
    session.hand_over(predictor)
    [(_, labels, _)] = predictor.model.asked
    assert labels == [1]
    assert dice(session.mask_kji, BALL) > 0.9


class PointsOnly(BallPredictor):
    capabilities = Capabilities("points", "Points", "", frozenset({3}), frozenset({"point+", "point-"}), "MIT")


def test_what_cannot_be_handed_over_is_refused_and_changes_nothing(session):
    before = session.mask_kji
    with pytest.raises(UnsupportedPromptError, match="takes a mask to go on from, got 'points'"):
        session.hand_over(PointsOnly())
    with pytest.raises(PredictionError, match="no memory"):
        session.hand_over(BallPredictor(error=ValueError("no memory")))
    assert session.capabilities.name == "perfect"
    np.testing.assert_array_equal(session.mask_kji, before)
    assert session.undo() == "add point+"
    with pytest.raises(PromptError, match="a mask of 'segment' to hand over, got none"):
        session.hand_over(BrightPredictor())
    assert session.capabilities.name == "perfect"


def test_a_click_while_it_runs_takes_its_place(session):
    gate = threading.Event()
    session = Session(VOLUME, PerfectPredictor(), executor=ThreadExecutor())
    session.add(Point(tuple(GRID.to_ras((24, 21, K)))))
    assert session.wait(10)
    session.hand_over(BallPredictor(gate=gate))
    session.add(Point(tuple(MIDDLE)))
    gate.set()
    assert session.wait(10)
    assert [session.undo() for _ in range(3)] == ["add point+", "add point+", None]
    session.close()
