"""Drags, deletions and resets: what they take back, and that it costs no more however long the session goes on."""

from __future__ import annotations

import numpy as np
import pytest
from calls import calls_in
from fakes import BallAndShellPredictor, BallPredictor, EditableMaskStore, SureBallPredictor

from PromptSegLib.geometry import Extent
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

VOLUME = Volume(np.zeros((20, 24, 28), np.int16))
A, B = Point((10.0, 10.0, 10.0)), Point((16.0, 12.0, 9.0))


def near(turn):
    return Point((10.0 + 0.5 * (turn % 5), 10.0, 10.0))


def drag(session, turn):
    session.replace(session.prompts()[-1], near(turn))


def delete(session, turn):
    session.remove(session.prompts()[-1])
    session.add(near(turn))


def reset(session, turn):
    session.reset()
    session.add(near(turn))


@pytest.mark.parametrize("start_over", [drag, delete, reset])
def test_the_hundredth_start_over_costs_what_the_tenth_does(start_over):
    session = Session(VOLUME, BallPredictor(4.0))
    session.add(A)
    costs = [calls_in(lambda turn=turn: start_over(session, turn)) for turn in range(100)]
    assert max(costs[90:]) < 1.5 * max(costs[5:15])
    assert max(len(step.changes) for step in session.ledger.history._done) <= 3
    assert session.history_nbytes < 200 * 1500


def test_a_start_over_after_many_clicks_costs_one_change_of_the_mask():
    session = Session(VOLUME, BallPredictor(4.0))
    before = session.mask_kji
    for turn in range(60):
        session.add(near(turn))
    session.reset()
    assert np.array_equal(session.mask_kji, before)
    assert len(session.ledger.history.newest.changes) == 1


def test_a_reset_leaves_a_neighbour_as_it_was_edited_since_and_undo_of_the_edit_brings_it_under_the_reset_again():
    store = EditableMaskStore(VOLUME.grid.shape_kji)
    session = Session(VOLUME, BallAndShellPredictor(3.0), store=store)
    session.add(A)
    shell = store.find("id-shell")
    store.edit(shell, Extent((0, 0, 0), (2, 2, 2)), np.ones((2, 2, 2), bool))
    edited = session.mask(shell)
    session.reset()
    assert np.array_equal(session.mask(shell), edited)
    assert not session.mask_kji.any()
    session.undo()
    assert session.undo() == "edit"
    session.select(session.targets[0])  # undo selects what it is about
    session.reset()
    assert not session.mask(shell).any()


def test_what_another_targets_answer_made_of_a_mask_stays_when_that_one_is_reset():
    session = Session(VOLUME, BallAndShellPredictor(3.0))
    session.add_target("shell")
    session.add(B)
    session.select("segment")
    session.add(A)
    left = session.mask("shell")
    session.select("shell")
    session.reset()
    assert np.array_equal(session.mask("shell"), left)
    session.undo()
    session.undo()
    session.select("shell")
    session.reset()
    assert not session.mask("shell").any()


def test_an_answer_is_the_newest_word_until_something_else_changes_the_mask_and_again_after_undo():
    store = EditableMaskStore(VOLUME.grid.shape_kji)
    session = Session(VOLUME, SureBallPredictor(3.0), store=store)
    session.add(A)
    key = session.target
    session.add_target("other")
    session.add(B)
    assert session.certainty(key) is not None
    store.edit(key, Extent((0, 0, 0), (1, 1, 2)), np.ones((1, 1, 2), bool))
    assert session.certainty(key) is None
    session.undo()
    assert session.certainty(key) is not None


def test_a_target_that_is_gone_is_forgotten_before_anything_is_read():
    store = EditableMaskStore(VOLUME.grid.shape_kji)
    session = Session(VOLUME, BallPredictor(3.0), store=store)
    session.add(A)
    gone = session.target
    other = session.add_target("other")
    store.remove(gone)
    assert session.prompts(gone) == ()
    session.select(other)
    session.add(B)
    store.remove(other)
    session.add(A)
    assert session.prompts() == (A,)
    assert session.target not in (gone, other) or len(session.targets) == 1
    assert session.undo() is not None
    assert session.undo() is None


def test_the_feedback_of_two_thousand_clicks_stays_within_the_historys_budget():
    class WithFeedback(BallPredictor):
        def answers(self, image, state):
            (prediction,) = super().answers(image, state)
            yield type(prediction)(prediction.patches, feedback=np.zeros(1000))

    session = Session(VOLUME, WithFeedback(3.0), history_budget_bytes=100_000)
    for turn in range(40):
        session.add(near(turn))
    assert session.history_nbytes < 110_000
    assert session.can_undo
