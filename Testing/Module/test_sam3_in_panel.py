"""SAM 3 in the panel: a click on a slice, carried through the volume, and words, as in the console."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import segment_mask
from test_models_in_panel import TIMEOUT_S, assert_answered, console, keys_by_name, show
from tiny_sam3 import use_tiny_sam3

from PromptSegLib.volume import Volume

ARRAY = np.random.default_rng(1).normal(size=(4, 48, 56)).cumsum(axis=1).cumsum(axis=2).astype(np.float32)
VOLUME = Volume(ARRAY, np.diag([0.8, 0.8, 2.5, 1.0]))


@pytest.fixture
def model(monkeypatch, tmp_path):
    """All models that there are; those of SAM 3 are small, and have their weights in the offline folder."""
    use_tiny_sam3(tmp_path, monkeypatch)


def test_a_click_for_sam_3_is_answered_on_its_slice_carried_on_and_undone(user, scene):
    shape = show(user, scene, VOLUME, "sam3")
    user.tool("pointPlus")
    user.click((25, 24, 1), timeout_s=TIMEOUT_S)
    assert_answered(user, "sam3")
    given = console(user, VOLUME, "sam3")
    given.add(user.session.prompts()[0])
    mask = segment_mask(user.session.segmentation_node, user.session.target, shape)
    np.testing.assert_array_equal(mask, given.mask_kji)
    assert mask[1].any()
    assert not mask[[0, 2, 3]].any()
    user.press("propagate")
    user.wait(TIMEOUT_S)
    assert "forward to" in user.ui.resultLabel.text
    user.press("undo")
    np.testing.assert_array_equal(user.session.mask_kji, mask)


def test_words_for_sam_3_become_segments_and_the_panel_says_that_it_is_an_experiment(user, scene):
    shape = show(user, scene, VOLUME, "sam3-text")
    assert "Experimental." in user.ui.modelLabel.text
    user.ui.searchEdit.text = "liver, kidney"
    user.press("name")
    user.wait(TIMEOUT_S)
    assert_answered(user, "sam3-text")
    assert "experimental" in user.ui.resultLabel.text
    found = keys_by_name(user)
    given = console(user, VOLUME, "sam3-text")
    given.add_classes([user.session.prompts(found[name])[0] for name in ("liver", "kidney")])
    for name in ("liver", "kidney"):
        mask = segment_mask(user.session.segmentation_node, found[name], shape)
        assert 0 < mask.mean() < 1
        np.testing.assert_array_equal(mask, given.mask(name))
