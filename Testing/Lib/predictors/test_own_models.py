"""The user's own models: taken in, used, renamed, given away, removed; and what is broken or malicious."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import nnunet_folders
import numpy as np
import pytest
import torch
from tiny_networks import tiny_scribbleprompt

from PromptSegLib.errors import ConsentError, PromptSegError, WeightsError
from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.nnunet.predictor import NnUNet
from PromptSegLib.predictors.own_models import OwnModels
from PromptSegLib.predictors.registry import capabilities_of, create_predictor, predictor_names
from PromptSegLib.session.session import Session


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def results(tmp_path):
    return nnunet_folders.write_results(tmp_path / "results", "plain")


@pytest.fixture
def image(tmp_path):
    return nnunet_folders.write_images(tmp_path, "plain", 1)[0]


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.parents[1].rglob("*")):
            archive.write(file, file.relative_to(folder.parents[1]))
    return path


def test_a_model_is_added_described_renamed_exported_removed_and_taken_in_again(promptseg, home, results, tmp_path):
    added = promptseg("models", "add", zipped(results, tmp_path / "export.zip"), "--name", "mine")
    assert added.status == 0, added.err
    card = promptseg("models", "mine").out
    assert all(part in card for part in ("plain", "liver", "tumour", "export.zip", "CC0", "SHA-256"))
    assert "mine" in predictor_names()
    assert capabilities_of("mine").classes == ("liver", "tumour")
    assert promptseg("models", "rename", "mine", "ours").status == 0
    assert promptseg("models", "export", "ours", tmp_path / "ours.zip").status == 0
    assert promptseg("models", "remove", "ours").status == 0
    assert "ours" not in predictor_names()
    assert list((home / "promptseg" / "models").iterdir()) == []
    before = card.splitlines()
    assert promptseg("models", "add", tmp_path / "ours.zip", "--name", "mine").status == 0
    assert promptseg("models", "mine").out.splitlines() == before


def test_a_model_is_used_by_name_by_path_and_in_a_process_of_its_own(home, results, image):
    OwnModels().add(results, "mine")
    volume = read_volume(image)
    masks = []
    executor = ProcessExecutor()
    for predictor, others in (("mine", {}), (results, {}), ("mine", {"executor": executor})):
        session = Session(volume, predictor, device="cpu", **others)
        keys = session.add_classes(["liver"])
        assert session.wait(60)
        masks.append(session.mask(keys[0]))
    executor.close()
    assert masks[0].any()
    assert all(np.array_equal(masks[0], mask) for mask in masks[1:])


def test_options_of_a_model_are_its_own(home, results):
    OwnModels().add(results, "mine")
    predictor = create_predictor("mine", "cpu", mirror=True, step=0.25, folds=["1"])
    assert list(predictor.results.folds) == ["1"]
    with pytest.raises(WeightsError, match="expected folds out of 0, 1"):
        create_predictor("mine", "cpu", folds=[7])


def test_names_are_taken_once(home, results):
    mine = OwnModels()
    mine.add(results, "mine")
    for name in ("mine", "../up", "a b", "", "default"):
        with pytest.raises(WeightsError, match="expected a name"):
            mine.add(results, name, taken=predictor_names())
    assert mine.add(results).name == "plain"
    assert mine.add(results).name == "plain-2"


def test_a_checkpoint_of_a_known_system_is_added(promptseg, home, tmp_path, monkeypatch):
    network = tiny_scribbleprompt()
    monkeypatch.setattr(
        "PromptSegLib.predictors.scribbleprompt.network.ScribblePromptUNet", lambda *_, **__: tiny_scribbleprompt()
    )
    checkpoint = tmp_path / "fine.pth"
    torch.save({"model": network.state_dict()}, checkpoint)
    added = promptseg("models", "add", checkpoint, "--like", "scribbleprompt", "--name", "fine")
    assert added.status == 0, added.err
    assert capabilities_of("fine").prompts == capabilities_of("scribbleprompt").prompts
    found = create_predictor("fine", "cpu").state_dict()
    assert all(torch.equal(value, found[key]) for key, value in network.state_dict().items())
    torch.save({"model": {"other": torch.zeros(2)}}, checkpoint)
    assert "do not fit" in promptseg.refuses("models", "add", checkpoint, "--like", "scribbleprompt")
    assert "--like a model" in promptseg.refuses("models", "add", checkpoint, "--like", "default")


SCRIPT = {
    "file": "net.ts", "title": "My script", "channels": ["ct"], "classes": ["liver", "spleen"],
    "spacing_mm": [1.0, 1.0, 2.0], "patch": [16, 16, 8], "intensities": {},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_runs_once_agreed_to(home, tmp_path, image):
    folder = tmp_path / "script"
    folder.mkdir()
    torch.manual_seed(0)
    torch.jit.script(torch.nn.Sequential(torch.nn.Conv3d(1, 3, 3, padding=1))).save(str(folder / "net.ts"))
    (folder / "torchscript.json").write_text(json.dumps(SCRIPT))
    with pytest.raises(ConsentError, match=r"the program in net\.ts"):
        OwnModels().add(folder)
    OwnModels().add(folder, agreed=True)
    session = Session(read_volume(image), "my-script", device="cpu")
    keys = session.add_classes(["liver", "spleen"])
    assert any(session.mask(key).any() for key in keys)


class Malicious:
    def __reduce__(self):
        import os

        return os.system, ("touch was-run",)


def truncate(folder):
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-2000])


def pickle_code(folder):
    (folder / "fold_1" / "checkpoint_final.pth").write_bytes(pickle.dumps(Malicious()))


def other_shapes(folder):
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    key = next(iter(content["network_weights"]))
    content["network_weights"][key] = torch.zeros(3)
    torch.save(content, path)


def change(name, edit):
    def apply(folder):
        table = json.loads((folder / name).read_text())
        edit(table)
        (folder / name).write_text(json.dumps(table))

    return apply


def network_of(name):
    def edit(plans):
        plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = name

    return change("plans.json", edit)


def argument(key, value):
    def edit(plans):
        plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"][key] = value

    return change("plans.json", edit)


BROKEN = {
    "truncated": (truncate, ""),
    "a pickle that runs code": (pickle_code, "fold_1"),
    "other shapes": (other_shapes, "of another shape"),
    "no plans": (lambda folder: (folder / "plans.json").unlink(), "expected"),
    "no data set": (lambda folder: (folder / "dataset.json").unlink(), "dataset.json"),
    "plans that are a list": (lambda folder: (folder / "plans.json").write_text("[1]"), "plans.json"),
    "deep plans": (lambda folder: (folder / "plans.json").write_text("[" * 100_000), "plans.json"),
    "a network of another package": (network_of("os.system"), "expected a network"),
    "a layer of another package": (argument("conv_op", "subprocess.Popen"), "expected a layer"),
    "a million stages": (argument("n_stages", 10**6), "n_stages"),
    "arguments that are unknown": (argument("exec", "1"), "exec"),
    "a patch of all memory": (
        change("plans.json", lambda p: p["configurations"]["3d_fullres"].update(patch_size=[4096] * 3)), "voxels",
    ),
    "a spacing of zero": (
        change("plans.json", lambda p: p["configurations"]["3d_fullres"].update(spacing=[0, 1, 1])), "spacing",
    ),
    "itself for a parent": (
        change("plans.json", lambda p: p["configurations"]["3d_fullres"].update(inherits_from="3d_fullres")), "itself",
    ),
    "labels with a gap": (change("dataset.json", lambda d: d["labels"].update(tumour=7)), "gap"),
    "no labels": (change("dataset.json", lambda d: d.update(labels={"background": 0})), "labels"),
    "another normalisation": (
        change(
            "plans.json", lambda p: p["configurations"]["3d_fullres"].update(normalization_schemes=["os.system"])
        ),
        "os.system",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", list(BROKEN))
def test_broken_and_malicious_folders_get_one_line_and_leave_nothing(
    how, promptseg, home, results, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    damage, told = BROKEN[how]
    damage(results)
    line = promptseg.refuses("models", "add", results)
    assert told in line
    assert not Path("was-run").exists()
    assert list((home / "promptseg" / "models").iterdir()) == []


@pytest.mark.parametrize("name", ["../../evil", "/evil", "C:\\evil", "a/../../evil"])
def test_path_tricks_in_zips_are_refused(name, promptseg, home, results, tmp_path):
    path = zipped(results, tmp_path / "export.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "evil")
    assert "outside" in promptseg.refuses("models", "add", path)
    assert list((home / "promptseg" / "models").iterdir()) == []
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all"])
def test_files_that_are_no_models_are_refused(content, promptseg, home, tmp_path):
    for name in ("x.zip", "x.pth", "x"):
        (tmp_path / name).write_bytes(content)
        promptseg.refuses("models", "add", tmp_path / name)
    promptseg.refuses("models", "add", tmp_path / "missing")
    promptseg.refuses("segment", tmp_path / "x", "--model", tmp_path / "x.pth", "-o", tmp_path / "o.nii.gz")


def test_a_damaged_description_harms_nobody_else(promptseg, home, results):
    OwnModels().add(results, "mine")
    (home / "promptseg" / "models" / "mine" / "model.json").write_text("{")
    listed = promptseg("models")
    assert listed.status == 0
    assert "mine cannot be used" in listed.out
    with pytest.raises(PromptSegError):
        create_predictor("mine")
    assert promptseg("models", "remove", "mine").status == 0


def test_two_that_add_at_once_get_a_name_each_and_a_name_taken_meanwhile_is_told(home, results, monkeypatch):
    mine, replace = OwnModels(), os.replace

    def quicker(source, target):
        monkeypatch.setattr(os, "replace", replace)
        OwnModels().add(results, Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", quicker)
    assert mine.add(results).name == "plain-2"
    monkeypatch.setattr(os, "replace", quicker)
    with pytest.raises(WeightsError, match="a name that is free, got 'mine'"):
        mine.add(results, "mine")
    assert mine.names() == ("mine", "plain", "plain-2")


def test_what_a_killed_process_left_goes_with_the_next_addition(home, tmp_path):
    script = tmp_path / "script"
    script.mkdir()
    (script / "net.ts").write_bytes(b"not looked into")
    (script / "torchscript.json").write_text(json.dumps(SCRIPT))
    folder = OwnModels().folder
    code = (
        "import os, signal, shutil, sys; from PromptSegLib.predictors.own_models import OwnModels;"
        "shutil.copyfile = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "OwnModels().add(sys.argv[1], 'half', agreed=True)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(script)], check=False).returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 1
    assert OwnModels().names() == ()
    OwnModels().add(script, "whole", agreed=True)
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_texts_that_would_move_the_cursor_are_plain(promptseg, home, results):
    def edit(dataset):
        dataset["labels"] = {"background": 0, "\x1b[2Jliver": 1, "a\nb": 2}
        dataset["licence"] = "CC0\x1b]0;x\x07"

    change("dataset.json", edit)(results)
    shown = promptseg("models", "add", results, "--name", "mine")
    assert shown.status == 0, shown.err
    assert "\x1b" not in shown.out
    assert capabilities_of("mine").classes == ("[2Jliver", "a b")


def test_mirroring_step_and_folds_are_options_of_segment(promptseg, home, results, image, tmp_path):
    given = ("segment", image, "--model", results, "--device", "cpu", "--classes", "liver", "-o", tmp_path / "o.nii.gz")
    assert promptseg(*given, "--mirror", "--step", "0.75", "--folds", "1").status == 0
    predictor = NnUNet(results, device="cpu", mirror=True, step=0.75, folds=[1])
    expected = Session(read_volume(image), predictor)
    [key] = expected.add_classes(["liver"])
    assert np.array_equal(read_volume(tmp_path / "o.nii.gz").array > 0, expected.mask(key))
    assert "folds out of 0, 1" in promptseg.refuses(*given, "--folds", "7")
    assert "a step from" in promptseg.refuses(*given, "--step", "0")
    assert "no such option" in promptseg.refuses(*given[:3], "classical", *given[4:], "--mirror")
