"""nnInteractive in the panel: what is placed in the views is answered as what is said in the console."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from nninteractive_model import NamedClosedForm, save_model

from PromptSegLib.predictors import registry
from PromptSegLib.predictors.nninteractive.local import LocalSession
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume


@pytest.fixture
def model(monkeypatch, tmp_path):
    """The only model; its package is loaded already."""
    folder = save_model(tmp_path / "model", decay=0.9)
    LocalSession(folder, "cpu")
    monkeypatch.setenv("NNINTERACTIVE_MODEL", str(folder))
    closed_form = "nninteractive_model:NamedClosedForm"
    monkeypatch.setattr(registry, "BUILT_IN", {"default": closed_form, "nninteractive": closed_form})


def test_prompts_placed_in_views_are_answered_in_3d_and_undone(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    clicked = user.session.mask_kji
    user.tool("scribblePlus")
    user.drag([(14, 10, 9), (20, 14, 9)])
    scribbled = user.session.mask_kji
    assert clicked.any(axis=(1, 2)).sum() > 5
    assert scribbled.sum() > clicked.sum()
    user.press("undo")
    np.testing.assert_array_equal(user.session.mask_kji, clicked)
    user.tool("box2d")
    user.drag([(10, 8, 12), (26, 22, 12)])
    assert "CC BY-NC-SA 4.0" in user.ui.modelLabel.text
    console = Session(
        Volume(slicer.util.arrayFromVolume(image), user.session.image.reference.ijk_to_ras), NamedClosedForm()
    )
    for prompt in user.session.prompts():
        console.add(prompt)
    np.testing.assert_array_equal(user.session.mask_kji, console.mask_kji)
