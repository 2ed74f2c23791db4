"""VISTA3D behind the session: classes as MONAI answers them, clicks that correct them, masks where the anatomy is."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets.vista3d import vista3d132
from tiny_vista3d import TILE, key_made_vista3d, use_tiny_vista3d, vista3d_that_knows

from PromptSegLib.cancel import CancelToken, no_progress
from PromptSegLib.errors import Cancelled, PromptError, UnsupportedPromptError, VolumeError, WeightsError
from PromptSegLib.geometry import Grid, affine_from_parts
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.predictors.vista3d.classes import NUMBERS, PARTS, SPECIAL
from PromptSegLib.predictors.vista3d.model import Vista3dModel
from PromptSegLib.predictors.vista3d.predictor import Vista3d
from PromptSegLib.predictors.vista3d.preparation import prepare
from PromptSegLib.prompts import Box, ClassPrompt, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.structures.names import find_structure
from PromptSegLib.volume import Volume
from PromptSegLib.weights.catalogue import load_catalogue
from PromptSegLib.weights.store import WeightsStore

HU = {"liver": 120, "spleen": 240, "left kidney": 360, "right kidney": 480, "colon tumour": 600}
AXES = {
    "upright": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.eye(3)[:, [2, 0, 1]],
    "oblique": strategies.rotation(11),
}


class SmallWindow(Vista3d):
    tile = TILE


class LargeWindow(Vista3d):
    tile = (64, 64, 64)


def organs(axes="upright"):
    """Return a CT of blocks, one or two for each of `HU`, in air; voxels are the network's own."""
    array = np.full((40, 44, 50), -1000, np.int16)
    array[4:12, 4:20, 4:20] = HU["liver"]
    array[4:12, 26:40, 4:20] = HU["spleen"]
    array[20:30, 4:14, 4:20] = HU["left kidney"]
    array[20:30, 20:30, 4:20] = HU["right kidney"]
    array[20:30, 20:30, 30:44] = HU["spleen"]
    array[4:12, 4:20, 30:44] = HU["colon tumour"]
    return Volume(array, affine_from_parts((1.5, 1.5, 1.5), AXES[axes], (-20.0, 30.0, 40.0)))


def at(volume, i, j, k, positive=True):
    return Point(tuple(volume.grid.to_ras((i, j, k))), positive)


@pytest.fixture
def volume():
    return organs()


@pytest.fixture
def network():
    return vista3d_that_knows(HU)


@pytest.fixture
def session(volume, network):
    return Session({"ct": volume}, SmallWindow(network))


@pytest.mark.parametrize("axes", AXES)
def test_each_class_gets_its_structure_in_a_target_of_its_own(axes, network):
    volume = organs(axes)
    session = Session({"ct": volume}, SmallWindow(network))
    names = ["spleen", "liver", "colon tumour"]
    assert session.add_classes(["spleen", "liver", "colon cancer"]) == tuple(names)
    for name in names:
        np.testing.assert_array_equal(session.mask(name), volume.array == HU[name])
    assert session.prediction.note == ""


def test_what_the_network_knows_by_its_parts_is_all_of_them(session, volume):
    session.add(ClassPrompt("kidneys"))
    np.testing.assert_array_equal(session.mask_kji, np.isin(volume.array, [HU["left kidney"], HU["right kidney"]]))


def test_all_bones_and_all_classes_at_once_are_answered(volume, network):
    session = Session({"ct": volume}, LargeWindow(network))
    session.add_classes(["bone", "liver"])
    assert not session.mask("bone").any()
    np.testing.assert_array_equal(session.mask("liver"), volume.array == HU["liver"])
    keys = session.add_classes(LargeWindow.capabilities.classes)
    assert len(keys) == 127
    np.testing.assert_array_equal(session.mask("spleen"), volume.array == HU["spleen"])
    assert sum(session.mask(key).any() for key in keys) == len(HU) + 1, "and the kidneys together"


def test_a_box_says_where(session, volume):
    low, high = volume.grid.to_ras((0, 0, 0)), volume.grid.to_ras((49, 43, 15))
    session.add_classes(["spleen"], Box.from_corners(low, high))
    expected = volume.array == HU["spleen"]
    expected[16:] = False
    np.testing.assert_array_equal(session.mask_kji, expected)


def test_clicks_alone_segment_what_is_clicked_on(session, volume):
    session.add(at(volume, 10, 8, 24))
    np.testing.assert_array_equal(session.mask_kji, volume.array == HU["left kidney"])
    lower_spleen = volume.array == HU["spleen"]
    lower_spleen[16:] = False
    session.add_target("another")
    session.add(at(volume, 10, 30, 8))
    np.testing.assert_array_equal(session.mask_kji, lower_spleen)


def test_clicks_correct_a_class_and_undo_takes_one_click_back(session, volume):
    spleen = volume.array == HU["spleen"]
    upper = spleen.copy()
    upper[:16] = False
    session.add_classes(["spleen"])
    session.add(at(volume, 10, 10, 8))
    liver = volume.array == HU["liver"]
    np.testing.assert_array_equal(session.mask_kji, spleen | liver)
    session.undo()
    np.testing.assert_array_equal(session.mask_kji, spleen)


def test_a_negative_click_removes_the_part_that_it_is_on(volume, network):
    session = Session({"ct": volume}, LargeWindow(network))
    spleen = volume.array == HU["spleen"]
    lower = spleen.copy()
    lower[16:] = False
    session.add_classes(["spleen"])
    # The head for clicks answers with what the positive click is on: here, the liver.
    session.add(at(volume, 10, 10, 8))
    session.add(at(volume, 36, 25, 24, positive=False))
    np.testing.assert_array_equal(session.mask_kji, lower | (volume.array == HU["liver"]))


def test_clicks_correct_what_was_edited_by_hand_and_keep_the_rest_of_it(session, volume):
    by_hand = np.zeros(volume.array.shape, dtype=bool)
    by_hand[34:38, 34:40, 4:20] = True
    session.set_mask(by_hand)
    session.add(at(volume, 10, 10, 8))
    np.testing.assert_array_equal(session.mask_kji, by_hand | (volume.array == HU["liver"]))
    session.add(at(volume, 10, 30, 8))
    assert session.mask_kji[34:38, 34:40, 4:20].all()


def test_clicks_on_tumours_are_told_from_clicks_on_what_surrounds_them(session, volume, network):
    assert NUMBERS["colon tumour"] in SPECIAL
    session.add_classes(["colon tumour"])
    session.add(at(volume, 36, 10, 8))
    session.add_classes(["liver"])
    session.add(at(volume, 10, 10, 8))
    session.add_target("unnamed")
    session.add(at(volume, 10, 30, 8))
    labels = network.point_head.seen
    assert labels[0] == ([3], NUMBERS["colon tumour"])
    assert labels[1] == ([1], NUMBERS["liver"])
    assert labels[2] == ([1], None)


def test_logits_are_those_of_monais_sliding_window_in_one_run_or_several():
    values = np.random.default_rng(3).normal(size=(30, 40, 24)).astype(np.float32)
    network, numbers = key_made_vista3d(), [3, 26]
    with torch.inference_mode():
        official = sliding_window_inference(
            torch.from_numpy(values)[None, None], TILE, 1, network, overlap=0.3, mode="gaussian",
            padding_mode="replicate", class_vector=torch.tensor(numbers)[:, None], transpose=True,
        )[0].numpy()  # fmt: skip
    sampling = AlignedSampling.in_ras_order(Grid(values.T.shape, np.eye(4)))
    clear = abs(official) > 1e-4
    for held_bytes in (1, 2**31):
        seen = []
        model = Vista3dModel(network, "cpu", TILE, held_bytes)
        progress = recorded_in(seen)
        masks = list(model.class_masks(values, sampling, numbers, CancelToken(), progress))
        found = np.stack([mask.read().T for mask in masks])
        np.testing.assert_array_equal(found[clear], (official > 0)[clear])
        assert seen == sorted(seen)
        assert seen[-1] == 1.0
    slabs = list(model.class_slabs(torch.from_numpy(values), torch.tensor([[26]]), CancelToken(), no_progress))
    np.testing.assert_allclose(torch.cat(slabs, dim=1)[0], official[1], atol=1e-4)


def recorded_in(seen):
    return lambda fraction, what: seen.append(fraction)


def small():
    """Return a CT of one tile."""
    array = np.full((20, 24, 28), -1000, np.int16)
    array[4:12, 4:20, 4:20] = 120
    return Volume(array, np.diag([1.5, 1.5, 1.5, 1.0]))


def test_the_real_heads_answer_classes_and_clicks():
    session = Session({"ct": small()}, SmallWindow(key_made_vista3d()))
    session.add_classes(["liver"])
    before = session.mask_kji
    session.add(at(small(), 10, 10, 8))
    session.add(at(small(), 24, 20, 15, positive=False))
    assert session.prediction.device == "cpu"
    assert session.mask_kji[4:12].any()
    session.undo()
    session.undo()
    np.testing.assert_array_equal(session.mask_kji, before)


def test_a_run_can_be_cancelled():
    values, sampling = prepare(small().array, small().grid)
    cancel = CancelToken()
    model = Vista3dModel(key_made_vista3d(), "cpu", TILE)
    with pytest.raises(Cancelled):
        list(model.class_masks(values, sampling, [1], cancel, lambda f, what: cancel.cancel()))
    with pytest.raises(Cancelled):
        model.click_logits(values, [[3, 3, 3]], [True], None, cancel)


def test_the_127_classes_have_the_numbers_that_were_published():
    assert len(NUMBERS) == 127
    assert set(range(1, 133)) - set(NUMBERS.values()) == {16, 18, 129, 130, 131}
    published = {
        "liver": 1, "right kidney": 5, "left kidney": 14, "urinary bladder": 15, "small bowel": 19, "liver tumour": 26,
        "L5 vertebra": 33, "T12 vertebra": 38, "C7 vertebra": 50, "C1 vertebra": 56, "trachea": 57, "colon": 62,
        "left rib 1": 63, "right rib 12": 86, "sacrum": 97, "right iliopsoas": 107, "heart": 115, "skull": 120,
        "superior vena cava": 125, "S1 vertebra": 127, "airway": 132,
    }  # fmt: skip
    assert {name: NUMBERS[name] for name in published} == published
    assert len(PARTS["lung"]) == 5
    assert len(PARTS["bone"]) == 24 + 35 + 3
    unlisted = {name for name in NUMBERS if find_structure(name) is None}
    assert unlisted == {"bone", "bone lesion", "airway"}


def test_what_it_cannot_answer_is_refused(session, volume, network):
    with pytest.raises(PromptError, match="did you mean"):
        session.add(ClassPrompt("livre"))
    with pytest.raises(PromptError, match="expected a class or a click for 'segment', got neither"):
        session.add(Box.from_corners(volume.grid.to_ras((1, 1, 1)), volume.grid.to_ras((9, 9, 9))))
    with pytest.raises(UnsupportedPromptError, match="sat-nano, sat-pro, voxtell, voxtell-server would"):
        session.add(TextPrompt("liver"))
    with pytest.raises(VolumeError, match="one value in each voxel for 'vista3d'"):
        Session(Volume(np.zeros((4, 5, 6, 3), np.uint8)), SmallWindow(network)).add(ClassPrompt("liver"))
    mr = Session({"mr": volume}, SmallWindow(network))
    mr.add(ClassPrompt("liver"))
    assert mr.prediction.note == "made for CT in HU: this image seems to be something else"


def test_an_image_smaller_than_the_tile_is_answered(network):
    array = np.full((10, 12, 14), -1000, np.int16)
    array[3:7, 3:9, 3:9] = HU["liver"]
    session = Session({"ct": Volume(array, np.diag([1.5, 1.5, 1.5, 1]))}, SmallWindow(network))
    session.add(ClassPrompt("liver"))
    np.testing.assert_array_equal(session.mask_kji, array == HU["liver"])
    session.add(Point((6.0, 6.0, 6.0)))
    np.testing.assert_array_equal(session.mask_kji, array == HU["liver"])


def test_missing_weights_are_told_and_their_license_asks_for_consent(tmp_path):
    with pytest.raises(WeightsError, match=r"developer\.download\.nvidia\.com"):
        Vista3d(weights=WeightsStore(tmp_path))
    assert "non-commercial" in load_catalogue()["vista3d"].weights_license
    assert load_catalogue()["vista3d"].consent


def test_a_checkpoint_as_published_is_loaded_strictly(tmp_path, monkeypatch):
    use_tiny_vista3d(tmp_path, monkeypatch)
    session = Session({"ct": small()}, create_predictor("tiny_vista3d:TinyVista3d"))
    session.add(ClassPrompt("liver"))
    given = Session({"ct": small()}, SmallWindow(key_made_vista3d()))
    given.add(ClassPrompt("liver"))
    np.testing.assert_array_equal(session.mask_kji, given.mask_kji)
    with pytest.raises(WeightsError, match="do not fit the network"):
        Session({"ct": small()}, create_predictor("vista3d")).add(ClassPrompt("liver"))


def test_the_published_size_is_monais():
    with torch.device("meta"):
        network = vista3d132()
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(218e6, rel=0.02)
