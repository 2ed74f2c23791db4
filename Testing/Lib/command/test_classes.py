"""Structures of a model's own list, and its tasks, on the command line: from a checkpoint to a segmentation file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import OBLIQUE, ijk_to_ras, write_with_itk
from references import needs_all_references
from tiny_class_networks import TinyAutoPet, TinyStuNet, TinyUniSeg, biased_to, checkpoint_of, key_made_network

from PromptSegLib.geometry import Grid
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.predictors.stu_net.predictor import PLAN
from PromptSegLib.session.session import Session
from PromptSegLib.structures.names import find_structure

GRID = Grid((16, 24, 20), ijk_to_ras((1.4, 1.6, 2.1), OBLIQUE, (-20.0, 10.0, 5.0)))
MODEL = ("--model", "tiny_class_networks:TinyStuNet")
UNISEG = ("--model", "tiny_class_networks:TinyUniSeg")
AUTOPET = ("--model", "tiny_class_networks:TinyAutoPet")
CHECKPOINTS = {
    TinyStuNet: "stu-net-b/base_ep4k.model",
    TinyUniSeg: "uniseg/uniseg_model_final_checkpoint.model",
    TinyAutoPet: "autopet-2022/autopet_2022_model_final_checkpoint.model",
}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of checkpoints as the user has it who got them elsewhere."""
    folder = tmp_path / "weights"
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for kind, path in CHECKPOINTS.items():
        (folder / path).parent.mkdir(parents=True)
        torch.save(checkpoint_of(biased_to(key_made_network(kind), 1)), folder / path)
    return folder


@pytest.fixture
def image(tmp_path, weights):
    array = np.random.default_rng(3).normal(100, 30, GRID.shape_kji).astype(np.float32)
    return write_with_itk(tmp_path / "ct.nrrd", array, GRID.ijk_to_ras)


def segments_of(path):
    """Return names and colours of a .seg.nrrd by its header."""
    header = path.read_bytes().split(b"\n\n", 1)[0].decode()
    fields = dict(line.split(":=", 1) for line in header.splitlines() if ":=" in line)
    count = sum(key.endswith("_Name") for key in fields)
    return {
        fields[f"Segment{n}_Name"]: tuple(float(c) for c in fields[f"Segment{n}_Color"].split()) for n in range(count)
    }


def test_classes_become_segments_with_names_and_colours(promptseg, image, weights, tmp_path):
    torch.save(checkpoint_of(key_made_network(TinyStuNet)), weights / CHECKPOINTS[TinyStuNet])
    out = tmp_path / "out.seg.nrrd"
    outcome = promptseg(
        "segment", image, "-o", out, *MODEL, "--classes", "kidney_left,Spleen", "--classes", "aorta", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    names = ["left kidney", "spleen", "aorta"]
    assert [segment["name"] for segment in outcome.json["segments"]] == names
    assert list(segments_of(out)) == names
    for name, colour in segments_of(out).items():
        assert colour == pytest.approx(find_structure(name).colour, abs=1e-4)
    session = Session(read_volume(image), create_predictor(MODEL[1]))
    keys = session.add_classes(names)
    assert [segment["voxels"] for segment in outcome.json["segments"]] == [session.mask(key).sum() for key in keys]


def test_all_classes_at_once(promptseg, image, tmp_path):
    out = tmp_path / "out.nii.gz"
    outcome = promptseg("segment", image, "-o", out, *MODEL, "--classes", "all", "--json")
    assert outcome.status == 0, outcome.err
    assert [segment["name"] for segment in outcome.json["segments"]] == list(PLAN.classes)
    labels = read_volume(out)
    assert (labels.array == 1).all()
    assert labels.grid.matches(GRID)


def test_a_click_and_a_box_say_which_part(promptseg, image, tmp_path):
    out = tmp_path / "out.nrrd"
    words = ("segment", image, "-o", out, *MODEL, "--classes", PLAN.classes[0], "--frame", "ijk")
    assert promptseg(*words, "--box", "2,3,4,10,12,9", "--positive", "5,6,7").status == 0
    expected = np.zeros(GRID.shape_kji, dtype=bool)
    inside = read_volume(out).array > 0
    expected[5:9, 4:12, 3:10] = True
    assert inside[expected].all()
    assert not inside[:4].any()
    assert not inside[..., 11:].any()


def test_a_task_finds_its_structures_together(promptseg, image, tmp_path):
    out = tmp_path / "out.seg.nrrd"
    outcome = promptseg("segment", image, "-o", out, *UNISEG, "--task", "Liver and tumour", "--json")
    assert outcome.status == 0, outcome.err
    voxels = {segment["name"]: segment["voxels"] for segment in outcome.json["segments"]}
    assert voxels == {"liver": GRID.extent.size, "liver tumour": 0}
    assert outcome.json["segments"][1]["note"] == "no liver tumour was found"


def test_a_task_of_two_images(promptseg, image, tmp_path):
    pet = write_with_itk(
        tmp_path / "pet.nrrd", np.ones((8, 12, 10), np.float32), GRID.ijk_to_ras @ np.diag([2, 2, 2, 1])
    )
    for model in (UNISEG, AUTOPET):
        out = tmp_path / "out.nii.gz"
        words = ("segment", "-o", out, *model, "--classes", "tumour", "--json")
        outcome = promptseg(*words, "--channel", f"ct={image}", "--channel", f"pet={pet}")
        assert outcome.status == 0, outcome.err
        assert outcome.json["segments"][0]["voxels"] == GRID.extent.size
        assert "ct, pet" in promptseg.refuses(*words, "--channel", f"ct={image}")


def test_what_cannot_be_found_is_refused(promptseg, image, tmp_path):
    def complaint(*words):
        return promptseg.refuses("segment", image, "-o", tmp_path / "out.nrrd", *words)

    assert "got 'kidney'; did you mean left kidney, right kidney?" in complaint(*MODEL, "--classes", "kidney")
    assert "got 'liver' twice" in complaint(*MODEL, "--classes", "liver,liver")
    assert "expected names such as liver,spleen, got 'liver,,'" in complaint(*MODEL, "--classes", "liver,,")
    assert "did you mean liver and tumour" in complaint(*UNISEG, "--task", "liver")
    assert "got 'stu-net-b': it has none" in complaint(*MODEL, "--task", "liver and tumour")
    assert "expected a model with a list of classes" in complaint("--model", "ball", "--classes", "all")
    assert "does not take that" in complaint("--model", "ball", "--classes", "liver")
    assert not (tmp_path / "out.nrrd").exists()


def test_a_checkpoint_of_another_network_is_refused(promptseg, image, weights, tmp_path):
    torch.save(checkpoint_of(key_made_network(TinyAutoPet)), weights / CHECKPOINTS[TinyStuNet])
    outcome = promptseg("segment", image, "-o", tmp_path / "out.nrrd", *MODEL, "--classes", "liver")
    assert outcome.status != 0
    assert "the weights do not fit the network" in outcome.err


def test_the_classes_of_a_model_are_listed_and_searched(promptseg):
    outcome = promptseg("models", "stu-net-b", "--json")
    assert [record["name"] for record in outcome.json] == list(PLAN.classes)
    assert outcome.json[39]["snomed"] == "10200004 Liver"
    assert promptseg("models", "stu-net-b", "--search", "kidn").out.splitlines()[1].startswith("left kidney")
    assert "brain tumour" in promptseg("models", "uniseg").out
    assert "knows no structures that 'xyzzy' may mean" in promptseg("models", "uniseg", "--search", "xyzzy").out
    assert "knows no structures with names of its own" in promptseg("models", "classical").out
    assert "did you mean" in promptseg.refuses("models", "stu-net")


@needs_all_references
def test_a_real_ct_runs_the_complete_path(promptseg, weights, tmp_path):
    torch.save(checkpoint_of(key_made_network(TinyStuNet)), weights / CHECKPOINTS[TinyStuNet])
    ct = Path(os.environ["PROMPTSEG_TEST_DATA"], "data", "ct_abdomen", "image.nii.gz")
    out = tmp_path / "out.seg.nrrd"
    words = ("segment", ct, "-o", out, *MODEL, "--classes", "all", "--json")
    outcome = promptseg(*words, "--frame", "ijk", "--box", "50,40,10,62,52,14")
    assert outcome.status == 0, outcome.err
    assert list(segments_of(out)) == list(PLAN.classes)
    assert sum(segment["voxels"] for segment in outcome.json["segments"]) > 0
    assert read_volume(ct).grid.matches(read_volume(out).grid, tolerance_mm=1e-2)
