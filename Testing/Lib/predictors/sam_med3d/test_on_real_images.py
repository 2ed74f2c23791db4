"""SAM-Med3D on a real CT and a real MR, straight and oblique, from a checkpoint file to a segmentation file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from image_files import OBLIQUE, write_with_itk
from scipy import ndimage
from tiny_networks import TinySamMed3D, save_tiny_med3d
from turned_copies import ORDERS, turned_array, turned_volume
from window_fakes import BRIGHT, BrightPredictor, dice

from PromptSegLib.geometry import apply_affine
from PromptSegLib.io import read_volume
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

DATA = Path(os.environ.get("PROMPTSEG_TEST_DATA", "unset"), "data")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="PROMPTSEG_TEST_DATA names no folder with images")

LIVER = 5
TURN = np.block([[OBLIQUE, np.array([[30.0], [-20.0], [10.0]])], [np.zeros((1, 3)), np.ones((1, 1))]])


@pytest.fixture
def checkpoint(monkeypatch, tmp_path):
    """A checkpoint of a small network in the place of the published one."""
    catalogue = save_tiny_med3d(tmp_path / "weights")
    monkeypatch.setattr("PromptSegLib.weights.store.load_catalogue", lambda: catalogue)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "weights"))


def clicks_on(volume, labels):
    """Return a click in the liver and one beside it, mm."""
    inside = np.argwhere(labels == LIVER)
    k, j, i = inside[np.linalg.norm(inside - inside.mean(axis=0), axis=1).argmin()]
    return volume.grid.to_ras([(i, j, k), (i, j - 25, k)])


def segmented(promptseg, volume, clicks, folder):
    """Write a volume as a file, run the command on it, and return the mask of the file that it wrote."""
    image = write_with_itk(folder / "image.nrrd", volume.array, volume.ijk_to_ras)
    words = [",".join(f"{v:.6f}" for v in place) for place in clicks]
    options = ("--model", "tiny_networks:TinySamMed3D", "--device", "cpu", "--frame", "ras")
    outcome = promptseg(
        "segment", image, "-o", folder / "out.nrrd", *options, "--positive", words[0], "--negative", words[1]
    )
    assert outcome.status == 0, outcome.err
    assert " ms on cpu" in outcome.out
    written = read_volume(folder / "out.nrrd")
    assert written.grid.matches(volume.grid)
    return written.array > 0


@pytest.mark.usefixtures("checkpoint")
@pytest.mark.parametrize("name", ["ct_abdomen", "mr_abdomen"])
def test_a_real_image_is_segmented_by_command_and_console_however_it_lies(promptseg, tmp_path, name):
    volume = read_volume(DATA / name / "image.nii.gz")
    clicks = clicks_on(volume, read_volume(DATA / name / "labels.nii.gz").array)
    by_command = segmented(promptseg, volume, clicks, tmp_path)
    assert 0 < by_command.sum() < by_command.size

    session = Session(volume, TinySamMed3D(device="cpu"), auto=False)
    for place, positive in zip(clicks, (True, False), strict=True):
        session.add(Point(tuple(place), positive))
    session.predict()
    np.testing.assert_array_equal(session.mask_kji, by_command)
    assert len(session.prediction.feedback.tiles) > 1

    turned = turned_volume(volume, ORDERS[29])
    by_turned = segmented(promptseg, turned, clicks, tmp_path)
    assert (by_turned ^ turned_array(by_command, ORDERS[29])).mean() < 1e-3

    oblique = Volume(volume.array, TURN @ volume.ijk_to_ras)
    assert oblique.grid.is_oblique
    by_oblique = segmented(promptseg, oblique, apply_affine(TURN, clicks), tmp_path)
    # Its spacing differs in the last digits, and with it some of the integers that are truncated.
    assert (by_oblique ^ by_command).mean() < 0.02


@pytest.mark.parametrize("name", ["ct_abdomen", "mr_abdomen"])
def test_a_liver_is_found_whole_by_a_network_that_sees_it(name):
    labels = read_volume(DATA / name / "labels.nii.gz")
    liver = labels.array == LIVER
    volume = Volume((BRIGHT * liver).astype(np.int16), TURN @ labels.ijk_to_ras)
    # From a window in the liver's middle, and from one that its right end lies in.
    inside = np.argwhere(ndimage.binary_erosion(liver, iterations=4))
    right = inside[volume.grid.to_ras(inside[:, ::-1])[:, 0].argmax()]
    for k, j, i in (inside[np.linalg.norm(inside - inside.mean(axis=0), axis=1).argmin()], right):
        session = Session(volume, BrightPredictor(size=64))
        session.add(Point(tuple(volume.grid.to_ras((i, j, k)))))
        assert len(session.prediction.feedback.tiles) > 1
        assert dice(session.mask_kji, liver) > 0.95, session.prediction.note
