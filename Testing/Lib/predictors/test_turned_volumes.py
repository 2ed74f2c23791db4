"""A rotated and flipped copy of a volume gives the rotated and flipped mask, to the voxel."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
from fakes import BallPredictor
from tiny_networks import tiny_med3d
from tiny_sat import key_made_sat
from tiny_vista3d import TinyVista3d, key_made_vista3d
from turned_copies import ORDERS, turned_array, turned_volume
from window_fakes import BrightPredictor

from PromptSegLib.geometry import affine_from_parts
from PromptSegLib.predictors.default.classical import ClassicalPredictor
from PromptSegLib.predictors.sam_med3d.predictor import SamMed3D, SamMed3DCvpr
from PromptSegLib.predictors.sat.predictor import SatNano
from PromptSegLib.prompts import Box, ClassPrompt, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

SPACING_MM = (1.1, 1.3, 2.0)

PREDICTORS = {
    "ball": BallPredictor,
    "bright": lambda: BrightPredictor(16),
    "classical": ClassicalPredictor,
    "sam-med3d": lambda: SamMed3D(tiny_med3d(), device="cpu", most_grown=2),
    "sam-med3d-cvpr": lambda: SamMed3DCvpr(tiny_med3d(), device="cpu", most_grown=0),
}
"""Each predictor that takes clicks and puts a volume's axes in an order of its own, with weights that are here."""

NAMING = {
    "sat-nano": (lambda: SatNano(key_made_sat()), TextPrompt("liver"), SPACING_MM),
    # Its voxels of 1.5 mm begin at the first one of the file: they lie alike where these divide the image evenly.
    "vista3d": (lambda: TinyVista3d(key_made_vista3d(), device="cpu"), ClassPrompt("liver"), (1.5, 1.5, 3.0)),
}
"""Those that take names, what to ask them for, and in which spacing."""

SOME_ORDERS = [ORDERS[n] for n in (1, 13, 23, 42)]
DIRECTIONS = {"straight": np.eye(3), "oblique": strategies.rotation(7)}


def phantom(directions, spacing_mm=SPACING_MM):
    """Return a volume of blobs and noise, and prompts on it."""
    rng = np.random.default_rng(11)
    shape = (36, 42, 50)
    k, j, i = np.indices(shape)
    blob = ((k - 17) / 9) ** 2 + ((j - 20) / 11) ** 2 + ((i - 24) / 13) ** 2 < 1
    array = (100 * blob + rng.normal(30, 12, shape)).astype(np.int16)
    volume = Volume(array, affine_from_parts(spacing_mm, directions, (-17.3, 40.1, 5.7)))
    # Off the voxels' centres: on the face between two voxels the order decides which of them is meant.
    places = volume.grid.to_ras([(24.2, 20.1, 17.3), (30.7, 22.4, 15.2), (41.3, 35.1, 30.2)])
    return volume, [Point(tuple(place), positive) for place, positive in zip(places, (True, True, False), strict=True)]


def answered(volume, make, prompts):
    session = Session(volume, make())
    for prompt in prompts:
        session.add(prompt)
    return session.mask_kji


@pytest.mark.parametrize("order", SOME_ORDERS)
@pytest.mark.parametrize("directions", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("make", PREDICTORS.values(), ids=PREDICTORS)
def test_clicks_in_a_turned_copy_give_the_turned_mask(make, directions, order):
    volume, prompts = phantom(directions)
    expected = turned_array(answered(volume, make, prompts), order)
    assert expected.any()
    np.testing.assert_array_equal(answered(turned_volume(volume, order), make, prompts), expected)


@pytest.mark.parametrize("make", PREDICTORS.values(), ids=PREDICTORS)
def test_a_box_in_a_turned_copy_gives_the_turned_mask(make):
    volume, _ = phantom(DIRECTIONS["straight"])
    box = Box(tuple(volume.grid.to_ras((24.2, 20.1, 17.3))), (26.3, 24.7, 30.1))
    prompts = [box] if make is not BallPredictor else [Point(box.center_ras)]
    expected = turned_array(answered(volume, make, prompts), SOME_ORDERS[2])
    assert expected.any()
    np.testing.assert_array_equal(answered(turned_volume(volume, SOME_ORDERS[2]), make, prompts), expected)


@pytest.mark.parametrize("make", PREDICTORS.values(), ids=PREDICTORS)
def test_a_mask_refined_in_a_turned_copy_is_the_turned_mask(make):
    volume, [click, *_] = phantom(DIRECTIONS["oblique"])
    rough = np.zeros(volume.grid.shape_kji, dtype=bool)
    rough[10:23, 9:30, 14:33] = True
    masks = []
    for given, mask in ((volume, rough), (turned_volume(volume, ORDERS[42]), turned_array(rough, ORDERS[42]))):
        session = Session(given, make())
        session.set_mask(mask)
        session.add(click)
        masks.append(session.mask_kji)
    assert masks[0].any()
    np.testing.assert_array_equal(turned_array(masks[0], ORDERS[42]), masks[1])


@pytest.mark.parametrize(("make", "name", "spacing_mm"), NAMING.values(), ids=NAMING)
def test_a_name_in_a_turned_copy_gives_the_turned_mask(make, name, spacing_mm):
    volume, _ = phantom(DIRECTIONS["oblique"], spacing_mm)
    masks = []
    for given in (volume, turned_volume(volume, ORDERS[42])):
        session = Session({"ct": given}, make())
        session.add(name)
        masks.append(session.mask_kji)
    assert masks[0].any()
    np.testing.assert_array_equal(turned_array(masks[0], ORDERS[42]), masks[1])


@pytest.mark.parametrize("order", ORDERS)
def test_a_turned_copy_has_the_same_voxels_at_the_same_places(order):
    volume, _ = phantom(DIRECTIONS["oblique"])
    turned = turned_volume(volume, order)
    index = np.random.default_rng(0).integers(0, turned.array.shape, (20, 3))
    there = volume.grid.nearest_kji(turned.grid.to_ras(index[:, ::-1]))
    np.testing.assert_array_equal(turned.array[tuple(index.T)], volume.array[tuple(there.T)])
