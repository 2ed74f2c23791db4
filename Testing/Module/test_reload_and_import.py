"""What is chosen outlives Reload, closing a scene, and putting another scene in it; nothing of a panel does."""

import gc
import weakref

import numpy as np
import pytest
import slicer
from scenes import add_volume
from test_names_and_channels import pet_ct, selector_of  # noqa: F401 - a fixture

from PromptSegLib.mrml.files import open_mrb, save_mrb


@pytest.fixture
def another_scene(tmp_path):
    """A file of a scene with a volume and a panel in which nothing is chosen."""
    scene = slicer.vtkMRMLScene()
    add_volume(scene, np.zeros((4, 5, 6), np.int16), name="another")
    parameters = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "PromptSeg")
    parameters.SetSingletonTag("PromptSeg")
    save_mrb(scene, tmp_path / "another.mrb")
    return tmp_path / "another.mrb"


def test_the_panel_opens_on_what_slicer_can_connect(user, image):
    ui = user.ui
    assert ui.volumeSelector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert (ui.brushSlider.minimum, ui.brushSlider.maximum, ui.brushSlider.value) == (0.5, 50.0, 5.0)
    vector = user.app.host.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode")
    ui.volumeSelector.setCurrentNode(vector)
    user.look()
    assert user.widget.parameters.volume is vector


@pytest.mark.parametrize("leave", ["reload", "close", "return", "unload"])
def test_nothing_of_the_parameters_is_left_on_their_node(user, image, leave):
    node = user.widget.parameters.parameterNode
    before = weakref.ref(user.widget.parameters)
    if leave == "reload":
        user.reload()
    elif leave == "close":
        user.app.host.scene.Clear(False)
        user.look()
    elif leave == "return":
        user.widget.setParameterNode(None)
        user.widget.exit()
        user.widget.enter()
    else:
        user.app.moduleManager().unload("PromptSeg")
    assert before() is None
    gc.collect()
    node.Modified()
    node.SetParameter("brushDiameter_mm", "7.0")
    user.look()


def test_entering_again_keeps_the_parameters_that_are_bound(user, image):
    before = user.widget.parameters
    user.widget.exit()
    user.widget.enter()
    assert user.widget.parameters is before


def test_a_volume_that_came_meanwhile_is_chosen_on_return(user, scene):
    user.widget.parent.exit()
    node = add_volume(scene, np.zeros((10, 20, 20), np.int16))
    user.widget.parent.enter()
    user.look()
    assert user.ui.volumeSelector.currentNode() is node


def test_a_scene_that_is_closed_after_an_import_takes_all_choices_with_it(user, image, scene, another_scene):
    user.ui.brushSlider.value = 9.0
    user.widget.parent.exit()
    open_mrb(scene, another_scene, clear=False)
    scene.Clear(False)
    user.widget.parent.enter()
    user.look()
    assert (user.widget.parameters.volume, user.ui.brushSlider.value) == (None, 5.0)


def test_a_reloaded_panel_has_its_keys_and_its_parameters_after_a_scene_was_closed(user, image):
    user.press("addSegment")
    assert user.widget.settings._keys
    user.reload()
    assert user.widget.settings._keys
    user.app.host.scene.Clear(False)
    user.look()
    assert user.widget.parameters is not None
    user.show(add_volume(user.app.host.scene, np.zeros((10, 20, 20), np.int16)))
    user.press("addSegment")
    user.press("addSegment")
    assert len(user.session.targets) == 2


def test_a_panel_that_is_reloaded_while_another_module_is_shown_stays_out_of_the_way(user, image):
    user.widget.parent.exit()
    user.reload()
    assert not user.widget.settings._keys


def test_putting_another_scene_in_this_one_keeps_what_is_chosen(user, image, another_scene):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    mask, segmentation, target = user.session.mask_kji, user.session.segmentation_node, user.session.target
    open_mrb(user.app.host.scene, another_scene, clear=False)
    user.look()
    assert user.ui.volumeSelector.currentNode() is image
    assert user.ui.segmentationSelector.currentNode() is segmentation
    assert user.session.target == target
    np.testing.assert_array_equal(user.session.mask_kji, mask)
    assert len(user.session.prompts()) == 1


def test_putting_another_scene_in_this_one_keeps_the_volumes_of_channels(user, pet_ct, another_scene):  # noqa: F811
    selector_of(user, "pet").setCurrentNode(pet_ct[1])
    user.look()
    open_mrb(user.app.host.scene, another_scene, clear=False)
    user.look()
    assert user.widget.input.volumes() == {"ct": pet_ct[0], "pet": pet_ct[1]}
    assert selector_of(user, "pet").currentNode() is pet_ct[1]


def test_a_scene_that_is_put_in_while_another_module_is_shown_changes_nothing_here(user, image, another_scene):
    user.press("addSegment")
    segmentation = user.session.segmentation_node
    user.widget.parent.exit()
    open_mrb(user.app.host.scene, another_scene, clear=False)
    user.look()
    user.widget.parent.enter()
    user.look()
    assert (user.ui.volumeSelector.currentNode(), user.session.segmentation_node) == (image, segmentation)


def test_what_the_scene_that_is_put_in_has_chosen_is_chosen(user, image, scene, tmp_path):
    user.ui.brushSlider.value = 9.0
    user.look()
    save_mrb(scene, tmp_path / "day.mrb")
    scene.Clear(False)
    other = add_volume(scene, np.zeros((10, 20, 20), np.int16), name="other")
    user.show(other)
    assert user.ui.brushSlider.value == 5.0
    open_mrb(scene, tmp_path / "day.mrb", clear=False)
    user.look()
    assert user.ui.volumeSelector.currentNode().GetName() == image.GetName()
    assert user.ui.brushSlider.value == 9.0


@pytest.mark.parametrize("chosen", ["volume", "segmentation"])
def test_no_other_node_is_chosen_in_place_of_one_that_is_removed(user, image, scene, chosen):
    add_volume(scene, np.zeros((10, 20, 20), np.int16), name="other")
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    last = {
        "volume": lambda: add_volume(scene, np.zeros((10, 20, 20), np.int16), name="last"),
        "segmentation": lambda: scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "last"),
    }[chosen]()
    getattr(user.ui, f"{chosen}Selector").setCurrentNode(last)
    user.look()
    scene.RemoveNode(last)
    user.look()
    assert getattr(user.widget.parameters, chosen) is None
    assert getattr(user.ui, f"{chosen}Selector").currentNode() is None
