"""What can be undone and redone."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.bitmask import MaskDelta
from PromptSegLib.geometry import Extent
from PromptSegLib.history import Answer, Change, History, Step, TargetRecord

BOX = Extent((0, 0, 0), (8, 8, 8))


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


def test_predicted_changes_reach_back_to_the_last_edit_of_the_target():
    changes = [Change("a", delta(n)) for n in range(6)]
    history = History()
    history.push(step("predict", changes=[changes[0]]))
    history.push(step("edit", changes=[changes[1]], is_edit=True))
    history.push(step("predict", changes=[changes[2], changes[3]]))
    history.push(step("predict", target="b", changes=[Change("b", delta())]))
    history.push(step("edit", target="b", changes=[Change("b", delta())], is_edit=True))
    history.push(step("predict", changes=[changes[4]]))
    assert list(history.predicted_changes("a")) == [changes[4], changes[3], changes[2]]


def test_predicted_changes_end_where_another_targets_step_changed_the_mask():
    mine, theirs = Change("a", delta(1)), Change("a", delta(2))
    history = History()
    history.push(step("predict", changes=[Change("a", delta(0))]))
    history.push(step("overwrite", target="b", changes=[theirs]))
    history.push(step("predict", changes=[mine]))
    assert list(history.predicted_changes("a")) == [mine]


def test_predicted_changes_leave_out_what_was_done_to_other_targets_since():
    shell, own = Change("shell", delta(1)), Change("a", delta(2))
    history = History()
    history.push(step("predict", changes=[shell, own]))
    assert list(history.predicted_changes("a")) == [own, shell]
    history.push(step("edit", target="shell", changes=[Change("shell", delta(3))], is_edit=True))
    assert list(history.predicted_changes("a")) == [own]


@pytest.mark.parametrize(
    ("later", "is_current"),
    [
        (step("add", target="a"), True),
        (step("predict", target="b", changes=[Change("b", delta())]), True),
        (step("predict", target="b", changes=[Change("a", delta())]), False),
        (step("edit", target="a", changes=[Change("a", delta())], is_edit=True), False),
    ],
)
def test_an_answer_is_current_until_something_else_changes_the_mask(later, is_current):
    answer = Answer("ball", BOX, 1, None, {})
    history = History()
    history.push(step("edit", changes=[Change("a", delta(1))], is_edit=True))
    predicted = history.push(step("predict", changes=[Change("a", delta())]))
    predicted.after = {"a": TargetRecord(answer=answer)}
    assert history.is_current("a", answer)
    later.before = later.after = {later.target: TargetRecord(answer=answer if later.target == "a" else None)}
    history.push(later)
    assert history.is_current("a", answer) == is_current
    history.undo()
    assert history.is_current("a", answer)


def test_clearing_leaves_nothing():
    history = History()
    history.push(step("a"))
    history.push(step("b"))
    history.undo()
    history.clear()
    assert history.nbytes == 0
    assert history.undo() is None
    assert history.redo() is None
