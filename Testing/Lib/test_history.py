"""What can be undone and redone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from PromptSegLib.bitmask import MaskDelta
from PromptSegLib.geometry import Extent
from PromptSegLib.history import Answer, Change, History, Step, TargetRecord

BOX = Extent((0, 0, 0), (8, 8, 8))


@dataclass
class Holder:
    """Feedback as predictors make it: an object that holds arrays."""

    memory: np.ndarray


def delta(seed=0):
    after = np.random.default_rng(seed).random(BOX.shape_kji) < 0.5
    return MaskDelta.between(BOX, np.zeros_like(after), after)


def step(label, target="a", changes=(), **values):
    return Step(label, {target: TargetRecord()}, {target: TargetRecord()}, list(changes), **values)


def test_steps_are_undone_newest_first_and_redone_in_order():
    history = History()
    pushed = [history.push(step(str(n))) for n in range(3)]
    assert [history.undo() for _ in range(4)] == [*reversed(pushed), None]
    assert history.newest is None
    assert history.next_redo is pushed[0]
    assert [history.redo() for _ in range(4)] == [*pushed, None]
    assert history.newest is pushed[2]
    assert history.next_redo is None


def test_a_new_step_drops_what_could_be_redone():
    history = History()
    history.push(step("a"))
    history.undo()
    history.push(step("b"))
    assert history.redo() is None


def test_a_step_that_is_forgotten_never_was():
    history = History()
    kept, undone = history.push(step("kept")), history.push(step("undone"))
    history.undo()
    history.push(step("failed"))
    history.forget_newest()
    assert history.newest is kept
    assert history.redo() is undone


def test_the_oldest_steps_are_forgotten_when_all_take_more_than_the_budget():
    one = step("any", changes=[Change("a", delta())]).nbytes
    history = History(budget_bytes=3 * one + 10)
    pushed = [history.push(step(str(n), changes=[Change("a", delta())])) for n in range(5)]
    assert history.nbytes <= 3 * one + 10
    assert [history.undo() for _ in range(4)] == [*pushed[:1:-1], None]


def test_the_newest_step_is_kept_whatever_it_takes():
    history = History(budget_bytes=0)
    newest = [history.push(step(str(n), changes=[Change("a", delta())])) for n in range(3)][-1]
    assert history.undo() is newest
    assert history.undo() is None


def test_a_target_that_is_gone_takes_its_steps_with_it_and_leaves_what_they_did_to_others():
    history = History()
    history.push(step("mine", "a", [Change("a", delta(1))]))
    both = history.push(step("overwrote", "b", [Change("a", delta(2)), Change("b", delta(3))]))
    history.push(step("theirs", "b", [Change("b", delta(4))]))
    history.push(step("undone", "b", [Change("b", delta(5))]))
    history.undo()
    history.forget_target("b")
    assert history.next_redo is None
    assert history.newest is both
    assert both.targets == ("a",)
    assert history.undo() is both
    assert history.undo().label == "mine"
    assert history.undo() is None


def test_what_the_history_takes_is_known_without_adding_up_all_of_it():
    history = History()
    steps = [history.push(step(str(n), changes=[Change("a", delta(n))])) for n in range(4)]
    steps[-1].changes.append(Change("a", delta(9)))
    for move in (history.undo, history.undo, history.redo, lambda: history.push(step("new"))):
        move()
        kept = [*history._done, *history._undone, *history._dropped]
        assert history.nbytes == sum(each.nbytes for each in kept)


@pytest.mark.parametrize("feedback", [np.zeros(1000), {"low": [np.zeros(900), b"x" * 800]}, Holder(np.zeros(1000))])
def test_the_feedback_of_a_model_counts(feedback):
    answered = TargetRecord(answer=Answer("ball", BOX, 1, None, {}, feedback=feedback))
    answer = Step("add", {"a": TargetRecord()}, {"a": answered})
    assert answer.nbytes > 8000
    assert Step("move", {"a": answered}, {"a": answered}).nbytes < 1000


def test_clearing_leaves_nothing():
    history = History()
    history.push(step("a"))
    history.push(step("b"))
    history.undo()
    history.clear()
    assert history.nbytes == 0
    assert history.undo() is None
    assert history.redo() is None
