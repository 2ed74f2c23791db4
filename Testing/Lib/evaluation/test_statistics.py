"""Means and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.evaluation.statistics import mean_with_interval


def test_the_interval_is_about_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.7, 0.1, 400)
    mean = mean_with_interval(values)
    assert mean.value == pytest.approx(values.mean())
    assert mean.low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=1e-3)
    assert mean.high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=1e-3)
    assert mean.count == 400


def test_it_is_the_same_every_time_and_of_one_value_that_value():
    values = [0.1, 0.5, 0.9]
    assert mean_with_interval(values) == mean_with_interval(values)
    assert str(mean_with_interval([0.25])) == "0.250 [0.250, 0.250]"


def test_it_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    means = [mean_with_interval(rng.uniform(0, 1, 40), seed) for seed in range(100)]
    assert 88 <= sum(mean.low <= 0.5 <= mean.high for mean in means) <= 99
