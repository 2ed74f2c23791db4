"""Two benchmarks are compared case by case."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.evaluation.columns import clicks_to, dice_columns, effort_columns
from PromptSegLib.evaluation.compare import compare
from PromptSegLib.evaluation.results import Results, ResultsError, by_dimensions

ONE_CLICK = dice_columns(3)[:1]
DICE = np.random.default_rng(0).uniform(0.2, 0.9, 40)


def results(dices, model="a", first_case=0):
    return Results(
        {},
        [
            {
                "model": model,
                "case": f"case {number + first_case}",
                "dimensions": 3,
                "protocol": "clicks",
                "status": "done",
                "turns": 3,
                "steps": [{"dice": float(dice)}],
            }
            for number, dice in enumerate(dices)
        ],
    )


def only(differences):
    (difference,) = differences
    return difference


def test_a_small_gain_in_every_case_is_seen_though_cases_differ_far_more():
    noise = np.random.default_rng(1).normal(0, 0.01, len(DICE))
    found = only(compare(results(DICE), results(DICE + 0.02 + noise), ("a", "a"), ONE_CLICK, by_dimensions))
    assert found.verdict == "better"
    assert found.group == "3D"
    assert found.change.value == pytest.approx(0.02 + noise.mean())
    assert found.after - found.before == pytest.approx(found.change.value)
    assert found.change.low < 0.02 < found.change.high
    assert only(compare(results(DICE + 0.02), results(DICE), ("a", "a"), ONE_CLICK, by_dimensions)).verdict == "worse"


def test_noise_is_the_same():
    noise = np.random.default_rng(2).normal(0, 0.1, len(DICE))
    noise -= noise.mean() / 2
    assert only(compare(results(DICE), results(DICE + noise), ("a", "a"), ONE_CLICK, by_dimensions)).verdict == "same"
    assert only(compare(results(DICE), results(DICE), ("a", "a"), ONE_CLICK, by_dimensions)).verdict == "same"


def test_fewer_clicks_are_better():
    first, second = results([0.5] * 6), results([0.95] * 6)
    effort = compare(first, second, ("a", "a"), effort_columns(3), by_dimensions)
    assert {difference.verdict for difference in effort} == {"better"}
    assert clicks_to(second.records[0], 0.9) == 1


def test_five_cases_are_too_few_to_tell():
    found = only(compare(results([0.5] * 5), results([0.9] * 5), ("a", "a"), ONE_CLICK, by_dimensions))
    assert found.verdict == "too few"


def test_only_common_cases_count_and_there_must_be_some():
    found = only(compare(results(DICE), results(DICE[5:] + 0.1, "b", 5), ("a", "b"), ONE_CLICK, by_dimensions))
    assert found.change.count == 35
    assert found.change.value == pytest.approx(0.1)
    with pytest.raises(ResultsError, match="in common"):
        compare(results(DICE), results(DICE, first_case=100), ("a", "a"), ONE_CLICK, by_dimensions)
    with pytest.raises(ResultsError, match="one of the models a, got 'b'"):
        compare(results(DICE), results(DICE), ("a", "b"), ONE_CLICK, by_dimensions)
