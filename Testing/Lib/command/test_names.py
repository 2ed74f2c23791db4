"""Structures by their names on the command line."""

import numpy as np
import pytest
from image_files import OBLIQUE, ijk_to_ras, write_with_itk
from tiny_sat import use_tiny_sat

from PromptSegLib.geometry import Grid
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.prompts import TextPrompt
from PromptSegLib.session.session import Session

GRID = Grid((20, 40, 50), ijk_to_ras((1.2, 1.1, 2.6), OBLIQUE, (-20.0, 10.0, 5.0)))
MODEL = ("--model", "tiny_sat:TinySatNano")


@pytest.fixture
def image(tmp_path, monkeypatch):
    use_tiny_sat(tmp_path, monkeypatch)
    rng = np.random.default_rng(3)
    array = rng.normal(size=GRID.shape_kji).cumsum(axis=0).cumsum(axis=1).cumsum(axis=2).astype(np.float32)
    return write_with_itk(tmp_path / "image.nrrd", array, GRID.ijk_to_ras)


def masks_of(image, name, *texts):
    session = Session({name: read_volume(image)}, create_predictor(MODEL[1]))
    session.add_classes([TextPrompt(text) for text in texts])
    return [session.mask(text) for text in texts]


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz"])
def test_each_text_becomes_a_segment_as_in_a_session(promptseg, image, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    outcome = promptseg(
        "segment", "--channel", f"mr={image}", "-o", out, *MODEL, "--text", "left kidney", "--text", "liver",
        "--label", "liver=7", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    segments = outcome.json["segments"]
    assert [(segment["name"], segment["value"]) for segment in segments] == [("left kidney", 1), ("liver", 7)]
    kidney, liver = masks_of(image, "mr", "left kidney", "liver")
    assert [segment["voxels"] for segment in segments] == [kidney.sum(), liver.sum()]
    assert 0 < kidney.mean() < 1
    if suffix == ".nii.gz":
        labels = read_volume(out).array
        np.testing.assert_array_equal(labels == 7, liver)
        np.testing.assert_array_equal(labels == 1, kidney & ~liver)


def test_a_box_says_where(promptseg, image, tmp_path):
    out = tmp_path / "out.nrrd"
    assert promptseg(
        "segment", "--channel", f"mr={image}", "-o", out, *MODEL, "--text", "liver", "--frame", "ijk",
        "--box", "10,12,4,30,25,15",
    ).status == 0  # fmt: skip
    [liver] = masks_of(image, "mr", "liver")
    mask = read_volume(out).array > 0
    assert mask.any()
    assert not (mask & ~liver).any()
    assert not mask[:3].any()
    assert not mask[:, :, 32:].any()
    np.testing.assert_array_equal(mask[6:13, 14:23, 12:28], liver[6:13, 14:23, 12:28])


def test_a_list_needs_no_prompts_beside_names(promptseg, image, tmp_path):
    cases = tmp_path / "cases.csv"
    cases.write_text("image,output\nimage.nrrd,a.seg.nrrd\nimage.nrrd,b.seg.nrrd\n")
    outcome = promptseg("segment", "--list", cases, *MODEL, "--text", "liver", "--json")
    assert outcome.status == 0, outcome.err
    assert outcome.json["done"] == 2
    assert "taken for" in outcome.json["cases"][0]["segments"][0]["note"]
    assert "prompts missing" in promptseg.refuses("segment", "--list", cases, *MODEL)


def test_names_that_cannot_be_answered_are_refused(promptseg, image, tmp_path):
    def complaint(*words):
        return promptseg.refuses("segment", image, "-o", tmp_path / "out.nrrd", *words)

    assert "expected the English name of a structure, got 'печень'" in complaint(*MODEL, "--text", "печень")
    assert "expected a text of at least one letter" in complaint(*MODEL, "--text", " ")
    assert "got 'liver' twice" in complaint(*MODEL, "--text", "liver", "--text", "liver")
    assert "expected --label for liver, got spleen" in complaint(*MODEL, "--text", "liver", "--label", "spleen=2")
    assert "it does not take that" in complaint("--model", "ball", "--text", "liver")
    assert "an initial mask" in complaint(*MODEL, "--text", "liver", "--initial", image)
    assert not (tmp_path / "out.nrrd").exists()
