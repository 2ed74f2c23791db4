"""VoxTell in the panel: words become segments, as in the console; its package with a small key-made network."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import add_volume
from shape_model import ShapePredictor
from test_names_and_channels import choose
from tiny_voxtell import image as small_image
from tiny_voxtell import save_tiny_voxtell, use_tiny_voxtell

from PromptSegLib.predictors import registry
from PromptSegLib.prompts import TextPrompt
from PromptSegLib.session.session import Session

WORDS = ("a small lesion in the right lung", "liver")


@pytest.fixture
def model(monkeypatch, tmp_path):
    use_tiny_voxtell(monkeypatch)
    save_tiny_voxtell(tmp_path / "weights" / "voxtell")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setitem(registry.BUILT_IN, "default", "shape_model:ShapePredictor")
    ShapePredictor.gate.set()


def segments(user):
    segmentation = user.session.segmentation_node.GetSegmentation()
    return {segmentation.GetSegment(key).GetName(): key for key in segmentation.GetSegmentIDs()}


def test_typed_words_become_segments_that_undo_and_another_model_s_clicks_change(user, scene):
    volume = small_image("oblique")
    choose(user, "voxtell")
    user.ui.deviceComboBox.setCurrentIndex(user.ui.deviceComboBox.findData("cpu"))
    user.show(add_volume(scene, volume.array, volume.ijk_to_ras))
    assert "(weights here)" in user.ui.modelComboBox.currentText
    user.ui.searchEdit.text = ", ".join(WORDS)
    user.press("name")
    user.wait(120)
    assert user.status == ""
    given = Session(volume, "voxtell", device="cpu")
    expected = given.add_classes([TextPrompt(words) for words in WORDS])
    keys = segments(user)
    for words, target in zip(WORDS, expected, strict=True):
        assert 0 < given.mask(target).mean() < 1
        np.testing.assert_array_equal(user.session.mask(keys[words]), given.mask(target))
    assert user.session.prediction.device == "cpu"
    before = user.session.mask(keys["liver"]).copy()
    user.session.select(keys["liver"])
    choose(user, "default")
    user.tool("pointPlus")
    k, j, i = np.argwhere(~before)[len(np.argwhere(~before)) // 2]
    user.click((i, j, k))
    assert user.session.mask(keys["liver"])[k, j, i]
    user.press("undo")
    np.testing.assert_array_equal(user.session.mask(keys["liver"]), before)


def test_words_that_are_not_stored_are_told_in_the_panel(user, scene):
    volume = small_image()
    choose(user, "voxtell")
    user.ui.deviceComboBox.setCurrentIndex(user.ui.deviceComboBox.findData("cpu"))
    user.show(add_volume(scene, volume.array, volume.ijk_to_ras))
    user.ui.searchEdit.text = "livers"
    user.press("name")
    user.wait(120)
    assert "such as 'liver'" in user.status
    assert not user.session.mask_kji.any()
