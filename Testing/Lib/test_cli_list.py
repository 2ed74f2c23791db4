import os
import sys

import numpy as np
import pytest
from image_files import ijk_to_ras, numbered, write_with_itk

from PromptSegLib.command.case import segment_case
from PromptSegLib.geometry import Grid
from PromptSegLib.io import read_volume
from PromptSegLib.prompt_files import write_prompts
from PromptSegLib.prompts import Point

GRID = Grid((10, 12, 14), ijk_to_ras())


@pytest.fixture
def cases(tmp_path):
    """A folder with three images, one file of prompts and a list of three rows."""
    for name in "abc":
        write_with_itk(tmp_path / f"{name}.nrrd", numbered(GRID.shape_kji), GRID.ijk_to_ras)
    write_prompts(tmp_path / "click.json", {"liver": [Point(GRID.to_ras((7, 6, 5)))]})
    return write_list(tmp_path, [(f"{name}.nrrd", "click.json", f"out/{name}.nii.gz") for name in "abc"])


def write_list(folder, rows):
    path = folder / "cases.csv"
    path.write_text("image,prompts,output\n" + "".join(f"{','.join(row)}\n" for row in rows))
    return path


def test_every_row_is_segmented_with_paths_from_the_list_s_folder(promptseg, cases, tmp_path):
    outcome = promptseg("segment", "--list", cases, "--model", "ball", "--label", "liver=5")
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "3 done, 0 skipped, 0 failed"
    for name in "abc":
        assert set(np.unique(read_volume(tmp_path / "out" / f"{name}.nii.gz").array)) == {0, 5}


def test_finished_rows_are_skipped_and_changed_ones_are_done_again(promptseg, cases, tmp_path):
    run = ("segment", "--list", cases, "--model", "ball", "--json")
    promptseg(*run)
    (tmp_path / "out" / "a.nii.gz").unlink()
    later = (tmp_path / "out" / "b.nii.gz").stat().st_mtime + 10
    os.utime(tmp_path / "b.nrrd", (later, later))
    report = promptseg(*run).json
    assert [case["status"] for case in report["cases"]] == ["done", "done", "skipped"]
    assert (report["done"], report["skipped"], report["failed"]) == (2, 1, 0)
    assert [case["status"] for case in promptseg(*run, "--overwrite").json["cases"]] == ["done"] * 3


def test_a_row_that_fails_is_named_and_the_others_are_done(promptseg, cases, tmp_path):
    (tmp_path / "b.nrrd").write_text("no image")
    outcome = promptseg("segment", "--list", cases, "--model", "ball")
    assert outcome.status == 3
    assert outcome.out.splitlines()[-1] == "2 done, 0 skipped, 1 failed"
    assert outcome.err.startswith(f"promptseg: {cases}, line 3: expected a readable NRRD file")
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"promptseg: failed: line 3, {tmp_path / 'out' / 'b.nii.gz'}: expected a readable NRRD file")
    assert (tmp_path / "out" / "c.nii.gz").exists()


def test_the_report_for_machines_tells_what_failed(promptseg, cases, tmp_path):
    (tmp_path / "c.nrrd").unlink()
    outcome = promptseg("segment", "--list", cases, "--model", "ball", "--json")
    assert outcome.status == 3
    failed = outcome.json["cases"][2]
    assert (failed["line"], failed["status"]) == (4, "failed")
    assert "there is no such file" in failed["error"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected the columns image, prompts, output .* got none"),
        ("image,output\na.nrrd,b.nrrd\n", "got image, output: prompts missing"),
        ("image,prompts,output\n", "expected at least one case"),
        ("image,prompts,output\na.nrrd,,b.nrrd\n", "line 2: prompts missing"),
        ("image,prompts,output\na.nrrd,b.json\n", "line 2: output missing"),
        ("image,prompts,output\na,b,o.mha\nc,b,./o.mha\n", r"o\.mha in lines 2 and 3"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_before_anything_is_done(promptseg, tmp_path, content, message):
    path = tmp_path / "cases.csv"
    path.write_text(content)
    error = promptseg.refuses("segment", "--list", path, "--model", "ball")
    assert pytest.raises(ValueError, match=message).matches(ValueError(error))


def test_a_list_from_a_spreadsheet_is_read(promptseg, cases):
    cases.write_bytes(b"\xef\xbb\xbf" + cases.read_bytes().replace(b"\n", b"\r\n").replace(b",", b" , "))
    assert promptseg("segment", "--list", cases, "--model", "ball").status == 0


def test_a_list_that_is_not_there_is_refused(promptseg, tmp_path):
    assert "nowhere.csv" in promptseg.refuses("segment", "--list", tmp_path / "nowhere.csv", "--model", "ball")


@pytest.mark.parametrize("words", [["image.nrrd"], ["-o", "out.nrrd"], ["--positive", "1,2,3"], ["--initial", "m.mha"]])
def test_what_the_rows_say_is_not_said_beside_the_list(promptseg, cases, words):
    assert "beside --list: its rows say it" in promptseg.refuses("segment", "--list", cases, *words)


def test_a_list_that_would_replace_one_of_its_inputs_is_refused_before_anything_is_done(promptseg, cases, tmp_path):
    write_list(tmp_path, [("a.nrrd", "click.json", "b.nrrd"), ("b.nrrd", "click.json", "out/b.nii.gz")])
    before = (tmp_path / "b.nrrd").read_bytes()
    outcome = promptseg("segment", "--list", cases, "--model", "ball")
    assert outcome.status == 2
    assert "other than the inputs" in outcome.err
    assert (tmp_path / "b.nrrd").read_bytes() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the names are wrong on Linux")
@pytest.mark.parametrize(
    "row",
    [
        ("a.nrrd", "click.json", "n" * 300 + ".nii"),
        ("n" * 300 + ".nii", "click.json", "out/x.nii"),
        ("a\0.nrrd", "click.json", "out/x.nii"),
        ("a.nrrd", "click\0.json", "out/x.nii"),
        ("a.nrrd", "click.json", "out/\0x.nii"),
        ("a.nrrd", "click.json", "circle/x.nii"),
        ("a.nrrd", "click.json", "a.nrrd/x.nii"),
        ("a.nrrd", "click.json", "/proc/x.nii"),
        ("a.nrrd", "click.json", "out/x.png"),
        ("circle", "click.json", "out/x.nii"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_names_that_are_none_end_their_own_row_only(promptseg, cases, tmp_path, row, options):
    (tmp_path / "circle").symlink_to("circle")
    write_list(tmp_path, [row, ("b.nrrd", "click.json", "out/b.nii.gz")])
    outcome = promptseg("segment", "--list", cases, "--model", "ball", *options)
    assert outcome.status == 3
    assert outcome.out.splitlines()[-1] == "1 done, 0 skipped, 1 failed"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.nii.gz"]
    assert all(line.startswith("promptseg: ") for line in outcome.err.splitlines())


@pytest.mark.parametrize("error", [KeyError("key"), RuntimeError("of ITK"), MemoryError(), RecursionError("deep")])
def test_whatever_is_wrong_with_a_row_the_others_are_done(promptseg, cases, tmp_path, monkeypatch, error):
    def fail_on_b(case, *others):
        if case.image.name == "b.nrrd":
            raise error
        return segment_case(case, *others)

    monkeypatch.setattr("PromptSegLib.command.cases.segment_case", fail_on_b)
    outcome = promptseg("segment", "--list", cases, "--model", "ball")
    assert (outcome.status, outcome.out.splitlines()[-1]) == (3, "2 done, 0 skipped, 1 failed")
    assert f"line 3: {type(error).__name__}" in outcome.err


def test_ctrl_c_ends_the_list(promptseg, cases, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("PromptSegLib.command.cases.segment_case", interrupted)
    assert promptseg("segment", "--list", cases, "--model", "ball").status == 130
