"""`promptseg benchmark`, as it is typed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from benchmark_models import write_phantoms

from PromptSegLib.command import benchmark
from PromptSegLib.evaluation.protocols import PROTOCOLS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("data"))


def test_a_table_and_json(promptseg, data, tmp_path):
    output = tmp_path / "out.json"
    models = "benchmark_models:Oracle,benchmark_models:Everything"
    outcome = promptseg(
        "benchmark", data, "--models", models, "--clicks", "3", "--json", output, "--jobs", "1", "--no-surfaces"
    )
    assert outcome.status == 0, outcome.err
    assert "1.000 [1.000, 1.000]" in outcome.out
    assert "3 CLICKS" in outcome.out
    assert "0 failed" in outcome.out
    assert "HUMAN" not in outcome.out
    content = json.loads(output.read_text())
    assert content["settings"]["clicks"] == 3
    assert len(content["records"]) == 2 * 4 * 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--models", "clasical", "--no-surfaces"), "did you mean 'classical'"),
        (("--protocols", "clicks,guess"), "got guess"),
        (("--clicks", "0"), "at least 1"),
        (("--models", "classical,classical"), "each once"),
    ],
)
def test_bad_options_are_refused_in_one_line(promptseg, data, options, message):
    outcome = promptseg("benchmark", data, "--jobs", "1", *options)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_report_and_a_picture(promptseg, data, tmp_path):
    report, picture = tmp_path / "out.html", tmp_path / "out.png"
    words = ("--models", "benchmark_models:Oracle", "--clicks", "2", "--jobs", "1", "--no-surfaces")
    outcome = promptseg("benchmark", data, *words, "--report", report, "--picture", picture)
    assert outcome.status == 0, outcome.err
    assert "benchmark_models:Oracle" in report.read_text(encoding="utf-8")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_help_names_all_protocols(promptseg, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # where no name is broken at its hyphen
    words = promptseg("benchmark", "--help").out.split()
    assert set(PROTOCOLS) <= {word.strip(",;:") for word in words}


def test_two_files_are_compared(promptseg, data, tmp_path):
    oracle, everything = "benchmark_models:Oracle", "benchmark_models:Everything"
    files = tmp_path / "a.json", tmp_path / "b.json"
    for file, models in zip(files, (everything, f"{everything},{oracle}"), strict=True):
        words = ("--models", models, "--clicks", "2", "--json", file, "--jobs", "1", "--no-surfaces")
        assert promptseg("benchmark", data, *words).status == 0
    same = promptseg("benchmark", "compare", *files)
    assert same.status == 0, same.err
    assert "+0.000 [+0.000, +0.000]" in same.out
    better = promptseg("benchmark", "compare", *files, "--models", f"{everything},{oracle}")
    assert f"{everything} to {oracle}" in better.out
    assert "too few" in better.out  # two cases, each way
    assert "promptseg: expected two models" in promptseg("benchmark", "compare", *files, "--models", oracle).err
    assert f"unrecognized arguments: {data}" in promptseg("benchmark", data, data).err
    assert "the following arguments are required: B.json" in promptseg("benchmark", "compare", files[0]).err
    assert promptseg("benchmark", "compare", "--models", f"{everything},{oracle}", *files).out == better.out
    assert "got" in promptseg("benchmark", "compare", files[0], tmp_path / "none.json").err


def test_ready_is_what_has_its_weights_here(monkeypatch):
    class Store:
        def status(self, name):
            return SimpleNamespace(state="ready" if name in ("sam-med2d", "stu-net-s") else "missing")

    monkeypatch.setattr("PromptSegLib.weights.store.WeightsStore", Store)
    usual = ("default", "classical", "growcut", "threshold")
    chosen = benchmark._chosen(("benchmark_models:Oracle", "ready"))
    assert chosen[:5] == ("benchmark_models:Oracle", *usual)
    assert set(chosen[5:]) >= {"sam-med2d"}
    assert not set(chosen[5:]) & {"sam-vit-b", "medsam"}
    assert benchmark._chosen(None) == usual
