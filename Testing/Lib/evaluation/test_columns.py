"""The figures of tables, from records written by hand."""

from __future__ import annotations

import pytest

from PromptSegLib.evaluation.columns import (
    challenge_columns,
    clicks_to,
    dice_after,
    dice_columns,
    effort_columns,
    fails_to_reach,
)


def record(*dices, turns=10, protocol="clicks", **last):
    steps = [{"dice": dice} for dice in dices]
    if steps:
        steps[-1] |= last
    return {"protocol": protocol, "turns": turns, "steps": steps, "status": "done"}


def test_after_the_last_answer_the_mask_stays():
    assert [dice_after(record(0.3, 0.9), turn) for turn in (1, 2, 3, 10)] == [0.3, 0.9, 0.9, 0.9]
    assert dice_after(record(), 3) == 0.0


def test_the_number_of_clicks_counts_all_of_them_when_they_do_not_suffice():
    falls_back = record(0.5, 0.86, 0.7)
    assert [clicks_to(falls_back, goal) for goal in (0.4, 0.8, 0.85, 0.9)] == [1, 2, 2, 10]
    assert [fails_to_reach(falls_back, goal) for goal in (0.85, 0.9)] == [False, True]


def test_columns_have_the_counts_up_to_the_last_click():
    assert [column.title for column in dice_columns(7)[:4]] == ["1 click", "3 clicks", "5 clicks", "7 clicks"]
    values = {column.title: column.value(record(0.5, 0.86, nsd=0.4, hd95_mm=None)) for column in effort_columns(10)}
    assert (values["clicks to 0.80"], values["below 0.90"]) == (2, True)
    assert (values["NSD 2 mm"], values["HD95 mm"]) == (0.4, None)


def test_the_challenges_area_is_over_the_five_clicks_without_the_box():
    steps = [{"dice": d, "nsd": n} for d, n in ((0.9, 0.9), (0.1, 0.7), (0.4, 0.5), (0.6, 0.6), (0.8, 0.8), (1.0, 1.0))]
    trial = {"protocol": "box-clicks", "turns": 6, "steps": steps, "status": "done"}
    values = {column.title: column.value(trial) for column in challenge_columns()}
    assert values["DSC AUC"] == pytest.approx(0.1 / 2 + 0.4 + 0.6 + 0.8 + 0.5)
    # With a Dice of 0.2 at most, surfaces are not looked at.
    assert values["NSD AUC"] == pytest.approx(0.0 / 2 + 0.5 + 0.6 + 0.8 + 0.5)
    assert (values["DSC final"], values["NSD final"]) == (1.0, 1.0)


def test_a_right_mask_has_the_largest_area_of_the_challenge_and_no_surfaces_none():
    right = {"protocol": "box-clicks", "turns": 6, "steps": [{"dice": 1.0, "nsd": 1.0}], "status": "done"}
    assert [column.value(right) for column in challenge_columns()] == [4.0, 4.0, 1.0, 1.0]
    without = {"protocol": "box-clicks", "turns": 6, "steps": [{"dice": 1.0}], "status": "done"}
    assert [column.value(without) for column in challenge_columns()] == [4.0, None, 1.0, None]
