"""Several images on the command line: CT and PET, each in a file and on a grid of its own."""

import numpy as np
import pytest
from image_files import OBLIQUE, ijk_to_ras, write_with_itk

from PromptSegLib.geometry import Grid, flip_axes
from PromptSegLib.io import read_volume
from PromptSegLib.io.prompts import write_prompts
from PromptSegLib.prompts import Point

CT = Grid((24, 30, 32), ijk_to_ras((1.5, 1.5, 2.0), np.diag([-1.0, -1, 1]), (24.0, 22.5, -24.0)))
PET = Grid((30, 30, 30), ijk_to_ras((2.5, 2.5, 2.5), OBLIQUE, (0.0, 0.0, 0.0)))
PET = Grid(PET.shape_kji, ijk_to_ras((2.5, 2.5, 2.5), OBLIQUE, -PET.to_ras((14.5, 14.5, 14.5))))
CENTRE, RADIUS_MM = np.array([6.0, -4.0, 3.0]), 9.0
CLICK = "6,-4,3"


def distance_mm(grid):
    index = flip_axes(np.moveaxis(np.indices(grid.shape_kji), 0, -1))
    return np.linalg.norm(grid.to_ras(index) - CENTRE, axis=-1)


@pytest.fixture
def ct(tmp_path):
    return write_with_itk(tmp_path / "ct.nrrd", np.full(CT.shape_kji, 40, np.int16), CT.ijk_to_ras)


@pytest.fixture
def pet(tmp_path):
    """A hot ball; linear in the distance from its middle, 50 on its surface."""
    activity = np.clip(50 + 5 * (RADIUS_MM - distance_mm(PET)), 0, None).astype(np.float32)
    return write_with_itk(tmp_path / "pet.nrrd", activity, PET.ijk_to_ras)


def assert_is_the_ball(path):
    written = read_volume(path)
    assert written.grid.matches(CT, tolerance_mm=1e-3)
    distance = distance_mm(CT)
    assert written.array[distance < RADIUS_MM - 1].all()
    assert not written.array[distance > RADIUS_MM + 1].any()


@pytest.mark.parametrize("names_all", [False, True])
def test_a_second_image_on_an_oblique_grid_is_segmented_with_the_first(promptseg, ct, pet, tmp_path, names_all):
    images = ("--channel", f"ct={ct}") if names_all else (ct,)
    out = tmp_path / "out.nii.gz"
    outcome = promptseg(
        "segment", *images, "--channel", f"pet={pet}", "--model", "pet-ct", "-o", out, "--positive", CLICK
    )
    assert outcome.status == 0, outcome.err
    assert_is_the_ball(out)


def test_lists_have_a_column_for_each_further_image(promptseg, ct, pet, tmp_path):
    write_prompts(tmp_path / "click.json", {"lesion": [Point(CENTRE)]})
    cases = tmp_path / "cases.csv"
    cases.write_text("image,channel pet,prompts,output\nct.nrrd,pet.nrrd,click.json,out.nii.gz\n")
    outcome = promptseg("segment", "--list", cases, "--model", "pet-ct")
    assert outcome.status == 0, outcome.err
    assert_is_the_ball(tmp_path / "out.nii.gz")
    cases.write_text("image,channel pet,prompts,output\nct.nrrd,pet.nrrd,click.json,pet.nrrd\n")
    assert "expected outputs other than the inputs" in promptseg.refuses("segment", "--list", cases)


def test_what_a_channel_does_not_reach_is_told(promptseg, ct, pet, tmp_path):
    half = Grid((12, 30, 32), CT.ijk_to_ras)
    write_with_itk(tmp_path / "half.nrrd", np.zeros(half.shape_kji, np.float32), half.ijk_to_ras)
    outcome = promptseg(
        "segment", ct, "--channel", f"pet={tmp_path / 'half.nrrd'}", "--model", "pet-ct", "-o",
        tmp_path / "out.nrrd", "--positive", CLICK,
    )  # fmt: skip
    assert "channel 'pet' covers 50.0 % of 'ct'" in outcome.out


def test_images_that_do_not_fit_are_refused(promptseg, ct, pet, tmp_path):
    away = write_with_itk(tmp_path / "away.nrrd", np.zeros((4, 4, 4), np.int16), ijk_to_ras())

    def complaint(*words):
        return promptseg.refuses("segment", "-o", tmp_path / "out.nrrd", "--positive", CLICK, *words)

    assert "expected the channels ct, pet for 'pet-ct', got image: ct, pet missing" in complaint(
        ct, "--model", "pet-ct"
    )
    assert "--channel for all but one of ct, pet" in complaint(ct, "--model", "pet-ct", "--channel", f"mr={pet}")
    assert "got pet: ct missing" in complaint("--model", "pet-ct", "--channel", f"pet={pet}")
    assert "they do not overlap" in complaint(ct, "--model", "pet-ct", "--channel", f"pet={away}")
    assert "expected each channel once" in complaint(ct, "--channel", f"pet={pet}", "--channel", f"pet={ct}")
    assert "expected NAME=FILE such as pet=PET.nii.gz, got 'pet.nrrd'" in complaint(ct, "--channel", "pet.nrrd")
    assert "no such file" in complaint(ct, "--model", "pet-ct", "--channel", "pet=nothing.nrrd")
    assert not (tmp_path / "out.nrrd").exists()


def test_an_output_that_is_one_of_the_images_is_refused(promptseg, ct, pet):
    words = ("--model", "pet-ct", "-o", pet, "--positive", CLICK, "--channel", f"pet={pet}")
    assert "an output other than the inputs" in promptseg.refuses("segment", ct, *words)
