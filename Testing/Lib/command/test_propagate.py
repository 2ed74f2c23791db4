"""`promptseg propagate`, and the models of slices on the command line, from the file to the file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from image_files import write_with_itk
from slice_phantoms import affine, ball, middle_ras
from tiny_networks import save_tiny_med2d

from PromptSegLib.geometry import Grid
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.slices.predictor import shared_cache

GRID = Grid((30, 40, 50), affine(spacing=(1.0, 1.0, 2.0)))
TRUTH = ball(GRID, middle_ras(GRID), 14)
PERFECT = ("--model", "slice_phantoms:PerfectPredictor", "--frame", "ijk")


@pytest.fixture(autouse=True)
def nothing_is_kept_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shared_cache.cache_clear()
    yield
    shared_cache.cache_clear()


@pytest.fixture
def image(tmp_path):
    return write_with_itk(tmp_path / "image.nrrd", 255 * TRUTH.astype(np.uint8), GRID.ijk_to_ras)


def test_a_click_becomes_the_whole_structure_and_the_reasons_are_told(promptseg, image, tmp_path):
    outcome = promptseg("propagate", image, "-o", tmp_path / "out.nrrd", *PERFECT, "--positive", "24,20,12")
    assert outcome.status == 0, outcome.err
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nrrd").array, TRUTH)
    assert "forward to slice 21 along k: nothing is found beyond" in outcome.out


def test_slices_and_direction_limit_it(promptseg, image, tmp_path):
    outcome = promptseg(
        "propagate", image, "-o", tmp_path / "out.nrrd", *PERFECT, "--positive", "24,20,12",
        "--slices", "10,16", "--direction", "forward", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    written = read_volume(tmp_path / "out.nrrd").array
    assert np.flatnonzero(written.any(axis=(1, 2))).tolist() == [12, 13, 14, 15, 16]
    [segment] = json.loads(outcome.out)["segments"]
    assert "the span's end" in segment["note"]


def test_a_box_says_along_which_axis(promptseg, image, tmp_path):
    outcome = promptseg("propagate", image, "-o", tmp_path / "out.nrrd", *PERFECT, "--box", "24,5,5,24,35,24")
    assert outcome.status == 0, outcome.err
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nrrd").array, TRUTH)
    assert "along i" in outcome.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--positive", "24,20,12", "--slices", "10,99"), "expected a slice 0 to 29 along k, got 99"),
        (("--positive", "24,20,12", "--slices", "20,25"), "expected a slice with a mask within the span"),
        (("--positive", "24,20,12", "--slices", "20"), "expected 2 numbers"),
        ((), "expected at least one prompt"),
    ],
)
def test_bad_input_is_told_in_one_line(promptseg, image, tmp_path, options, message):
    outcome = promptseg("propagate", image, "-o", tmp_path / "out.nrrd", *PERFECT, *options)
    assert outcome.status == 2
    assert message in outcome.err
    assert not (tmp_path / "out.nrrd").exists()


def test_the_default_model_is_of_whole_volumes_already(promptseg, image, tmp_path):
    outcome = promptseg("propagate", image, "-o", tmp_path / "out.nrrd", "--positive", "24,20,20")
    assert outcome.status == 2
    assert "expected a predictor that works slice by slice" in outcome.err


@pytest.fixture
def sam_med2d(monkeypatch, tmp_path):
    """Options for SAM-Med2D of a small size, whose checkpoint is in an offline folder."""
    save_tiny_med2d(tmp_path / "weights")
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "weights"))
    return ("--model", "tiny_networks:TinySamMed2D")


def test_sam_med2d_segments_a_picture(promptseg, tmp_path, sam_med2d):
    rng = np.random.default_rng(0)
    picture = write_with_itk(tmp_path / "picture.png", rng.integers(0, 255, (60, 80), dtype=np.uint8))
    outcome = promptseg("segment", picture, "-o", tmp_path / "out.nrrd", *sam_med2d, "--box", "20,10,60,40")
    assert outcome.status == 0, outcome.err
    assert read_volume(tmp_path / "out.nrrd").array.any()


def test_sam_med2d_segments_a_slice_of_a_volume_and_is_carried_on(promptseg, image, tmp_path, sam_med2d):
    box = ("--frame", "ijk", "--box", "15,10,15,35,30,15", "--window", "0,255")
    outcome = promptseg("segment", image, "-o", tmp_path / "one.nrrd", *sam_med2d, *box)
    assert outcome.status == 0, outcome.err
    one = read_volume(tmp_path / "one.nrrd").array
    assert np.flatnonzero(one.any(axis=(1, 2))).tolist() == [15]
    outcome = promptseg("propagate", image, "-o", tmp_path / "more.nrrd", *sam_med2d, *box)
    assert outcome.status == 0, outcome.err
    np.testing.assert_array_equal(read_volume(tmp_path / "more.nrrd").array[15], one[15])
    assert "forward to slice" in outcome.out
    assert list((tmp_path / "cache" / "promptseg" / "embeddings").glob("*.npz"))
