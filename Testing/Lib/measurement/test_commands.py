"""`promptseg measure`, `follow-up` and `carry-over`: tables out, and one line for what cannot be measured."""

import csv
import json

import numpy as np
import pytest
from image_files import ijk_to_ras, write_with_itk
from measured_phantoms import ellipsoid

from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, read_volume, write_segmentation
from PromptSegLib.prompt_files import read_prompts

GRID = Grid((12, 24, 26), ijk_to_ras((1, 1, 2), np.eye(3), (0, 0, 0)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an image, its segments as .seg.nrrd and as NIfTI, and those of a second time point."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(100, 10, GRID.shape_kji).astype(np.int16)
    write_with_itk("ct.nii.gz", values, GRID.ijk_to_ras)
    write_with_itk("other.nii.gz", values[:-1], GRID.ijk_to_ras)
    write_with_itk("colour.nrrd", np.stack([values.astype(np.uint8)] * 3, -1), GRID.ijk_to_ras, is_vector=True)
    two = ellipsoid(GRID, (6, 12, 11), (4, 4, 4)) | ellipsoid(GRID, (19, 12, 11), (5, 5, 5))
    segments = [
        Segment("lesions", two, 3),
        Segment("empty", np.zeros_like(two), 4),
        Segment("edge", ellipsoid(GRID, (0, 0, 0), (5, 5, 5)), 5),
    ]
    write_segmentation("m.seg.nrrd", segments, GRID)
    write_segmentation("m.nii.gz", segments, GRID)
    write_segmentation("later.seg.nrrd", [Segment("lesions", ellipsoid(GRID, (19, 12, 11), (3, 3, 3)))], GRID)
    return tmp_path


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_has_a_row_for_each_segment_and_each_part_with_units_in_the_heads(folder, promptseg):
    outcome = promptseg("measure", "m.seg.nrrd", "--image", "ct.nii.gz", "--unit", "HU", "-o", "out/t.csv")
    assert outcome.status == 0
    assert outcome.err == "promptseg: segment 'empty' in m.seg.nrrd is empty\n"
    rows = rows_of("out/t.csv")
    assert [(row["segment"], row["part"], row["parts"]) for row in rows] == [
        ("lesions", "all", "2"),
        ("lesions", "1", "1"),
        ("lesions", "2", "1"),
        ("empty", "all", "0"),
        ("edge", "all", "1"),
    ]
    mask = read_volume("m.nii.gz").array
    values = read_volume("ct.nii.gz").array
    assert float(rows[0]["volume_mL"]) == pytest.approx((mask == 3).sum() * 2 / 1000)
    assert float(rows[0]["mean_HU"]) == pytest.approx(values[mask == 3].mean(), rel=1e-6)
    assert rows[4]["touches_border"] == "yes"
    assert "lower bound" in rows[4]["note"]
    assert "LESIONS" not in outcome.out
    assert "lower bound" in outcome.out


def test_json_holds_the_ends_of_the_diameters(folder, promptseg):
    assert promptseg("measure", "m.seg.nrrd", "--segment", "lesions", "-o", "t.json").status == 0
    (case,) = json.loads((folder / "t.json").read_text())["cases"]
    (segment,) = case["segments"]
    one, other = np.array(segment["ends_ras_mm"]["longest_axial"])
    assert np.linalg.norm(one - other) == pytest.approx(segment["longest_axial_mm"], abs=1e-5)
    assert len(segment["part_list"]) == 2
    assert "mean" not in segment


def test_labels_of_a_labelmap_get_names(folder, promptseg):
    outcome = promptseg("measure", "m.nii.gz", "--label", "edge=5", "--json")
    assert [segment["segment"] for segment in outcome.json["cases"][0]["segments"]] == ["label 3", "edge"]


def test_a_list_makes_one_table_and_a_bad_row_does_not_stop_it(folder, promptseg):
    (folder / "cases.csv").write_text(
        "case,output,image,unit,suv_factor\nfirst,m.seg.nrrd,ct.nii.gz,HU,\nbad,none.nrrd,,,\nbad,m.seg.nrrd,ct.nii.gz,,x\n"
        "empty,,,,\n,later.seg.nrrd,,,\n",
        encoding="utf-8",
    )
    outcome = promptseg("measure", "--list", "cases.csv", "-o", "all.csv")
    assert outcome.status == 2
    assert "cases.csv, line 3: expected an image file, got none.nrrd" in outcome.err
    assert "cases.csv, line 4: expected a number above 0, got 'x'" in outcome.err
    assert "cases.csv, line 5: expected a cell 'output', got none" in outcome.err
    assert "other than the list" in promptseg.refuses("measure", "--list", "cases.csv", "-o", "cases.csv")
    rows = rows_of("all.csv")
    assert [row["case"] for row in rows] == ["first"] * 5 + ["later.seg.nrrd"]
    assert rows[5]["mean_HU"] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected SEGMENTATION, or --list"),
        (["none.seg.nrrd"], "there is no such file"),
        (["m.seg.nrrd", "--list", "cases.csv"], "expected SEGMENTATION, or --list"),
        (["m.seg.nrrd", "--image", "other.nii.gz"], "on the segmentation's grid, (12, 24, 26) (k, j, i)"),
        (["m.seg.nrrd", "--image", "colour.nrrd"], "an image of one value a voxel to measure"),
        (["m.seg.nrrd", "--suv"], "expected --image IMAGE for SUVs"),
        (["m.seg.nrrd", "--image", "ct.nii.gz", "--suv"], "it has no DICOM header that tells"),
        (["m.seg.nrrd", "--image", "ct.nii.gz", "--suv-factor", "0"], "expected a number above 0, got '0'"),
        (["m.seg.nrrd", "--segment", "liver"], "out of lesions, empty, edge, got 'liver'"),
        (["m.nii.gz", "--label", "liver=9"], "expected liver=9 in m.nii.gz, got 3, 5"),
        (["ct.nii.gz", "-o", "t.txt"], "ends in .csv or .json"),
        (["colour.nrrd"], "one value a voxel, got 3"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(folder, promptseg, words, message):
    assert message in promptseg.refuses("measure", *words)


def test_two_time_points_make_a_table_and_a_page(folder, promptseg):
    words = ["follow-up", "m.seg.nrrd", "later.seg.nrrd", "--segment", "lesions"]
    outcome = promptseg(*words, "-o", "f.csv")
    assert outcome.status == 0
    # The larger one is 9.8 mm long: too small for a target.
    assert "later.seg.nrrd: non-CR/non-PD (RECIST 1.1: no target lesions; others are still there)" in outcome.out
    rows = rows_of("f.csv")
    assert [(row["lesion"], row["event"]) for row in rows[:4]] == [
        ("1", "baseline"),
        ("1", "same"),
        ("2", "baseline"),
        ("2", "gone"),
    ]
    images = ["--image", "ct.nii.gz", "--image", "ct.nii.gz"]
    assert promptseg(*words, *images, "-o", "page.html").status == 0
    assert (folder / "page.html").read_text(encoding="utf-8").count("<image ") == 4  # and where one is gone
    assert promptseg(*words, "--json").json["criteria"] == "RECIST 1.1"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.seg.nrrd"], "two time points or more"),
        (["m.seg.nrrd", "later.seg.nrrd", "--image", "ct.nii.gz"], "for each of 2 segmentations or for none, got 1"),
        (["m.seg.nrrd", "later.seg.nrrd", "--register"], "expected --image of each segmentation to register"),
        (["m.seg.nrrd", "later.seg.nrrd", "-o", "page.html"], "for a page with slices, got none"),
        (["m.seg.nrrd", "later.seg.nrrd", "--transform", "none.tfm"], "expected a readable transform"),
        (["m.seg.nrrd", "later.seg.nrrd", "--nodes", "x"], "got x"),
        (["m.seg.nrrd", "later.seg.nrrd", "-o", "f.xls"], "ends in .csv, .json, .html"),
    ],
)
def test_what_cannot_be_followed_is_told_in_one_line(folder, promptseg, words, message):
    assert message in promptseg.refuses("follow-up", *words)


def test_masks_that_a_click_confirms_become_prompts_that_segment_takes(folder, promptseg):
    words = ["carry-over", "m.seg.nrrd", "ct.nii.gz", "--segment", "lesions", "-o", "p.json"]
    outcome = promptseg(*words, "--positive", "19,12,11")
    assert outcome.out.splitlines() == [
        "lesions: confirmed",
        "lesions 2: not confirmed, left out; around 6.0, 12.0, 11.0",
    ]
    assert [prompt.kind for prompt in read_prompts("p.json")["lesions"]] == ["mask", "point"]
    assert promptseg("segment", "ct.nii.gz", "--model", "ball", "--prompts", "p.json", "-o", "n.seg.nrrd").status == 0
    assert read_volume("n.seg.nrrd").array[5, 12, 19]
    assert "on none of them" in promptseg.refuses(*words, "--positive", "1,1,1")
