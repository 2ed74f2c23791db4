"""Which one? In the panel: the models that suit the volume, best first, chosen by a click."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scenes import add_volume
from standin.application import PANEL_WIDTH_PX

from PromptSegLib.predictors import registry


@pytest.fixture
def model(monkeypatch):
    """All models that there are; the default one answers at once."""
    monkeypatch.setitem(registry.BUILT_IN, "default", "shape_model:ShapePredictor")


@pytest.fixture
def opened(user, image):
    user.ui.modelCollapsibleButton.collapsed = False
    user.look()
    return user


@pytest.fixture(autouse=True)
def no_weights_and_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    monkeypatch.setattr("PromptSegLib.panel.advice.has_gpu", lambda device: device.startswith("cuda"))
    monkeypatch.setattr("PromptSegLib.panel.models.has_gpu", lambda device: device.startswith("cuda"))


def rows(user):
    return [user.ui.adviceList.item(row) for row in range(user.ui.adviceList.count)]


def texts(user):
    return [item.text() for item in rows(user)]


def click(user, text):
    item = next(item for item in rows(user) if item.text().startswith(text))
    user.ui.adviceList.itemClicked.emit(item)
    user.look()


def test_models_are_grouped_and_the_best_comes_first(opened):
    assert not opened.ui.adviceList.visible
    opened.press("which")
    assert opened.ui.adviceList.visible
    lines = texts(opened)
    assert lines[0] == "Clicks, boxes, scribbles"
    assert "Names" in lines
    assert "Free text" in lines
    advised = lines[1]
    assert opened.ui.whichButton.text == f"Which one? Advised: {advised.removeprefix('★ ').partition(': ')[0]}"
    assert len(lines) < 16
    assert opened.ui.adviceList.width < PANEL_WIDTH_PX


def test_the_rest_is_folded_and_a_click_chooses_a_model(opened):
    opened.press("which")
    (fold,) = [n for n, text in enumerate(texts(opened)) if text.endswith("others…")][:1]
    before = len(rows(opened))
    count = int(texts(opened)[fold].split()[0])
    opened.ui.adviceList.itemClicked.emit(rows(opened)[fold])
    opened.look()
    assert len(rows(opened)) == before + count
    assert texts(opened)[fold] == "Fewer"
    click(opened, "Classical")
    assert opened.widget.parameters.model == "classical"
    opened.ui.adviceList.itemClicked.emit(rows(opened)[fold])
    opened.look()
    assert len(rows(opened)) == before


def test_the_tool_in_hand_the_device_and_the_volume_change_the_advice(opened, scene):
    opened.press("which")
    on_cpu = texts(opened)
    opened.ui.deviceComboBox.addItem("cuda:0", "cuda:0")
    opened.ui.deviceComboBox.setCurrentIndex(opened.ui.deviceComboBox.findData("cuda:0"))
    opened.look()
    on_gpu = texts(opened)
    assert not any("nnInteractive" in line for line in on_cpu)
    assert any(line.startswith("Better, once it is here: nnInteractive") for line in on_gpu)
    opened.tool("scribblePlus")
    assert any("takes scribbles in 3D" in line for line in texts(opened))
    picture = add_volume(scene, np.zeros((1, 30, 40), np.uint8), np.diag([0.001, 0.001, 0.001, 1.0]))
    opened.show(picture)
    assert "None suits this image." in texts(opened)


def test_a_dicom_header_tells_what_the_volume_is(opened, image):
    opened.press("which")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), image)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "US")
    opened.widget.scheduleUpdate()
    opened.look()
    names = texts(opened)[texts(opened).index("Names") :]
    assert names[1] == "None suits this image."


def test_without_a_volume_nothing_is_advised(opened):
    opened.press("which")
    opened.ui.volumeSelector.setCurrentNode(None)
    opened.look()
    assert rows(opened) == []
    assert not opened.is_enabled("which")
    assert opened.ui.whichButton.text == "Which one?"
