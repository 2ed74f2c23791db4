"""The protocol of corrections begins with masks that are wrong, and tells what prompts make of them."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.evaluation.correction_starts import STARTS, start_of
from PromptSegLib.evaluation.corrections import by_all, by_shape, correction_lines, corrections
from PromptSegLib.evaluation.folders import find_cases
from PromptSegLib.evaluation.protocols import PROTOCOLS
from PromptSegLib.evaluation.results import Results
from PromptSegLib.evaluation.runner import Settings, run_benchmark
from PromptSegLib.evaluation.shape_phantoms import make_shape


@pytest.fixture(scope="module")
def ring_case(tmp_path_factory):
    volume, truth = make_shape("ring", (1, 72, 72), seed=2)
    folder = tmp_path_factory.mktemp("rings")
    np.savez(folder / "ring.npz", image=volume.array, mask=truth.astype(np.uint8))
    [case] = find_cases(folder)
    return case


def record(gains, *, shape="ring", start=0.8, far=7):
    dice, steps = start, []
    for gain in gains:
        dice += gain
        steps.append({"dice": dice, "far_voxels": far})
    about = {"model": "m", "protocol": "corrections", "status": "done", "dimensions": 2, "start": "warp"}
    return {**about, "case": shape, "shape": shape, "start_dice": start, "steps": steps}


def test_gains_losses_and_the_worst_are_counted_per_click():
    found = corrections(Results({}, [record([0.1, -0.02]), record([-0.3], far=1), record([0.005, -0.005])]), by_all)
    first, second = found
    assert [one.turn for one in found] == [1, 2]
    assert first.gain.value == pytest.approx((0.1 - 0.3 + 0.005) / 3)
    assert (first.losing, first.worst) == (pytest.approx(1 / 3), pytest.approx(-0.3))
    assert first.far_voxels == pytest.approx(5)
    assert second.losing == pytest.approx(1 / 2)  # of those that were clicked a second time; .005 is no loss
    assert second.dice == pytest.approx((0.88 + 0.5 + 0.8) / 3)  # of all, as they ended


def test_groups_are_shapes():
    results = Results({}, [record([0.1]), record([0.2], shape="tree")])
    assert [line[0] for line in correction_lines(results, by_shape)] == ["2D ring", "2D tree"]


def test_starts_are_the_same_for_all_models_and_worth_correcting(ring_case):
    loaded = ring_case.load()
    for name in STARTS:
        if name.startswith("growcut"):
            continue  # needs slicer-core
        masks = [start_of(name, loaded) for _ in range(2)]
        assert (masks[0] is None) == (masks[1] is None)
        if masks[0] is not None:
            np.testing.assert_array_equal(*masks)
            assert not np.array_equal(masks[0], loaded.truth_kji)


def test_the_user_corrects_what_the_session_was_given(ring_case):
    results = run_benchmark([ring_case], Settings(("classical",), ("corrections",), has_surfaces=False))
    names = [record["start"] for record in results.records]
    assert {"warp", "missing", "leak", "broken ring"} <= set(names)
    assert "lost branch" not in names
    for record in results.records:
        assert record["shape"] == "ring"
        assert 0.3 <= record["start_dice"] <= 0.97
        assert 1 <= len(record["steps"]) <= 3
        assert all(step["far_voxels"] <= step["changed_voxels"] for step in record["steps"])
    assert len(PROTOCOLS["corrections"].starts) == len(STARTS)
