"""Show how sure: a toggle that can be pressed where there is something to show, and that follows the scene."""

import numpy as np
import pytest
import slicer
from test_panel import enabled

from PromptSegLib.predictors import registry


@pytest.fixture
def sure(user, image, monkeypatch):
    """The user, with a model that says how sure it is."""
    monkeypatch.setitem(registry.BUILT_IN, "sure", "shape_model:Sure")
    choose(user, "sure")
    return user


def choose(user, model):
    user.widget.parameters.model = model
    user.look()


def foregrounds(user):
    return [view.logic.GetSliceCompositeNode().GetForegroundVolumeID() for view in user.views.values()]


def shows(user):
    """Tell whether the toggle is down; all views have to agree with the session."""
    user.look()
    node = user.session.certainty_node if user.session else None
    assert foregrounds(user) == [node.GetID() if node else None] * 3
    return user.ui.certaintyButton.checked


def test_it_can_be_pressed_where_an_answer_says_how_sure_it_is(sure):
    assert "certainty" not in enabled(sure)
    assert "Place a prompt" in sure.ui.certaintyButton.toolTip
    sure.tool("pointPlus")
    sure.click((20, 15, 10))
    assert "certainty" in enabled(sure)
    assert "Yellow: surely part of the structure" in sure.ui.certaintyButton.toolTip
    sure.press("holes")
    sure.session.set_mask(np.zeros(sure.session.image.grid.shape_kji))
    assert "certainty" not in enabled(sure)
    assert "not as a model left it" in sure.ui.certaintyButton.toolTip
    sure.press("undo")
    assert "certainty" in enabled(sure)


def test_pressed_it_shows_and_pressed_again_it_shows_no_more(sure):
    sure.tool("pointPlus")
    sure.click((20, 15, 10))
    assert not shows(sure)
    sure.press("certainty")
    assert shows(sure)
    assert foregrounds(sure) != [None] * 3
    sure.press("certainty")
    assert not shows(sure)
    assert foregrounds(sure) == [None] * 3


def test_it_follows_clicks_undo_and_the_next_structure(sure):
    sure.tool("pointPlus")
    sure.click((20, 15, 10))
    sure.press("certainty")
    first = slicer.util.arrayFromVolume(sure.session.certainty_node).copy()
    sure.click((26, 15, 10))
    assert shows(sure)
    assert slicer.util.arrayFromVolume(sure.session.certainty_node).shape != first.shape
    sure.press("undo")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(sure.session.certainty_node), first)
    sure.press("next")
    assert sure.session.certainty_node is None
    assert shows(sure)
    assert "certainty" not in enabled(sure)
    sure.click((10, 15, 10))
    assert shows(sure)
    assert sure.session.certainty_node.GetName() == "Segment 1 certainty"


def test_a_model_that_does_not_say_so_shows_nothing(sure):
    sure.tool("pointPlus")
    sure.click((20, 15, 10))
    sure.press("certainty")
    choose(sure, "shapes")
    sure.click((26, 15, 10))
    assert sure.session.prediction.predictor == "shapes"
    assert "certainty" not in enabled(sure)
    assert sure.session.certainty_node is None
    assert foregrounds(sure) == [None] * 3


@pytest.mark.parametrize("end", ["volume shown", "image", "another image", "segmentation", "close", "leave"])
def test_whatever_goes_it_goes_with_it(sure, scene, image, end):
    sure.tool("pointPlus")
    sure.click((20, 15, 10))
    sure.press("certainty")
    node = sure.session.certainty_node
    if end == "volume shown":
        scene.RemoveNode(node)
    elif end == "image":
        scene.RemoveNode(image)
    elif end == "another image":
        sure.ui.volumeSelector.setCurrentNode(None)
    elif end == "segmentation":
        scene.RemoveNode(sure.session.segmentation_node)
    elif end == "close":
        scene.Clear(False)
    else:
        sure.widget.cleanup()
    sure.look()
    assert node.GetScene() is None
    assert foregrounds(sure) == [None] * 3
    if end == "leave":
        return
    assert not shows(sure)
    if end == "volume shown":
        sure.click((26, 15, 10))
        assert not shows(sure)
        sure.press("certainty")
        assert shows(sure)


def test_the_volume_shown_is_not_taken_for_an_image(sure, image):
    sure.tool("pointPlus")
    sure.click((20, 15, 10))
    sure.press("certainty")
    sure.widget.exit()
    sure.widget.enter()
    sure.look()
    assert sure.ui.volumeSelector.currentNode() is image
    assert shows(sure)
