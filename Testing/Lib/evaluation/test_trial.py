"""One model, one structure, one simulated user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_models import Everything
from fakes import BallPredictor
from slice_phantoms import PerfectPredictor, affine, ball, coloured, middle_ras

from PromptSegLib.evaluation.cases import BenchmarkCase, LoadedCase
from PromptSegLib.evaluation.protocols import PROTOCOLS
from PromptSegLib.evaluation.trial import Trial, run_trial, slice_from_record
from PromptSegLib.geometry import Grid
from PromptSegLib.prompts import VoxelScribble
from PromptSegLib.session.session import Session

GRID = Grid((20, 60, 64), affine(spacing=(0.8, 0.8, 2.5), turned_deg=25))
TRUTH = ball(GRID, middle_ras(GRID), 15)
CASE = LoadedCase(BenchmarkCase("d", "i", "ball", Path("i"), Path("t")), coloured(GRID, TRUTH), TRUTH)


def run(name, predictor, case=CASE, clicks=3):
    trial = Trial(PROTOCOLS[name], 0, clicks, has_surfaces=False)
    return run_trial(trial, case, Session(case.volume, predictor))


@pytest.mark.parametrize("name", ["clicks", "box", "box-clicks"])
def test_a_model_of_slices_is_carried_through_a_volume_after_a_prompt_on_one_slice(name):
    record = run(name, PerfectPredictor())
    assert record["status"] == "done"
    assert record["steps"][0]["dice"] > 0.98
    assert record["steps"][0]["changed_voxels"] >= 0.98 * TRUTH.sum()
    assert record["steps"][0]["ms"]["propagation"] > 0
    assert record["steps"][0]["ms"]["total"] > record["steps"][0]["ms"]["propagation"]
    if name == "box":
        assert min(record["steps"][0]["prompts"][0]["size_mm"]) == 0


def test_a_record_shows_the_middle_slice_and_counts_what_changed():
    record = run("clicks", BallPredictor(radius_mm=10.0), clicks=1)
    (step,) = record["steps"]
    shown = slice_from_record(record["slice"], GRID.shape_kji)
    found = ball(GRID, step["prompts"][0]["position_ras"], 10.0)
    np.testing.assert_array_equal(shown, found[record["slice"]["k"]])
    assert TRUTH[record["slice"]["k"]].sum() == TRUTH.sum(axis=(1, 2)).max()
    assert step["changed_voxels"] == found.sum()
    assert step["ms"]["balls"] == 1.0


class Listening(Everything):
    """Answers with the whole image, and remembers how many prompts it was asked with."""

    def __init__(self):
        self.asked = []

    def answer(self, array, state):
        self.asked.append(len(state.prompts))
        return super().answer(array, state)


def test_scribbles_of_people_are_given_one_after_the_other_and_kept_as_numbers():
    voxels = [tuple(GRID.to_ras((i, 30.0, 10.0))) for i in (30.0, 32.0)]
    on, beside = (VoxelScribble(tuple(voxels), sign) for sign in (True, False))
    case = LoadedCase(CASE.case, CASE.volume, TRUTH, ((on, beside), (on,)))
    assert PROTOCOLS["human"].repetitions_of(case) == 2
    predictor = Listening()
    (step,) = run("human", predictor, case)["steps"]
    assert predictor.asked == [1, 2]
    middle = pytest.approx(GRID.to_ras((31.0, 30.0, 10.0)), abs=0.01)
    assert step["prompts"] == [
        {"kind": "voxels", "count": 2, "middle_ras": middle, "positive": positive} for positive in (True, False)
    ]


@pytest.mark.parametrize("name", ["random-clicks", "random-box"])
def test_what_is_random_differs_by_repetition_and_by_nothing_else(name):
    def prompts(repetition):
        trial = Trial(PROTOCOLS[name], repetition, 2, has_surfaces=False)
        record = run_trial(trial, CASE, Session(CASE.volume, Everything()))
        return [step["prompts"] for step in record["steps"]]

    assert prompts(0) == prompts(0)
    assert prompts(0) != prompts(1)
