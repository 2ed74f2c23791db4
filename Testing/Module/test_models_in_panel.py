"""Published models in the panel: from a checkpoint's file to a segment of a real CT, by click and by name, and back.

Networks are small and their weights follow from key names: what they find means nothing, but it is known.
"""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from references import ELSEWHERE, needs_all_references
from scenes import add_volume, rotation, segment_mask
from test_names_and_channels import choose, tick
from tiny_class_networks import save_tiny_stu_net
from tiny_networks import save_tiny_med3d
from tiny_sat import use_tiny_sat

from PromptSegLib.geometry import Extent
from PromptSegLib.io import read_volume
from PromptSegLib.predictors import registry
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

pytestmark = needs_all_references

SMALL = {
    "sam-med3d": "tiny_networks:TinySamMed3D",
    "stu-net-s": "tiny_class_networks:TinyStuNetS",
    "sat-nano": "tiny_sat:TinySatNano",
}
TIMEOUT_S = 120.0


@pytest.fixture
def model(monkeypatch, tmp_path):
    """All models that there are; three are small, and have their weights in the offline folder."""
    use_tiny_sat(tmp_path, monkeypatch)
    save_tiny_stu_net(tmp_path / "weights")
    catalogue = save_tiny_med3d(tmp_path / "weights")
    monkeypatch.setattr("PromptSegLib.weights.store.load_catalogue", lambda: catalogue)
    for name, place in SMALL.items():
        monkeypatch.setitem(registry.BUILT_IN, name, place)


@pytest.fixture(params=["straight", "oblique"])
def ct(request):
    volume = read_volume(ELSEWHERE.parent / "data" / "ct_abdomen" / "image.nii.gz")
    turn = np.eye(4) if request.param == "straight" else rotation(15, (1, 2, 3))
    return Volume(volume.array, turn @ volume.ijk_to_ras)


@pytest.fixture
def middle(ct):
    """The middle of the CT, 25 voxels wide."""
    extent = Extent.of_shape((1, 1, 1)).shifted([n // 2 for n in ct.array.shape]).padded(12)
    extent = extent.intersection(ct.grid.extent)
    return Volume(ct.array[extent.slices].copy(), ct.grid.cropped(extent).ijk_to_ras)


def show(user, scene, volume, name):
    """Show a volume and let the model `name` answer on the CPU."""
    choose(user, name)
    user.ui.deviceComboBox.setCurrentIndex(user.ui.deviceComboBox.findData("cpu"))
    user.show(add_volume(scene, volume.array, volume.ijk_to_ras))
    assert "(weights here)" in user.ui.modelComboBox.currentText
    return volume.grid.shape_kji


def console(user, volume, name):
    """Return a session of the console, on a copy of what the panel has."""
    ijk_to_ras = user.session.image.reference.ijk_to_ras
    np.testing.assert_allclose(ijk_to_ras, volume.ijk_to_ras, atol=1e-6)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(user.session.volume_node), volume.array)
    return Session(Volume(volume.array.copy(), ijk_to_ras), name, device="cpu")


def assert_answered(user, name):
    assert user.status == ""
    assert user.session.error is None
    assert user.session.prediction.predictor == name
    assert user.session.prediction.device == "cpu"
    assert user.ui.deviceLabel.text == "Last used: cpu"
    assert " on cpu" in user.ui.resultLabel.text


def keys_by_name(user):
    segmentation = user.session.segmentation_node.GetSegmentation()
    return {segmentation.GetSegment(key).GetName(): key for key in segmentation.GetSegmentIDs()}


def test_clicks_for_sam_med3d_are_answered_in_3d_undone_and_redone(user, scene, ct):
    shape = show(user, scene, ct, "sam-med3d")
    given, masks = None, []
    for tool, place in (("pointPlus", (40, 50, 15)), ("pointMinus", (40, 38, 13))):
        user.tool(tool)
        user.click(place, timeout_s=TIMEOUT_S)
        assert_answered(user, "sam-med3d")
        given = given or console(user, ct, "sam-med3d")
        given.add(user.session.prompts()[-1])
        np.testing.assert_allclose(user.session.prompts()[-1].position_ras, ct.grid.to_ras(place), atol=1.5)
        masks.append(segment_mask(user.session.segmentation_node, user.session.target, shape))
        np.testing.assert_array_equal(masks[-1], given.mask_kji)
    first, second = masks
    assert first.any(axis=(1, 2)).sum() > 1
    assert 0 < first.mean() < 1
    assert (first != second).any()
    user.press("undo")
    np.testing.assert_array_equal(user.session.mask_kji, first)
    user.press("undo")
    assert user.size == 0
    assert user.session.prompts() == ()
    user.press("redo")
    np.testing.assert_array_equal(user.session.mask_kji, first)
    user.press("redo")
    np.testing.assert_array_equal(user.session.mask_kji, second)
    assert not user.is_enabled("redo")


def assert_named(user, scene, volume, model, names, ask):
    """Ask for structures; they are segments of their names, as in the console, and undo and redo take all of them."""
    shape = show(user, scene, volume, model)
    ask()
    user.press("name")
    user.wait(TIMEOUT_S)
    assert_answered(user, model)
    found = keys_by_name(user)
    keys = {name: found[name] for name in names}
    given = console(user, volume, model)
    expected = given.add_classes([user.session.prompts(keys[name])[0] for name in names])
    masks = {name: user.session.mask(keys[name]) for name in names}
    for name, target in zip(names, expected, strict=True):
        assert 0 < masks[name].mean() < 1
        np.testing.assert_array_equal(masks[name], given.mask(target))
        np.testing.assert_array_equal(masks[name], segment_mask(user.session.segmentation_node, keys[name], shape))
    user.press("undo")
    assert not any(user.session.mask(key).any() for key in keys.values())
    user.press("redo")
    for name in names:
        np.testing.assert_array_equal(user.session.mask(keys[name]), masks[name])


def test_classes_ticked_for_stu_net_become_segments_of_their_names(user, scene, middle):
    names = ["esophagus", "inferior vena cava"]  # of those that this network takes parts of the image for
    assert_named(user, scene, middle, "stu-net-s", names, lambda: tick(user, *names))


def test_free_texts_for_sat_become_segments_of_their_words(user, scene, middle):
    def typed():
        user.ui.searchEdit.text = "a lesion of the liver, spleen"

    assert_named(user, scene, middle, "sat-nano", ["a lesion of the liver", "spleen"], typed)
