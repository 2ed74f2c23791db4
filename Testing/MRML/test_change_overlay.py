"""What the newest prompt changed lies over the slice views for a moment, where it is, and leaves nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import add_volume, ijk_to_ras_of, volume_array
from test_certainty_overlay import B, add_view

from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.change_overlay import ADDED, REMOVED
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.predictors.default.classical import ClassicalPredictor
from PromptSegLib.prompts import Point

SHAPE = (26, 30, 34)


@pytest.fixture
def scene():
    with start_scene() as standalone:
        yield standalone.scene


def nodes_of(scene):
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]


def test_it_shows_the_change_where_it_is_and_leaves_the_views_as_they_were(scene):
    image = np.zeros(SHAPE, dtype=np.int16)
    image[8:18, 8:20, 10:24] = 100
    volume = add_volume(scene, image, name="CT")
    views = [add_view(scene, name, volume) for name in ("Red", "Green")]
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "the user's")
    views[1].SetLabelVolumeID(labels.GetID())
    session = SceneSession(volume, predictor=ClassicalPredictor())
    mask = image > 0
    mask[8:18, 8:20, 17:24] = False
    session.set_mask(mask)
    nodes = nodes_of(scene)
    before = [(view.GetLabelVolumeID(), view.GetLabelOpacity()) for view in views]
    session.show_change()
    assert [(view.GetLabelVolumeID(), view.GetLabelOpacity()) for view in views] == before  # nothing was corrected

    session.add(Point((20.0, 14.0, 12.0)))
    session.show_change()
    added = session.mask_kji & ~mask
    assert added.any()
    [view_id] = {view.GetLabelVolumeID() for view in views}
    node = scene.GetNodeByID(view_id)
    shown = volume_array(node)
    first = np.rint((np.linalg.inv(ijk_to_ras_of(volume)) @ ijk_to_ras_of(node))[:3, 3]).astype(int)[::-1]
    whole = np.zeros(SHAPE, dtype=np.uint8)
    whole[tuple(slice(a, a + n) for a, n in zip(first, shown.shape, strict=True))] = shown
    np.testing.assert_array_equal(whole == ADDED, added)
    assert not (whole == REMOVED).any()

    session.show_change(False)
    assert [(view.GetLabelVolumeID(), view.GetLabelOpacity()) for view in views] == before
    assert not [node for node in nodes_of(scene) if node not in nodes and node.IsA("vtkMRMLVolumeNode")]

    session.show_change()
    session.undo()
    assert [(view.GetLabelVolumeID(), view.GetLabelOpacity()) for view in views] == before
    assert not (session.mask_kji ^ mask).any()
    session.show_change()
    session.add(B)
    session.close()
    assert [(view.GetLabelVolumeID(), view.GetLabelOpacity()) for view in views] == before
