"""A benchmark's figures are those that are known beforehand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from benchmark_models import write_phantoms

from PromptSegLib.errors import UnknownPredictorError
from PromptSegLib.evaluation.columns import challenge_columns, dice_after, dice_columns
from PromptSegLib.evaluation.folders import find_cases
from PromptSegLib.evaluation.results import by_dimensions, table
from PromptSegLib.evaluation.runner import BenchmarkError, Settings, run_benchmark

ORACLE, EVERYTHING, BROKEN = (f"benchmark_models:{name}" for name in ("Oracle", "Everything", "Broken"))

BOX = next(column for column in dice_columns(1) if column.title == "box")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return find_cases(write_phantoms(tmp_path_factory.mktemp("phantoms")))


def records_of(results, **wanted):
    return [record for record in results.records if all(record[key] == value for key, value in wanted.items())]


def test_an_oracle_reaches_dice_1_with_the_first_prompt_and_the_user_is_content(cases):
    results = run_benchmark(cases, Settings((ORACLE,), ("clicks", "box"), has_surfaces=False))
    assert len(results.records) == 4 * 2
    for record in results.records:
        assert [step["dice"] for step in record["steps"]] == [1.0]
        assert record["status"] == "done"
    for row in table(results, dice_columns(10), by_dimensions):
        means = dict(zip([column.title for column in dice_columns(10)], row.means, strict=True))
        for title in ("1 click", "3 clicks", "5 clicks", "10 clicks", "box"):
            mean = means[title]
            assert (mean.value, mean.low, mean.high, mean.count) == (1, 1, 1, 2)
        assert means["human scribbles"] is None


def test_everything_has_the_dice_that_follows_from_its_size(cases):
    results = run_benchmark(cases, Settings((EVERYTHING,), ("clicks",), clicks=2, has_surfaces=False))
    sizes = {"volume/volume/label 3": (7 * 20 * 16, 12 * 40 * 48), "picture/picture/label 7": (6 * 12, 40 * 48)}
    for case, (size, total) in sizes.items():
        (record,) = records_of(results, case=case)
        assert [step["dice"] for step in record["steps"]] == [pytest.approx(2 * size / (size + total), abs=1e-5)] * 2
        # The first click is on the structure; then the largest error is all around it.
        assert [step["prompts"][0]["positive"] for step in record["steps"]] == [True, False]
        assert [step["changed_voxels"] for step in record["steps"]] == [total, 0]
        assert record["steps"][0]["ms"]["answer"] == 2.0


def test_surfaces_are_compared_after_the_prompts_that_tables_name_and_when_all_is_right(cases):
    pytest.importorskip("monai")
    settings = Settings((EVERYTHING, ORACLE), ("clicks", "box-clicks"), clicks=4)
    results = run_benchmark([case for case in cases if case.key == "volume/volume/label 3"], settings)
    everything, challenge, oracle, _ = results.records
    assert [step.get("nsd", "none") == "none" for step in everything["steps"]] == [False, True, False, False]
    assert len(challenge["steps"]) == 6
    # The image's surface is at least 6 mm off the structure's, and up to 22 mm along i.
    assert all(step["nsd"] == 0 for step in challenge["steps"])
    assert challenge["steps"][0]["hd95_mm"] > 22
    assert (oracle["steps"][0]["nsd"], oracle["steps"][0]["hd95_mm"]) == (1.0, 0.0)
    assert oracle["peak_mib"] > 50


def test_a_model_that_breaks_down_keeps_the_dice_it_had(cases):
    results = run_benchmark(cases[:1], Settings((BROKEN,), ("clicks",), clicks=5, has_surfaces=False))
    (record,) = results.records
    assert record["status"] == "failed"
    assert "out of luck" in record["error"]
    assert len(record["steps"]) == 2
    assert dice_after(record, 5) == 0.0


def test_prompts_that_a_model_does_not_take_leave_a_gap_in_the_table(cases):
    results = run_benchmark(cases, Settings(("threshold",), ("clicks", "box"), has_surfaces=False))
    assert {record["status"] for record in records_of(results, protocol="clicks")} == {"unsupported"}
    for row in table(results, [dice_columns(10)[0], *challenge_columns(), BOX], by_dimensions):
        assert row.means[:-1] == [None] * 5
        assert row.means[-1].value == 1.0


def test_a_model_of_slices_is_not_measured_on_volumes_nor_a_structure_that_is_too_small(cases):
    results = run_benchmark(cases, Settings((ORACLE,), ("box",), least_voxels=100, has_surfaces=False))
    assert {record["case"] for record in results.records} == {
        "picture/picture/label 3",
        "volume/volume/label 3",
        "volume/volume/label 7",
    }


def test_an_image_that_does_not_suit_a_model_is_left_out(cases):
    needs_pet = "benchmark_models:NeedsPet"
    results = run_benchmark(cases, Settings((needs_pet, ORACLE), ("box",), has_surfaces=False))
    assert results.models() == [ORACLE]


def test_two_processes_find_what_one_finds(cases):
    settings = Settings(("classical", "growcut"), ("clicks", "box"), clicks=2, has_surfaces=False)
    alone, shared = (run_benchmark(cases, settings, jobs) for jobs in (1, 2))

    def without_costs(records):
        steps = [[{**step, "ms": None} for step in record["steps"]] for record in records]
        return [{**r, "peak_mib": None, "steps": s} for r, s in zip(records, steps, strict=True)]

    assert without_costs(alone.records) == without_costs(shared.records)
    assert len(alone.records) == 2 * 4 * 2


def test_processes_end_with_the_one_that_started_them_when_that_is_killed(tmp_path):
    folder = write_phantoms(tmp_path / "data")
    code = (
        "from pathlib import Path\n"
        "from PromptSegLib.evaluation.folders import find_cases\n"
        "from PromptSegLib.evaluation.runner import Settings, run_benchmark\n"
        "if __name__ == '__main__':\n"
        "    settings = Settings(('benchmark_models:Slow',), ('random-clicks',), 100, has_surfaces=False)\n"
        f"    run_benchmark(find_cases(Path({str(folder)!r})), settings, jobs=2, notes=Path({str(tmp_path)!r}) / 'n')\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    paths = os.pathsep.join(str(path) for path in (Path(__file__).parents[3], Path(__file__).parents[2] / "support"))
    with subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": paths}) as parent:
        workers = []
        deadline = time.monotonic() + 60
        while len(workers) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
            children = psutil.Process(parent.pid).children(recursive=True)
            workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        time.sleep(2)  # until they are at work
        parent.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []


def test_a_benchmark_that_was_stopped_goes_on_where_it_was(cases, tmp_path):
    notes, settings = tmp_path / "out.json.part", Settings((ORACLE, EVERYTHING), ("box",), has_surfaces=False)

    def stop(fraction, what):
        if fraction >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(cases, settings, progress=stop, notes=notes)
    with notes.open("a") as file:
        file.write('["cut off')
    seen = []
    results = run_benchmark(cases, settings, progress=lambda fraction, what: seen.append(fraction), notes=notes)
    assert seen == [5 / 8, 6 / 8, 7 / 8, 1.0]
    assert not notes.exists()
    assert [(r["model"], r["case"]) for r in results.records] == [
        (model, case.key) for model in (ORACLE, EVERYTHING) for case in cases
    ]


def test_notes_of_another_benchmark_are_not_gone_on_with(cases, tmp_path):
    notes = tmp_path / "out.json.part"
    notes.write_text(json.dumps({"settings": {}, "works": []}) + "\n")
    seen = []
    run_benchmark(
        cases[:2],
        Settings((ORACLE,), ("box",), has_surfaces=False),
        progress=lambda f, what: seen.append(f),
        notes=notes,
    )
    assert seen == [0.5, 1.0]


def test_what_cannot_be_run_is_refused(cases):
    with pytest.raises(BenchmarkError, match="got guess"):
        run_benchmark(cases, Settings((ORACLE,), ("guess",), has_surfaces=False))
    with pytest.raises(BenchmarkError, match="picture/picture/label 3 twice"):
        run_benchmark([*cases, cases[0]], Settings((ORACLE,), has_surfaces=False))


def test_a_model_that_does_not_exist_is_refused_before_anything_is_done(cases):
    settings = Settings(("classical", "clasical"), has_surfaces=False)
    with pytest.raises(UnknownPredictorError, match="clasical"):
        run_benchmark(cases, settings, progress=lambda f, what: pytest.fail(what))
