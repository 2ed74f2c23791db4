"""nnInteractive by name, all the way from an image's file to a mask's, with weights that are made from key names."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from image_files import write_with_itk
from nninteractive_model import save_model, save_small_model
from nninteractive_server import served

from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.geometry import affine_from_parts
from PromptSegLib.io import read_volume
from PromptSegLib.prompts import Box, Point, Scribble
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume
from PromptSegLib.weights import store
from PromptSegLib.weights.catalogue import load_catalogue

SUPPORT = Path(__file__).parents[3] / "support"
DATA = Path(os.environ.get("PROMPTSEG_TEST_DATA", "unset"), "data")
needs_images = pytest.mark.skipif(not DATA.is_dir(), reason="PROMPTSEG_TEST_DATA names no folder with images")
TURN = np.array([[0.96, -0.28, 0.0], [0.224, 0.768, -0.6], [0.168, 0.576, 0.8]])


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of weights got elsewhere that holds a small model; what is known of the published one is not asked."""
    save_small_model(tmp_path / "offline" / "nninteractive")
    published = load_catalogue()["nninteractive"]
    files = tuple(dataclasses.replace(file, bytes=None, sha256=None, sha256_source=None) for file in published.files)
    made = {**load_catalogue(), "nninteractive": dataclasses.replace(published, files=files)}
    monkeypatch.setattr(store, "load_catalogue", lambda: made)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "offline"))


def test_the_model_is_listed_with_the_license_of_its_weights(promptseg, weights):
    listed = [line for line in promptseg("models").out.splitlines() if line.startswith("nninteractive")]
    rows = {line.split()[0]: line for line in listed}
    assert set(rows) == {"nninteractive", "nninteractive-other", "nninteractive-server"}
    assert all("point±, box2d±, box3d±, scribble±, lasso±, mask" in row for row in rows.values())
    assert "nninteractive ready" in rows["nninteractive"]
    assert "CC BY-NC-SA 4.0" in rows["nninteractive"]
    assert "CC BY-NC-SA 4.0" in rows["nninteractive-server"]


@needs_images
@pytest.mark.parametrize("name", ["ct_abdomen", "mr_abdomen"])
def test_an_image_and_its_oblique_copy_are_segmented_alike_from_shell_and_console(name, promptseg, weights, tmp_path):
    volume = read_volume(DATA / name / "image.nii.gz")
    turn = affine_from_parts((1, 1, 1), TURN, (40, -30, 20))
    copy = Volume(volume.array, turn @ volume.ijk_to_ras)
    write_with_itk(tmp_path / "oblique.nrrd", copy.array, copy.ijk_to_ras)
    middle = np.array(volume.array.shape[::-1]) // 2
    masks = []
    for number, (path, grid) in enumerate(
        [(DATA / name / "image.nii.gz", volume.grid), (tmp_path / "oblique.nrrd", copy.grid)]
    ):
        click = ",".join(f"{x:.4f}" for x in grid.to_ras(middle))
        output = tmp_path / f"{number}.nii.gz"
        outcome = promptseg("segment", path, "-o", output, "--model", "nninteractive", "--positive", click, "--json")
        assert outcome.status == 0, outcome.err
        mask = read_volume(output)
        assert mask.grid.matches(grid)
        assert outcome.json["segments"][0]["voxels"] == np.count_nonzero(mask.array) > 100
        masks.append(mask.array)
    np.testing.assert_array_equal(*masks)
    session = Session(volume, "nninteractive")
    session.add(Point(tuple(volume.grid.to_ras(middle).tolist())))
    np.testing.assert_array_equal(session.mask_kji, masks[0])


def test_a_server_is_named_on_the_command_line(promptseg, tmp_path):
    path = write_with_itk(tmp_path / "a.nrrd", np.random.default_rng(0).normal(size=(30, 30, 30)).astype(np.float32))
    run = ("segment", path, "-o", tmp_path / "b.nii.gz", "--frame", "ijk", "--positive", "15,15,15", "--model")
    with served(save_model(tmp_path / "model", decay=0.9)) as address:
        assert promptseg(*run, "nninteractive-server", "--server", address).status == 0
        assert read_volume(tmp_path / "b.nii.gz").array.any()
        assert "has no such option" in promptseg.refuses(*run, "classical", "--server", address)
    refused = promptseg.refuses(*run, "nninteractive-server", "--server", "https://gpu.example")
    assert "expected consent before the image is sent to https://gpu.example" in refused
    refused = promptseg.refuses(*run, "nninteractive-server", "--server", "https://gpu.invalid", "--send-image")
    assert "expected an nnInteractive server at https://gpu.invalid, got none" in refused


def test_a_process_of_its_own_answers_as_this_one(tmp_path, monkeypatch):
    monkeypatch.setenv("NNINTERACTIVE_MODEL", str(save_model(tmp_path / "model", decay=0.9)))
    array = np.random.default_rng(0).normal(size=(30, 36, 44)).astype(np.float32)
    sessions = [Session(array, "nninteractive_model:NamedClosedForm")]
    grid = sessions[0].image.grid
    said = [
        Point((20, 18, 14)),
        Scribble(((15, 12, 13), (22, 20, 13)), 2.9),
        Box.from_indices(grid, (10, 8, 17), (26, 24, 17)),
    ]
    executor = ProcessExecutor(environment={"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"})
    sessions.append(Session(array, "nninteractive_model:NamedClosedForm", executor=executor))
    for session in sessions:
        for prompt in said:
            session.add(prompt)
            assert session.wait(120)
        session.undo()
        session.add(Point((25, 19, 15), positive=False))
        assert session.wait(120)
    np.testing.assert_array_equal(sessions[0].mask_kji, sessions[1].mask_kji)
    assert sessions[0].mask_kji.any()
    executor.close()
