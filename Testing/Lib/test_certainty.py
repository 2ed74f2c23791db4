"""How sure a predictor is comes to the session, from another process, too, and costs little."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import BallPredictor, EditableMaskStore, SureBallPredictor, sureness
from scipy import ndimage

from PromptSegLib.bitmask import Patch
from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import GeometryError
from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.geometry import Extent
from PromptSegLib.predictors.base import Prediction
from PromptSegLib.prompts import Point
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

SURE = "PromptSegLib.predictors.default.predictor:DefaultPredictor"


def a_disc():
    y, x = np.indices((60, 64))
    inside = (y - 30) ** 2 + (x - 30) ** 2 < 144
    return Volume((100.0 * inside + np.random.default_rng(0).normal(0, 5, inside.shape))[None])


def test_probabilities_are_kept_to_a_percent():
    extent = Extent((1, 2, 3), (9, 22, 33))
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random(extent.shape_kji), 2).astype(np.float32)
    probability = (smooth - smooth.min()) / np.ptp(smooth)
    kept = Certainty.of(extent, probability)
    np.testing.assert_allclose(kept.probability_kji, probability, atol=1 / 500)
    assert kept.nbytes < probability.size
    with pytest.raises(GeometryError, match="expected probabilities of shape"):
        Certainty.of(extent, probability[1:])


def test_a_session_tells_how_sure_the_predictor_is_of_each_voxel():
    session = Session(a_disc(), SURE)
    session.add(Point((30, 30, 0)))
    certainty = session.certainty()
    assert certainty is session.prediction.certainty
    probability, mask = certainty.probability_kji, session.mask_kji[certainty.extent.slices]
    assert ((probability > 0.51) <= mask).all()
    assert ((probability < 0.49) <= ~mask).all()
    border = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    doubt = 1 - abs(2 * probability - 1)
    assert doubt[border].mean() > 3 * doubt[~border].mean()
    assert 0 < session.prediction.score <= 1
    assert session.history_nbytes > certainty.nbytes


def test_it_crosses_from_another_process():
    session = Session(a_disc(), SURE, executor=ProcessExecutor())
    session.add(Point((30, 30, 0)))
    assert session.wait(120)
    assert session.prediction.certainty.probability_kji.max() > 0.9
    session.close()


SHAPE = (16, 24, 28)
A, B = Point((12.0, 10.0, 8.0)), Point((16.0, 12.0, 8.0), positive=False)
ELSEWHERE = Point((20.0, 18.0, 6.0))


def a_session(predictor=None, **options):
    return Session(Volume(np.zeros(SHAPE, dtype=np.int16)), predictor or SureBallPredictor(), **options)


def assert_speaks_of(session, *prompts):
    certainty = session.certainty()
    expected = sureness(session.image.grid, prompts, 5.0)[certainty.extent.slices]
    np.testing.assert_allclose(certainty.probability_kji, expected, atol=1 / 500)


def test_it_follows_prompts_undo_redo_and_the_selected_target():
    session = a_session()
    assert session.certainty() is None
    session.add(A)
    session.add(B)
    assert_speaks_of(session, A, B)
    session.undo()
    assert_speaks_of(session, A)
    session.undo()
    assert session.certainty() is None
    session.redo()
    session.redo()
    assert_speaks_of(session, A, B)
    second = session.add_target("second")
    assert session.certainty() is None
    session.add(ELSEWHERE)
    assert_speaks_of(session, ELSEWHERE)
    assert session.certainty("segment") is not session.certainty(second)
    session.select("segment")
    assert_speaks_of(session, A, B)
    session.remove(B)
    assert_speaks_of(session, A)
    session.accept()
    assert session.certainty() is None
    session.undo()
    assert_speaks_of(session, A)


def test_it_says_nothing_of_a_mask_that_was_changed_since():
    store = EditableMaskStore(SHAPE)
    session = a_session(store=store)
    session.add(A)
    session.set_mask(session.mask_kji & False)
    assert session.certainty() is None
    session.undo()
    assert_speaks_of(session, A)
    store.edit(session.target, Extent((0, 0, 0), (2, 2, 2)), np.ones((2, 2, 2), dtype=bool))
    session.use(BallPredictor())
    session.predict()
    assert session.certainty() is None
    session.undo()
    assert session.certainty() is None, "the brush was used"
    session.undo()
    assert_speaks_of(session, A)


class TwoBalls(SureBallPredictor):
    """Sure of the first target that it answers for; says nothing of the others."""

    def answers(self, image, state):
        (prediction,) = super().answers(image, state)
        others = {other: Patch(Extent((0, 0, 0), (1, 1, 1)), np.ones((1, 1, 1), dtype=bool)) for other in state.others}
        yield Prediction({**prediction.patches, **others}, certainty=prediction.certainty)


def test_of_an_answer_for_several_targets_it_is_of_the_first():
    session = a_session(TwoBalls(), auto=False)
    session.add(A)
    second = session.add_target("second")
    session.add(ELSEWHERE)
    session.predict(targets=("segment", second))
    assert session.mask(second).sum() == 1
    assert session.certainty(second) is None
    assert session.certainty("segment") is not None


def test_observers_are_told_of_each_answer_and_of_its_end():
    class Recorder(SessionObserver):
        def answer_changed(self, target):
            told.append((target, session.certainty(target) is not None))

    told = []
    session = a_session(observer=Recorder())
    session.add(A)
    assert told == [("segment", True)]
    session.undo()
    session.redo()
    assert told[1:] == [("segment", False), ("segment", True)]
    session.accept()
    assert told[3:] == [("segment", False)]
    session.undo()
    session.reset()
    assert told[4:] == [("segment", True), ("segment", False)]
