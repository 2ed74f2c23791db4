"""`promptseg list`, `propose` and `compare`: the list in the shell."""

import csv
import json

import numpy as np
import pytest
from image_files import ijk_to_ras, numbered, write_with_itk

from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, read_volume, write_segmentation
from PromptSegLib.io.certainty_file import read_certainties
from PromptSegLib.io.prompts import write_prompts
from PromptSegLib.predictors import registry
from PromptSegLib.prompts import Point
from PromptSegLib.worklist.case import CaseState
from PromptSegLib.worklist.worklist import Worklist

GRID = Grid((10, 12, 14), ijk_to_ras())


@pytest.fixture
def cases(tmp_path, monkeypatch):
    """A list of four images with prompts; "sure" is among the models."""
    monkeypatch.setitem(registry.BUILT_IN, "sure", "fakes:SureBallPredictor")
    for name in "abcd":
        write_with_itk(tmp_path / f"{name}.nrrd", numbered(GRID.shape_kji), GRID.ijk_to_ras)
    write_prompts(tmp_path / "click.json", {"liver": [Point(GRID.to_ras((7, 6, 5)))]})
    path = tmp_path / "cases.csv"
    rows = "".join(f"{name}.nrrd;click.json;out/{name}.seg.nrrd\n" for name in "abcd")
    path.write_text(f"image;prompts;output\n{rows}", encoding="utf-8")
    return path


def test_what_is_to_do_is_proposed_with_how_sure_the_model_is_and_all_else_is_left(promptseg, cases, tmp_path):
    promptseg("list", cases, "--case", "a", "--set", "in work", "--reader", "Ann")
    promptseg("list", cases, "--case", "b.nrrd", "--set", "accepted", "--reader", "Ann")
    write_segmentation(tmp_path / "out" / "c.seg.nrrd", [Segment("by hand", np.ones(GRID.shape_kji, bool))], GRID)
    by_hand = (tmp_path / "out" / "c.seg.nrrd").read_bytes()
    outcome = promptseg("propose", cases, "--model", "sure")
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "1 proposed, 0 taken, 0 failed, 3 left as they were"
    a, b, c, d = Worklist.open(cases).cases
    assert [case.state.value for case in (a, b, c, d)] == ["in work", "accepted", "in work", "proposed"]
    assert not a.is_saved
    assert c.segmentation.read_bytes() == by_hand
    assert (d.model, d.is_done) == ("ball", False)
    assert 0.05 < d.unsure < 0.5
    certainty = read_certainties(d.certainty_file, GRID)["liver"]
    mask = read_volume(d.segmentation).array[certainty.extent.slices] == 1
    assert certainty.probability_kji[mask].min() > 0.49 < 0.51 > certainty.probability_kji[~mask].max()
    assert sorted(path.name for path in d.segmentation.parent.iterdir()) == [
        "c.seg.nrrd",
        "d.certainty.npz",
        "d.seg.nrrd",
    ]


def test_a_case_that_fails_stays_to_do_and_the_others_are_proposed(promptseg, cases, tmp_path):
    (tmp_path / "b.nrrd").write_text("no image")
    outcome = promptseg("propose", cases, "--model", "ball")
    assert outcome.status == 3
    assert outcome.err.startswith("promptseg: b: expected a readable NRRD file")
    assert [case.state.value for case in Worklist.open(cases).cases] == ["proposed", "to do", "proposed", "proposed"]
    (tmp_path / "b.nrrd").unlink()
    lines = [json.loads(line) for line in promptseg("propose", cases, "--model", "ball", "--json").out.splitlines()]
    assert [(line["case"], line["status"], line["number"], line["of"]) for line in lines] == [("b", "failed", 1, 1)]
    again = promptseg("propose", cases, "--model", "ball", "--json", "--again").out.splitlines()
    assert [json.loads(line)["status"] for line in again] == ["proposed", "failed", "proposed", "proposed"]
    assert json.loads(again[0])["per_minute"] > 0


def test_a_case_that_is_begun_while_it_is_proposed_is_left_to_who_began(promptseg, cases, monkeypatch):
    from PromptSegLib.command import propose

    make = propose.make_proposal

    def meanwhile(case, *arguments):
        proposal = make(case, *arguments)
        if case.name == "a":
            bob = Worklist.open(cases, "Bob")
            bob.claim(bob.find(case))
        return proposal

    monkeypatch.setattr(propose, "make_proposal", meanwhile)
    outcome = promptseg("propose", cases, "--model", "ball")
    assert "expected a to do, got it in work by Bob" in outcome.out
    first = Worklist.open(cases).cases[0]
    assert (first.state, first.reader) == (CaseState.IN_WORK, "Bob")
    assert sorted(path.name for path in first.segmentation.parent.iterdir()) == [f"{n}.seg.nrrd" for n in "bcd"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "ball"), "expected a column 'prompts' in the list, or --classes, --task or --text"),
        (("--model", "nobody", "--text", "liver"), "nobody"),
    ],
)
def test_proposing_without_anything_to_go_by_is_refused(promptseg, cases, words, message):
    cases.write_text("image\na.nrrd\n")
    assert message in promptseg.refuses("propose", cases, *words)


def test_the_list_is_shown_filtered_sorted_and_written_a_row_a_case(promptseg, cases, tmp_path):
    worklist = Worklist.open(cases)
    for case, unsure in zip(worklist.cases, (0.1, 0.4, None, 0.2), strict=True):
        worklist.record(case, state=CaseState.PROPOSED, unsure=unsure)
    worklist.record(worklist.cases[0], state=CaseState.REJECTED)
    out = promptseg("list", cases, "--state", "proposed", "--unsure-first", "-o", tmp_path / "now.csv").out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["b", "d", "c"]
    assert out.splitlines()[-1] == "3 proposed, 1 rejected"
    with (tmp_path / "now.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["b.nrrd", "d.nrrd", "c.nrrd"]
    assert [case.name for case in Worklist.open(tmp_path / "now.csv").cases] == ["b", "d", "c"]
    report = promptseg("list", cases, "--json").json
    assert (report["rejected"], report["cases"][1]["unsure"]) == (1, 0.4)


def test_what_cannot_be_recorded_is_said_in_a_line(promptseg, cases):
    assert "'z'" in promptseg.refuses("list", cases, "--case", "z", "--set", "accepted")
    assert "expected --case NAME" in promptseg.refuses("list", cases, "--set", "accepted")
    assert "another file than the list" in promptseg.refuses("list", cases, "-o", cases)
    promptseg("list", cases, "--case", "a", "--set", "accepted", "--reader", "Ann")
    assert "expected a case of Bob, got" in promptseg.refuses(
        "list", cases, "--case", "a", "--set", "rejected", "--reader", "Bob"
    )


def test_segmenting_the_list_leaves_what_somebody_decided(promptseg, cases):
    promptseg("list", cases, "--case", "a", "--set", "accepted", "--reader", "Ann")
    outcome = promptseg("segment", "--list", cases, "--model", "ball", "--overwrite")
    assert outcome.status == 0, outcome.err
    assert "a.seg.nrrd skipped: accepted Ann" in outcome.out
    assert outcome.out.splitlines()[-1] == "3 done, 1 skipped, 0 failed"


def test_two_readings_of_a_list_are_compared(promptseg, cases, tmp_path):
    promptseg("propose", cases, "--model", "ball")
    promptseg("list", cases, "--case", "a", "--set", "accepted", "--reader", "Ann")
    promptseg("list", cases, "--case", "a", "--second-reading", "--set", "accepted", "--reader", "Bob")
    assert "expected two readings" in promptseg.refuses("compare", cases)
    first, second = (case for case in Worklist.open(cases).cases if case.name == "a")
    mask = read_volume(first.segmentation).array == 1
    grid = read_volume(first.segmentation).grid
    write_segmentation(second.segmentation, [Segment("liver", mask & (np.arange(mask.shape[2]) < 7))], grid)
    report = promptseg("compare", cases, "--json", "-o", tmp_path / "agreement.csv").json
    (one,) = report["segments"]
    assert (one["first"], one["second"], one["segment"]) == ("Ann", "Bob", "liver")
    assert 0.3 < one["dice"] < 0.9
    assert report["dice"]["all"]["mean"] == pytest.approx(one["dice"], abs=1e-5)
    assert (tmp_path / "agreement.csv").read_text().count("\n") == 2
    out = promptseg("compare", first.segmentation, second.segmentation).out
    assert f"Dice of liver: {one['dice']:.3f}" in out
    assert "a second segmentation" in promptseg.refuses("compare", first.segmentation)
