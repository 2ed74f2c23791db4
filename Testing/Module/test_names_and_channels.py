"""Structures asked for by their names, and models that want several images."""

import numpy as np
import pytest
import slicer
from scenes import add_volume
from standin.application import qt
from test_panel import FakeModels

from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.predictors import registry

LIVER, SPLEEN, KIDNEY = 1, 2, 3


def choose(user, name):
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData(name))
    user.look()


@pytest.fixture
def organs(user, scene, monkeypatch):
    """An image of a liver in two parts, a spleen and a kidney, and a model that knows them by name."""
    monkeypatch.setitem(registry.BUILT_IN, "values", "fakes:ValuePredictor")
    user.ui.modelComboBox.addItem("values", "values")
    array = np.zeros((20, 30, 40), dtype=np.int16)
    array[8:12, 5:10, 5:10] = LIVER
    array[8:12, 20:25, 5:10] = LIVER
    array[8:12, 5:10, 25:30] = SPLEEN
    array[8:12, 20:25, 25:30] = KIDNEY
    user.show(add_volume(scene, array))
    choose(user, "values")
    return array


def tick(user, *names):
    for row in range(user.ui.namesList.count):
        item = user.ui.namesList.item(row)
        if item.text() in names:
            item.setCheckState(qt.Qt.Checked)


def shown(user):
    items = [user.ui.namesList.item(row) for row in range(user.ui.namesList.count)]
    return [item.text() for item in items if not item.isHidden()]


def segments(user):
    segmentation = user.session.segmentation_node.GetSegmentation()
    return {segmentation.GetSegment(key).GetName(): user.session.mask(key) for key in segmentation.GetSegmentIDs()}


def test_names_are_there_for_models_that_take_them_only(user, image):
    assert not user.ui.namesFrame.isVisible()
    user.widget.logic.models = FakeModels(user.widget.logic.models)
    choose(user, "points")
    assert user.ui.namesFrame.isVisible()
    assert shown(user) == ["liver", "spleen"]


def test_the_list_is_searched_by_any_name_and_keeps_what_is_ticked(user, organs):
    assert shown(user) == ["liver", "spleen", "left kidney"]
    tick(user, "spleen")
    assert user.ui.nameButton.text == "Segment 1"
    user.ui.searchEdit.text = "kidney_l"
    assert shown(user) == ["spleen", "left kidney"]
    user.ui.searchEdit.text = ""
    assert shown(user) == ["liver", "spleen", "left kidney"]


def test_several_structures_come_at_once_each_in_a_segment_of_its_name(user, organs):
    tick(user, "liver", "left kidney")
    user.press("name")
    user.wait()
    found = segments(user)
    np.testing.assert_array_equal(found["liver"], organs == LIVER)
    np.testing.assert_array_equal(found["left kidney"], organs == KIDNEY)
    assert user.ui.promptsTable.item(0, 0).text() == "liver"
    user.press("undo")
    assert not any(mask.any() for mask in segments(user).values())


def test_without_a_tick_what_is_typed_is_segmented_and_an_unknown_name_is_refused(user, organs):
    user.ui.searchEdit.text = "kidney_left"
    user.press("name")
    user.wait()
    np.testing.assert_array_equal(segments(user)["left kidney"], organs == KIDNEY)
    user.ui.searchEdit.text = "liver, spl"
    assert shown(user) == ["spleen"]
    user.ui.searchEdit.text = "liver, spleen"
    user.press("name")
    user.wait()
    assert {name for name, mask in segments(user).items() if mask.any()} >= {"liver", "spleen"}
    user.ui.searchEdit.text = "livre"
    user.press("name")
    assert "got 'livre'; did you mean liver" in user.status


def test_clicks_of_a_model_of_names_wait_for_a_name(user, organs):
    assert not user.is_enabled("pointPlus")
    assert "by its name first" in user.ui.pointPlusButton.toolTip
    assert user.ui.hintLabel.text == "Tick structures, or type a name, then press Segment."
    tick(user, "liver")
    user.press("name")
    user.wait()
    user.tool("pointPlus")
    user.click((7, 22, 10))
    assert user.session.mask_kji[10, 22, 7]
    assert not user.session.mask_kji[10, 7, 7]


def test_a_model_of_free_text_is_offered_all_known_structures_and_takes_any_words(user, organs, monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "words", "shape_model:Words")
    user.ui.modelComboBox.addItem("words", "words")
    choose(user, "words")
    user.ui.searchEdit.text = "kidney_left"
    assert shown(user) == ["left kidney", "left kidney cyst"]
    user.ui.searchEdit.text = "a bright spot"
    user.press("name")
    user.wait()
    assert user.status == ""
    assert segments(user)["a bright spot"].any()


def test_a_box_drawn_next_limits_where(user, organs):
    tick(user, "liver")
    user.ui.whereComboBox.setCurrentIndex(user.ui.whereComboBox.findData("box3d"))
    user.press("name")
    assert "two corners" in user.ui.hintLabel.text
    for corner in ((2, 2, 10), (13, 13, 10)):
        user.views["Red"].click(user.go_to(corner))
        user.look()
    user.wait()
    mask = segments(user)["liver"]
    assert mask[10, 7, 7]
    assert not mask[10, 22, 7]
    assert user.widget.logic.tools.tool == ""


def test_a_click_that_comes_next_says_which_part_is_meant(user, organs):
    tick(user, "liver")
    user.ui.whereComboBox.setCurrentIndex(user.ui.whereComboBox.findData("point"))
    user.press("name")
    user.views["Red"].click(user.go_to((7, 22, 10)))
    user.wait()
    mask = segments(user)["liver"]
    assert mask[10, 22, 7]
    assert not mask[10, 7, 7]


def test_asking_for_a_place_can_be_given_up(user, organs, scene):
    tick(user, "liver")
    user.ui.whereComboBox.setCurrentIndex(user.ui.whereComboBox.findData("point"))
    user.press("name")
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    user.look()
    assert user.widget.logic.tools.tool == ""
    names = [scene.GetNthNode(n).GetName() for n in range(scene.GetNumberOfNodes())]
    assert "PromptSeg 3D box" not in names
    assert segments(user) == {} or not any(mask.any() for mask in segments(user).values())


def test_a_name_then_a_click_of_another_model_corrects_it(user, organs):
    tick(user, "spleen")
    user.press("name")
    user.wait()
    choose(user, "shapes")
    user.tool("pointMinus")
    user.click((27, 7, 10))
    assert not user.session.mask_kji[10, 7, 27]
    user.press("undo")
    np.testing.assert_array_equal(segments(user)["spleen"], organs == SPLEEN)


# Several images


@pytest.fixture
def pet_ct(user, scene, monkeypatch):
    """CT and PET on grids of their own, and a model that wants both."""
    monkeypatch.setitem(registry.BUILT_IN, "pet-ct", "fakes:HotInBodyPredictor")
    user.ui.modelComboBox.addItem("pet-ct", "pet-ct")
    ct = np.full((20, 30, 40), 40, dtype=np.int16)
    pet = np.zeros((20, 30, 40), dtype=np.int16)
    pet[8:12, 10:20, 10:20] = 99
    nodes = add_volume(scene, ct, name="ct image"), add_volume(scene, pet, name="pet image")
    user.show(nodes[0])
    choose(user, "pet-ct")
    return nodes


def selector_of(user, name):
    return user.widget.input._channelSelectors[name]


def test_a_model_of_several_images_waits_for_them_and_says_so(user, pet_ct):
    assert user.ui.volumeLabel.text == "Volume (ct):"
    assert user.ui.channelsFrame.isVisible()
    assert selector_of(user, "pet").toolTip
    assert not user.is_enabled("pointPlus")
    assert "Choose a volume for pet under Input." in user.ui.pointPlusButton.toolTip
    assert user.ui.hintLabel.text == "Choose a volume for pet under Input."
    user.press("addSegment")
    assert user.session.capabilities.name == "shapes"
    selector_of(user, "pet").setCurrentNode(pet_ct[1])
    user.tool("pointPlus")
    user.click((15, 15, 10))
    assert user.status == ""
    assert user.session.capabilities.name == "pet-ct"
    assert int(user.session.mask_kji.sum()) == 4 * 10 * 10


def test_channels_are_saved_with_the_scene_and_other_models_use_the_first(user, scene, pet_ct, tmp_path):
    selector_of(user, "pet").setCurrentNode(pet_ct[1])
    user.tool("pointPlus")
    user.click((15, 15, 10))
    mask = user.session.mask_kji
    save_mrb(scene, tmp_path / "day.mrb")
    scene.Clear(False)
    user.look()
    open_mrb(scene, tmp_path / "day.mrb")
    user.look()
    assert selector_of(user, "pet").currentNode().GetName() == "pet image"
    np.testing.assert_array_equal(user.session.mask_kji, mask)
    assert list(user.session.volume_nodes) == ["ct", "pet"]
    choose(user, "shapes")
    assert not user.ui.channelsFrame.isVisible()
    assert user.ui.volumeLabel.text == "Volume:"
    for view in user.views.values():
        view.show(user.ui.volumeSelector.currentNode())
    user.tool("pointMinus")
    user.click((15, 15, 10))
    assert not user.session.mask_kji[10, 15, 15]


def test_a_session_under_way_takes_further_images_in_and_keeps_its_segments(user, scene, pet_ct):
    choose(user, "shapes")
    user.tool("pointPlus")
    user.click((30, 25, 10))
    mask = user.session.mask_kji
    choose(user, "pet-ct")
    assert user.session.capabilities.name == "shapes"
    selector_of(user, "pet").setCurrentNode(pet_ct[1])
    user.look()
    assert user.session.capabilities.name == "pet-ct"
    np.testing.assert_array_equal(user.session.mask_kji, mask)
    assert len(user.session.prompts()) == 1


def test_the_panel_forgets_volumes_that_are_removed(user, scene, pet_ct):
    selector_of(user, "pet").setCurrentNode(pet_ct[1])
    user.look()
    assert user.is_enabled("pointPlus")
    scene.RemoveNode(pet_ct[1])
    user.look()
    assert not user.is_enabled("pointPlus")
    assert slicer.util.arrayFromVolume(pet_ct[0]).shape == (20, 30, 40)
