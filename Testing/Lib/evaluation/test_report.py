"""The report holds all it shows: curves, times and cases; and says what it is of."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest
from benchmark_models import write_phantoms

from PromptSegLib.evaluation.figures import RESULT_COLOUR, TRUTH_COLOUR, case_figure, dice_figure
from PromptSegLib.evaluation.folders import find_cases
from PromptSegLib.evaluation.gallery import choose_exhibits
from PromptSegLib.evaluation.latency import latencies
from PromptSegLib.evaluation.manifest import Source
from PromptSegLib.evaluation.report import write_report
from PromptSegLib.evaluation.runner import Settings, run_benchmark
from PromptSegLib.evaluation.trial import slice_from_record

ORACLE, EVERYTHING, BROKEN = (f"benchmark_models:{name}" for name in ("Oracle", "Everything", "Broken"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return find_cases(write_phantoms(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def results(cases):
    settings = Settings((ORACLE, EVERYTHING, BROKEN), ("clicks", "box"), clicks=4, has_surfaces=False)
    return run_benchmark(cases, settings, sources=[Source("volume", "https://example.org/<x>", "CC0")])


@pytest.fixture(scope="module")
def page(results, cases, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, results, cases)
    return path.read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_elsewhere(page):
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]', page)
    assert "<script" not in page
    assert page.count("<svg") == 2
    # Worst, median and best of three models in 2D and in 3D.
    assert page.count("data:image/png;base64,") == 18


def test_the_page_says_what_was_measured_on_what(page):
    for words in (
        "4 structures in 2 images",
        "https://example.org/&lt;x&gt; CC0",
        "out of luck",
        "<b>1.000</b>",
        "Oracle is oracle",
    ):
        assert words in page


def test_exhibits_are_the_worst_the_middle_and_the_best(results, cases):
    exhibits = [one for one in choose_exhibits(results, cases) if one.model == EVERYTHING and one.group == "3D"]
    assert [(one.place, one.case.structure) for one in exhibits] == [
        ("worst", "label 7"),
        ("median", "label 7"),
        ("best", "label 3"),
    ]


def test_times_are_those_of_the_stages_without_what_is_done_once(results):
    found = {(one.model, one.group): one for one in latencies(results)}
    everything = found[EVERYTHING, "3D"]
    assert everything.stages_ms["answer"] == 2.0
    assert list(everything.stages_ms)[-1] == "other"
    assert everything.median_ms <= everything.percentile_95_ms
    assert everything.encode_ms is None
    assert everything.count == 2 * 4
    assert sum(everything.shares.values()) == pytest.approx(1)


def test_a_case_shows_truth_result_and_prompts_where_they_are(results, cases):
    record = next(r for r in results.records if r["model"] == EVERYTHING and r["case"] == "volume/volume/label 3")
    loaded = next(case for case in cases if case.key == record["case"]).load()
    k = record["slice"]["k"]
    mask = slice_from_record(record["slice"], loaded.volume.grid.shape_kji)
    assert mask.all()
    (axes,) = case_figure(loaded, record, mask, k).axes
    colours = [matplotlib.colors.to_hex(c.get_edgecolor()[0]) for c in axes.collections]
    assert colours == [TRUTH_COLOUR.lower(), RESULT_COLOUR.lower()]
    first = axes.lines[0]
    i, j, at = loaded.volume.grid.to_ijk(record["steps"][0]["prompts"][0]["position_ras"])
    assert (*first.get_xdata(), *first.get_ydata()) == pytest.approx((i, j))
    assert loaded.truth_kji[round(at), round(j), round(i)]
    assert axes.get_aspect() == pytest.approx(1.5)
    # RAS: the patient's right is on the left, so that i runs to the left and j upwards.
    assert axes.xaxis_inverted()
    assert not axes.yaxis_inverted()


def test_the_curve_is_the_mean_of_all_cases(results):
    figure = dice_figure(results)
    left = figure.axes[0]
    assert left.get_title(loc="left") == "2D: 2 structures"
    curves = {line.get_label(): line.get_ydata() for line in left.lines}
    assert list(curves[ORACLE]) == [1, 1, 1, 1]
    sizes = np.array([20 * 16, 6 * 12])
    assert curves[EVERYTHING] == pytest.approx(np.mean(2 * sizes / (sizes + 40 * 48)), abs=1e-5)
