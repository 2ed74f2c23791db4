"""A model of one's own in the panel: added, used by name, corrected by a click, renamed, exported, removed."""

from __future__ import annotations

import bundles
import nnunet_folders
import numpy as np
import pytest
import slicer
from scenes import add_volume
from standin.application import FileDialog
from test_names_and_channels import segments, tick

from PromptSegLib.io import read_volume
from PromptSegLib.predictors.own_models import OwnModels
from PromptSegLib.session.session import Session


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def results(tmp_path):
    return nnunet_folders.write_results(tmp_path / "results", "plain")


@pytest.fixture
def volume(tmp_path):
    return read_volume(nnunet_folders.write_images(tmp_path, "plain", 1)[0])


def add(user, path):
    FileDialog.answers.append(str(path))
    user.press("addModel")
    user.wait(60)


def test_a_model_is_added_used_renamed_exported_and_removed_by_mouse(
    user, scene, home, results, volume, tmp_path, monkeypatch
):
    user.ui.modelCollapsibleButton.collapsed = False
    assert user.is_enabled("addModel")
    assert not user.is_enabled("removeModel")
    add(user, results / "plans.json")
    assert user.status == "plain is added."
    assert user.ui.modelComboBox.currentData == "plain"
    assert all(word in user.ui.modelLabel.text for word in ("liver", "CC0", "SHA-256", str(results)))
    user.ui.deviceComboBox.setCurrentIndex(user.ui.deviceComboBox.findData("cpu"))
    user.show(add_volume(scene, volume.array, volume.ijk_to_ras))
    tick(user, "liver")
    user.press("name")
    user.wait(60)
    expected = Session(volume, results, device="cpu")
    [key] = expected.add_classes(["liver"])
    assert np.array_equal(segments(user)["liver"], expected.mask(key))
    k, j, i = np.argwhere(expected.mask(key))[0]
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("default"))
    user.look()
    user.tool("pointMinus")
    user.click((i, j, k))
    user.wait(60)
    corrected = segments(user)["liver"]
    assert not corrected[k, j, i]
    assert corrected.any()
    user.press("undo")
    assert np.array_equal(segments(user)["liver"], expected.mask(key))
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("plain"))
    user.look()
    user.ui.ownNameEdit.text = "ours"
    user.press("renameModel")
    user.look()
    assert user.ui.modelComboBox.currentData == "ours"
    assert OwnModels().names() == ("ours",)
    FileDialog.answers.append(str(tmp_path / "ours.zip"))
    user.press("exportModel")
    assert (tmp_path / "ours.zip").is_file()
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    user.press("removeModel")
    user.look()
    assert user.ui.modelComboBox.currentData == "default"
    assert user.ui.modelComboBox.findData("ours") < 0
    assert OwnModels().names() == ()
    add(user, tmp_path / "ours.zip")
    assert OwnModels().names() == ("plain",)


@pytest.mark.filterwarnings("ignore")
def test_what_would_run_code_is_asked_about_and_what_is_broken_is_told(user, home, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: asked.append(text) or len(asked) > 1)

    def change(config):
        config["preprocessing"]["transforms"].append({"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x"})

    root = bundles.write_bundle(tmp_path, "dynunet", change)
    add(user, root / "configs" / "metadata.json")
    assert "Lambdad" in asked[0]
    assert OwnModels().names() == ()
    add(user, root / "configs" / "metadata.json")
    user.wait(60)
    assert OwnModels().names() == ("two-organs",)
    (tmp_path / "x.zip").write_bytes(b"x")
    add(user, tmp_path / "x.zip")
    assert "no whole zip archive" in user.status
