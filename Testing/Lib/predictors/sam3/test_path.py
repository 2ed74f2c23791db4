"""SAM 3 from the files that Meta publishes to a mask: on the command line, in the console, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_files import write_with_itk
from tiny_sam3 import NamedSam3, use_tiny_sam3

from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.prompts import Box, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

SUPPORT = Path(__file__).parents[3] / "support"
AFFINE = np.diag([-0.8, -0.8, 2.5, 1.0])
ARRAY = np.random.default_rng(1).normal(size=(4, 48, 56)).cumsum(axis=1).cumsum(axis=2).astype(np.float32)


@pytest.fixture
def image(tmp_path, monkeypatch):
    use_tiny_sam3(tmp_path, monkeypatch)
    return write_with_itk(tmp_path / "image.nrrd", ARRAY, AFFINE)


def test_a_box_and_a_click_are_answered_and_carried_on_alike_from_shell_and_console(promptseg, image, tmp_path):
    out = tmp_path / "out.nrrd"
    given = ("--frame", "ijk", "--box", "10,12,1,40,38,1", "--positive", "25,24,1")
    outcome = promptseg("propagate", image, "-o", out, "--model", "sam3", "--device", "cpu", *given)
    assert outcome.status == 0, outcome.err
    session = Session(read_volume(image), "sam3", device="cpu", auto=False)
    grid = session.image.grid
    session.add(Box.from_indices(grid, (10, 12, 1), (40, 38, 1)))
    session.add(Point(tuple(grid.to_ras((25, 24, 1)))))
    session.propagate()
    assert session.mask_kji[1].any()
    np.testing.assert_array_equal(read_volume(out).array > 0, session.mask_kji)


def test_words_become_segments_on_the_command_line(promptseg, image, tmp_path):
    out = tmp_path / "out.nii.gz"
    outcome = promptseg("segment", image, "-o", out, "--model", "sam3-text", "--device", "cpu", "--text", "liver")
    assert outcome.status == 0, outcome.err
    session = Session(read_volume(image), create_predictor("sam3-text", "cpu"))
    session.add_classes([TextPrompt("liver")])
    assert session.mask_kji.any()
    np.testing.assert_array_equal(read_volume(out).array > 0, session.mask_kji)


def test_a_process_of_its_own_answers_as_this_one():
    masks = []
    elsewhere = ProcessExecutor(environment={"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"})
    for options in ({}, {"executor": elsewhere}):
        session = Session(Volume(ARRAY, AFFINE), "tiny_sam3:NamedSam3", device="cpu", **options)
        session.add(Point(tuple(session.image.grid.to_ras((25, 24, 1)))))
        assert session.wait(120)
        assert session.error is None
        masks.append(session.mask_kji)
        session.close()
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)
    assert NamedSam3.capabilities.name == "sam3"
