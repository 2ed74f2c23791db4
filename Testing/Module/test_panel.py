"""The panel's controls: what they are called, when they can be used, and what they do."""

import re

import numpy as np
import pytest
import slicer
from slice_phantoms import ball, coloured
from standin.application import DicomExportDialog, FileDialog, qt
from user import MODULE

from PromptSegLib.geometry import Grid
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.view_geometry import pixel_mm
from PromptSegLib.mrml.volumes import add_volume_node
from PromptSegLib.panel.availability import TOOL_FEATURES, Situation, reasons
from PromptSegLib.predictors import registry
from PromptSegLib.predictors.devices import devices_here
from PromptSegLib.predictors.registry import capabilities_of
from PromptSegLib.view import Window


def controls(user):
    kinds = (qt.QPushButton, qt.QCheckBox, qt.QComboBox, qt.QTableWidget, slicer.qMRMLNodeComboBox)
    return {name: widget for name, widget in vars(user.ui).items() if isinstance(widget, kinds) and "qt_" not in name}


def enabled(user):
    user.look()
    return {name.removesuffix("Button") for name, w in controls(user).items() if name.endswith("Button") and w.enabled}


ALWAYS = {"addModel", "clearCache", "openFolder", "openCsv", "resetKeys"}
TOOLS = {"pointPlus", "pointMinus", "box2d", "box3d", "scribblePlus", "scribbleMinus", "lassoPlus", "lassoMinus"}
ON_SEGMENTS = {"exportLabelmap", "exportFile", "show3D", "segmentEditor", "measure"}
ON_MASKS = {"island", "holes", "smooth"}


def test_every_control_has_a_tool_tip(user):
    texts = [name for name, widget in vars(user.ui).items() if type(widget) is qt.QLabel and widget.text]
    captions = {name for name in texts if getattr(user.ui, name).text.endswith(":")}
    others = ("QPlainTextEdit", "QLineEdit", "QListWidget", "QSpinBox", "QProgressBar", "ctkSliderWidget")
    more = {name: widget for name, widget in vars(user.ui).items() if type(widget).__name__ in others}
    found = {name: w for name, w in (controls(user) | more).items() if not name.startswith("qt_")}
    assert len(found) > 60
    assert [name for name, widget in found.items() if not widget.toolTip] == []
    assert [name for name in texts if name not in captions and not getattr(user.ui, name).toolTip] == []


def test_every_scene_connection_of_the_ui_file_has_a_receiver(user):
    text = MODULE.with_name("Resources").joinpath("UI/PromptSeg.ui").read_text()
    receivers = re.findall(r"<receiver>(\w+)</receiver>", text)
    assert sorted(receivers) == ["earlierSelector", "segmentationSelector", "segmentsTable", "volumeSelector"]
    assert all(hasattr(getattr(user.ui, name), "setMRMLScene") for name in receivers)


def test_without_a_volume_nothing_can_be_done_and_the_tool_tips_say_why(user):
    assert enabled(user) == ALWAYS
    assert "Choose a volume first." in user.ui.pointPlusButton.toolTip
    assert user.ui.pointPlusButton.toolTip.startswith("Click inside")


def test_what_can_be_used_follows_what_there_is(user, image):
    idle = ALWAYS | TOOLS | {"addSegment", "which"}
    assert enabled(user) == idle
    user.press("addSegment")
    assert enabled(user) == idle | ON_SEGMENTS | {"copyPython"}
    user.tool("pointPlus")
    user.click((20, 15, 10))
    prompted = idle | ON_SEGMENTS | ON_MASKS | {"copyPython", "next", "undo", "reset"}
    assert enabled(user) == prompted
    user.ui.promptsTable.setCurrentCell(0, 0)
    user.ui.promptsTable.cellClicked.emit(0, 0)
    assert enabled(user) == prompted | {"deletePrompt"}
    user.press("undo")
    assert enabled(user) == idle | ON_SEGMENTS | {"copyPython", "redo"}
    user.ui.runAtOnceCheckBox.checked = False
    user.press("redo")
    assert enabled(user) == prompted | {"run"}


def test_while_a_prediction_runs_it_can_be_cancelled_and_nothing_else_is_blocked(user, image, model):
    model.gate.clear()
    user.tool("pointPlus")
    user.views["Red"].click(user.go_to((20, 15, 10)))
    user.look()
    assert "cancel" in enabled(user)
    assert user.ui.progressBar.enabled
    assert user.status
    user.press("cancel")
    assert not user.ui.progressBar.enabled
    assert user.size == 0
    assert len(user.session.prompts()) == 1


def test_while_it_runs_a_segment_with_a_mask_keeps_all_that_can_be_done_with_it(user, image, model):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    before = enabled(user)
    model.gate.clear()
    user.views["Red"].click(user.go_to((10, 15, 10)))
    assert enabled(user) == before | {"cancel"}
    model.gate.set()
    user.wait()
    assert enabled(user) == before


def test_the_panel_says_what_to_do_next(user, image):
    hint = user.ui.hintLabel
    assert hint.text == "Take a tool, then click or drag in the views."
    user.tool("lassoMinus")
    user.look()
    assert hint.text == "Draw around the structure in a slice view."
    user.ui.runAtOnceCheckBox.checked = False
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert hint.text.startswith("Click in a slice view")
    user.press("pointPlus")
    assert hint.text == "Press Run to have the prompts answered."
    user.ui.volumeSelector.setCurrentNode(None)
    user.look()
    assert hint.text == "Load an image and choose it as the volume."


def test_tools_that_the_model_does_not_take_say_so(user, image):
    user.widget.logic.models = FakeModels(user.widget.logic.models)
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("points"))
    assert enabled(user) & TOOLS == {"pointPlus", "pointMinus"}
    assert "Points only does not take this kind of prompt." in user.ui.box2dButton.toolTip
    assert [user.ui.namesList.item(n).text() for n in range(user.ui.namesList.count)] == ["liver", "spleen"]
    assert "Experimental" in user.ui.modelLabel.text


class FakeModels:
    """Models whose weights are all here."""

    def __init__(self, models):
        self._models = models

    def __getattr__(self, name):
        return getattr(self._models, name)

    def capabilities(self, name):
        return capabilities_of(name)

    def problem(self, name):
        return ""


def test_the_reasons_name_every_button_of_the_panel(user):
    tools = {tool.replace("+", "Plus").replace("-", "Minus") for tool in TOOL_FEATURES}
    known = (set(reasons(Situation())) - set(TOOL_FEATURES)) | tools
    buttons = {name.removesuffix("Button") for name in controls(user) if name.endswith("Button")}
    assert known | {"openFolder", "openCsv", "resetKeys"} == {
        name for name in buttons if "Collapsible" not in name and not name.startswith("qt")
    }


# Tools


def test_points_are_placed_until_the_tool_is_put_down(user, image, scene):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    user.click((25, 15, 10))
    user.press("pointPlus")
    assert not user.ui.pointPlusButton.checked
    user.click((10, 15, 10))
    assert len(user.session.prompts()) == 2


def test_a_tool_that_is_ended_in_the_views_is_put_down_in_the_panel(user, image, scene):
    user.tool("pointPlus")
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    user.look()
    assert not user.ui.pointPlusButton.checked


def test_a_box_in_3d_is_two_clicks_and_another_may_follow(user, image):
    user.tool("box3d")
    for corners in (((10, 8, 10), (18, 16, 10)), ((24, 18, 10), (30, 24, 10))):
        for corner in corners:
            user.views["Red"].click(user.go_to(corner))
            user.look()
        user.wait()
    assert user.status == ""
    assert [prompt.kind for prompt in user.session.prompts()] == ["box", "box"]
    assert not any(prompt.is_planar for prompt in user.session.prompts())
    assert user.ui.box3dButton.checked
    user.press("box3d")
    assert user.size > 500


def test_a_drawn_box_lies_on_the_slice(user, image):
    user.tool("box2d")
    user.drag([(10, 8, 10), (20, 18, 10)])
    (box,) = user.session.prompts()
    assert box.is_planar
    np.testing.assert_allclose(sorted(box.size_mm), [0, 10, 10], atol=2 * pixel_mm(user.views["Red"].node))
    assert np.flatnonzero(user.session.mask_kji.any(axis=(1, 2))).tolist() == [10]


def test_a_lasso_without_an_area_is_refused_with_a_message(user, image):
    user.tool("lassoPlus")
    user.views["Red"].click(user.go_to((20, 15, 10)))
    user.look()
    assert user.status.startswith("Expected")
    assert user.session.prompts() == ()


def test_the_brush_shows_its_size(user, image):
    user.ui.brushSlider.value = 8.0
    user.tool("scribblePlus")
    view = user.views["Red"]
    centre = np.asarray(user.go_to((20, 15, 10)))
    before = view.image()
    view.move(centre)
    changed = np.argwhere((view.image() != before).any(axis=-1))
    height_px, width_px = np.ptp(changed, axis=0)
    assert width_px * pixel_mm(view.node) == pytest.approx(8, abs=0.6)
    assert height_px * pixel_mm(view.node) == pytest.approx(8, abs=0.6)
    view.leave()
    np.testing.assert_array_equal(view.image(), before)


def test_the_polarity_returns_to_plus_with_every_new_structure(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    user.tool("pointMinus")
    user.press("next")
    assert user.ui.pointPlusButton.checked
    assert not user.ui.pointMinusButton.checked


# The model


def test_the_device_is_chosen_and_what_was_used_is_told(user, image, monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "movable", "worker_fakes:MovablePredictor")
    ui = user.ui
    assert [ui.deviceComboBox.itemData(n) for n in range(ui.deviceComboBox.count)] == list(devices_here())
    assert ui.deviceLabel.text == "Not used yet"
    ui.modelComboBox.addItem("movable", "movable")
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.findData("movable"))
    ui.deviceComboBox.addItem("cuda:1", "cuda:1")
    ui.deviceComboBox.setCurrentIndex(ui.deviceComboBox.findData("cuda:1"))
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert ui.deviceLabel.text == "Last used: cuda:1"
    ui.deviceComboBox.setCurrentIndex(ui.deviceComboBox.findData("cpu"))
    user.look()
    user.click((10, 15, 10))
    assert ui.deviceLabel.text == "Last used: cpu"
    assert "on cpu" in ui.resultLabel.text
    assert len(user.session.prompts()) == 2


def test_the_model_sees_the_window_that_is_shown_where_that_is_wanted(user, image, model):
    image.GetDisplayNode().SetAutoWindowLevel(False)
    image.GetDisplayNode().SetWindowLevelMinMax(20, 120)
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert model.started[-1].window is None
    user.ui.windowAsShownCheckBox.checked = True
    user.look()
    user.click((10, 15, 10))
    assert model.started[-1].window == Window(20, 120)


def test_a_segment_from_elsewhere_is_redrawn_where_that_is_wanted(user, image, model):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert not model.started[-1].redraw
    user.ui.redrawsAllCheckBox.checked = True
    user.look()
    user.click((10, 15, 10))
    assert model.started[-1].redraw


def test_what_a_click_changed_in_a_segment_from_elsewhere_is_shown_for_a_moment(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    user.session.accept()
    shown = []
    user.session.show_change = lambda visible=True: shown.append(visible)
    user.click((10, 15, 10))
    user.look()
    assert shown == [True]
    assert user.session.prediction.change is not None


# The lists


def test_the_prompts_list_says_what_and_where_highlights_jumps_and_deletes(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    user.click((10, 15, 4))
    table = user.ui.promptsTable
    assert [table.item(1, column).text() for column in range(3)] == ["Point", "+", "4"]
    user.views["Red"].jump_to((0, 0, 19))
    table.cellEntered.emit(0, 0)
    point_list = user.session.point_node()
    assert [bool(point_list.GetNthControlPointSelected(n)) for n in (0, 1)] == [False, True]
    table.cellClicked.emit(0, 0)
    assert user.views["Red"].offset == pytest.approx(10, abs=0.5)
    table.viewportEntered.emit()
    assert [bool(point_list.GetNthControlPointSelected(n)) for n in (0, 1)] == [True, True]
    table.setCurrentCell(0, 0)
    user.press("deletePrompt")
    assert len(user.session.prompts()) == 1
    assert not user.session.mask_kji[10, 15, 20]
    table.setCurrentCell(0, 0)
    table.setFocus()
    user.look()
    qt.QTest.keyClick(table, qt.Qt.Key_Delete)
    user.look()
    assert user.session.prompts() == ()


def test_choosing_a_segment_sends_prompts_to_it(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    first = user.session.target
    user.press("addSegment")
    second = user.session.target
    user.ui.segmentsTable.setSelectedSegmentIDs([first])
    user.look()
    assert user.session.target == first
    assert user.ui.promptsTable.rowCount == 1
    user.ui.segmentsTable.setSelectedSegmentIDs([second])
    user.look()
    assert user.ui.promptsTable.rowCount == 0


# The result


def test_prompts_collected_are_answered_together(user, image, model):
    user.ui.runAtOnceCheckBox.checked = False
    user.tool("pointPlus")
    user.click((20, 15, 10))
    user.click((10, 15, 10))
    assert user.size == 0
    assert model.started == []
    user.press("run")
    user.wait()
    assert len(model.started) == 1
    assert user.session.mask_kji[10, 15, 20]
    assert user.session.mask_kji[10, 15, 10]


def test_the_result_is_told_with_its_time(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert re.search(r"Expected quality 0.90, \d+ voxels changed, \d+ ms", user.ui.resultLabel.text)
    assert "shapes: encode" in user.ui.timingsText.toPlainText()
    assert "shapes: encode" in user.ui.resultLabel.toolTip


def test_islands_holes_and_rough_borders_are_put_right_and_undone(user, image):
    user.ui.segmentationSelector.setCurrentNode(None)
    user.press("addSegment")
    mask = np.zeros((20, 30, 40), dtype=bool)
    mask[4:14, 5:20, 5:20] = True
    mask[8, 10, 10] = False
    mask[2, 27, 35] = True
    user.session.set_mask(mask)
    user.press("island")
    assert not user.session.mask_kji[2, 27, 35]
    user.press("holes")
    assert user.session.mask_kji[8, 10, 10]
    user.press("smooth")
    assert not user.session.mask_kji[4, 5, 5]
    for _ in range(3):
        user.press("undo")
    np.testing.assert_array_equal(user.session.mask_kji, mask)


def test_the_console_lines_do_the_same(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    user.tool("scribbleMinus")
    user.drag([(22, 10, 10), (22, 20, 10)])
    user.ui.windowAsShownCheckBox.checked = True
    user.ui.deviceComboBox.setCurrentIndex(user.ui.deviceComboBox.findData("cpu"))
    user.press("copyPython")
    assert "device='cpu', window=Window(low=" in qt.QApplication.clipboard().text()
    names = {}
    exec(qt.QApplication.clipboard().text(), names)
    assert isinstance(names["session"], SceneSession)
    np.testing.assert_array_equal(names["session"].mask_kji, user.session.mask_kji)
    names["session"].close()


def test_segments_are_exported_as_a_node_and_as_a_file(user, image, scene, tmp_path):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    user.press("exportLabelmap")
    node = scene.GetFirstNodeByClass("vtkMRMLLabelMapVolumeNode")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node) == 1, user.session.mask_kji)
    FileDialog.answers.append(str(tmp_path / "out.nii.gz"))
    user.press("exportFile")
    assert (tmp_path / "out.nii.gz").stat().st_size > 100
    assert scene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode") == 1


def test_dicom_export_is_slicers_own_opened_at_the_segmentation(user, image, scene, monkeypatch):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert not user.is_enabled("exportDicom")
    assert "QuantitativeReporting" in user.ui.exportDicomButton.toolTip
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "CT")
    hierarchy.CreateItem(study, image)  # in Slicer, every node has an item
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), user.session.segmentation_node)
    monkeypatch.setattr(slicer.modules, "dicom", slicer.modules.segmenteditor, raising=False)
    monkeypatch.setattr(slicer.modules, "dicomPlugins", {"DICOMSegmentationPlugin": object}, raising=False)
    user.widget.update()
    user.press("exportDicom")
    assert DicomExportDialog.opened == [item]
    assert hierarchy.GetItemParent(item) == study


def test_display_controls_change_the_display_and_nothing_else(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    node = user.session.segmentation_node
    user.ui.outlineCheckBox.click()
    user.ui.opacitySlider.value = 0.4
    user.press("show3D")
    display = node.GetDisplayNode()
    assert not display.GetVisibility2DFill()
    assert display.GetOpacity() == pytest.approx(0.4)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    user.ui.hidePromptsCheckBox.checked = True
    user.look()
    assert not user.session.point_node().GetDisplayNode().GetVisibility()
    user.press("show3D")
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_the_overwrite_mode_is_the_segment_editors(user, image, scene):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    first = user.session.target
    editor = scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    assert editor.GetOverwriteMode() == editor.OverwriteNone
    user.ui.overwriteComboBox.setCurrentIndex(2)
    user.ui.overwriteComboBox.activated.emit(2)
    assert editor.GetOverwriteMode() == editor.OverwriteAllSegments
    user.press("next")
    user.click((21, 15, 10))
    assert not (user.session.mask(first) & user.session.mask_kji).any()


# Keys


def press_key(user, key, modifier):
    qt.QTest.keyClick(slicer.util.mainWindow(), key, modifier)
    user.look()


def test_keys_work_while_the_panel_is_open_and_not_after(user, image):
    press_key(user, qt.Qt.Key_1, qt.Qt.AltModifier)
    assert user.ui.pointPlusButton.checked
    user.widget.exit()
    user.look()
    window = slicer.util.mainWindow()
    assert [key for key in window.findChildren(qt.QShortcut) if key.parent() is window] == []
    assert not user.ui.pointPlusButton.checked


def test_a_key_can_be_changed_and_is_remembered(user, image):
    table = user.ui.shortcutsTable
    table.item(0, 1).setText("Alt+P")
    press_key(user, qt.Qt.Key_P, qt.Qt.AltModifier)
    assert user.ui.pointPlusButton.checked
    assert "Alt+P" in qt.QSettings().value("PromptSeg/shortcuts")
    table.item(1, 1).setText("Alt+P")
    user.look()
    assert "stands for 'point+'" in user.status
    assert table.item(1, 1).text() == "Alt+2"
    user.press("resetKeys")
    assert table.item(0, 1).text() == "Alt+1"
    assert "Alt+P" not in qt.QSettings().value("PromptSeg/shortcuts")


def test_a_slice_by_slice_model_carries_the_segment_through_the_volume(user, scene, monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "perfect", "slice_phantoms:PerfectPredictor")
    user.ui.modelComboBox.addItem("perfect", "perfect")
    grid = Grid((30, 40, 50), np.eye(4))
    truth = ball(grid, (25.0, 20.0, 15.0), 9)
    volume = coloured(grid, truth)
    user.show(add_volume_node(scene, volume))
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("perfect"))
    user.tool("pointPlus")
    user.click((25, 20, 15))
    assert np.flatnonzero(user.session.mask_kji.any(axis=(1, 2))).tolist() == [15]
    user.ui.directionComboBox.setCurrentIndex(1)
    user.press("propagate")
    user.wait()
    expected = truth.copy()
    expected[:15] = False
    np.testing.assert_array_equal(user.session.mask_kji, expected)
    user.press("undo")
    assert np.flatnonzero(user.session.mask_kji.any(axis=(1, 2))).tolist() == [15]
    user.ui.directionComboBox.setCurrentIndex(0)
    user.ui.reachSpinBox.value = 2
    user.press("propagate")
    user.wait()
    assert np.flatnonzero(user.session.mask_kji.any(axis=(1, 2))).tolist() == [13, 14, 15, 16, 17]


def test_a_model_without_its_weights_can_be_chosen_and_answers_once_they_are_here(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    models = user.widget.logic.models
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("points"))
    user.widget.logic.models = Withheld(models)
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("shapes"))
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("points"))
    assert enabled(user) & TOOLS == set()
    assert "get them" in user.ui.pointPlusButton.toolTip
    assert user.session.capabilities.name == "shapes"
    user.widget.logic.models = FakeModels(models)
    user.widget.update()
    assert user.session.capabilities.name == "points"
    assert len(user.session.prompts()) == 1


class Withheld(FakeModels):
    """Models of which one has its weights elsewhere."""

    def capabilities(self, name):
        return None if self.problem(name) else capabilities_of(name)

    def problem(self, name):
        return "The weights are not here: get them under Model." if name == "points" else ""
