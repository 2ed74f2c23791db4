"""A mask that came from elsewhere reaches each network in its published form, and a click on it just corrects it.

Networks are small, with weights made from key names: what they answer means nothing, and is wrong all over.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from nninteractive_model import closed_form_predictor
from scipy import ndimage
from tiny_class_networks import BrightIs, TinyStuNet
from tiny_networks import tiny_med2d, tiny_med3d, tiny_sam, tiny_sam2, tiny_scribbleprompt
from tiny_sat import sat_that_knows
from tiny_vista3d import TILE, vista3d_that_knows
from untrained_networks import UNTRAINED

from PromptSegLib.imaging.voxels import parts_with
from PromptSegLib.predictors.registry import capabilities_of, predictor_names
from PromptSegLib.predictors.sam.predictor import MedSam, SamMed2D, SamVitB
from PromptSegLib.predictors.sam2.predictor import Sam2Tiny
from PromptSegLib.predictors.sam_med3d.predictor import SamMed3D
from PromptSegLib.predictors.sat.predictor import SatNano
from PromptSegLib.predictors.sat.preparation import prepare
from PromptSegLib.predictors.scribbleprompt.predictor import ScribblePromptPredictor
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.stu_net.predictor import PLAN
from PromptSegLib.predictors.vista3d.predictor import Vista3d
from PromptSegLib.prompts import Box, ClassPrompt, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

OF_SLICES = {
    "sam-vit-b": (SamVitB, tiny_sam),
    "sam-med2d": (SamMed2D, tiny_med2d),
    "sam2.1-tiny": (Sam2Tiny, tiny_sam2),
    "scribbleprompt": (ScribblePromptPredictor, tiny_scribbleprompt),
}
PICTURE = np.diag([-1.0, -1.0, 1.0, 1.0])
HEIGHT, WIDTH = 120, 160


def drawn_by_hand():
    """Return a picture and a mask on it that no network made, in two parts: (1, h, w)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    mask = (rows - 50) ** 2 + (columns - 60) ** 2 < 25**2
    mask |= (abs(rows - 100) < 8) & (abs(columns - 130) < 12)
    grey = 90 + 60 * mask + np.random.default_rng(0).normal(0, 15, mask.shape)
    return np.repeat(grey.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)[None], mask[None]


@functools.cache
def slice_predictor(name):
    """Return a predictor, and the list of what its network is shown as the mask so far: (h, w)."""
    kind, make = OF_SLICES[name]
    network, shown = make(), []
    if name == "scribbleprompt":
        forward = network.forward
        network.forward = lambda channels: shown.append(channels[0, 4]) or forward(channels)
        return kind(network, device="cpu"), shown
    decode = network.decode
    network.decode = lambda *inputs, **kinds: shown.append(inputs[4][0, 0]) or decode(*inputs, **kinds)
    return kind(network, device="cpu", cache=EmbeddingCache()), shown


def click_on(session, x, y, k=0, positive=True):
    return Point(tuple(session.image.grid.to_ras((x, y, k))), positive)


def with_mask(image, predictor, mask, **options):
    session = Session(image, predictor, **options)
    session.set_mask(mask)
    return session


def assert_corrects(given, redrawn, click):
    """Show that a click on the mask of `given` leaves of the same answer what hangs together with it, and no more.

    redrawn: a session on the same that lets the answer be as it is.
    """
    before = given.mask_kji
    for session in (given, redrawn):
        session.add(click)
    raw = redrawn.mask_kji
    voxel = np.zeros_like(before)
    voxel[tuple(given.image.grid.nearest_kji(click.position_ras))] = True
    near = ndimage.binary_dilation(voxel, np.ones((3, 3, 3)))
    expected = before | parts_with(raw & ~before, near) if click.positive else before & ~parts_with(before & ~raw, near)
    np.testing.assert_array_equal(given.mask_kji, expected)
    assert (raw != expected).any(), "the answer was wrong elsewhere"


@pytest.mark.parametrize(("x", "y", "positive"), [(100, 60, True), (60, 50, False)], ids=["positive", "negative"])
@pytest.mark.parametrize("name", OF_SLICES)
def test_a_slice_model_is_shown_the_mask_as_its_own_and_corrects_it(name, x, y, positive):
    image, mask = drawn_by_hand()
    volume = Volume(image[..., 0] / np.float32(255) if name == "scribbleprompt" else image, PICTURE)
    predictor, shown = slice_predictor(name)
    del shown[:]
    given, redrawn = (with_mask(volume, predictor, mask, redraw=redraw) for redraw in (False, True))
    assert_corrects(given, redrawn, click_on(given, x, y, positive=positive))
    first, second = (np.asarray(one) for one in shown)
    np.testing.assert_array_equal(first, second)
    low, high = (0.0, 1.0) if name == "sam-med2d" else (-10.0, 10.0)
    assert first.min() == pytest.approx(low, abs=1e-3)
    assert first.max() == pytest.approx(high, abs=1e-3)
    # SAM sees the picture in the upper left of a square, the others stretched to one.
    sides = np.array(first.shape)
    if name == "sam-vit-b":
        sides = sides * [HEIGHT, WIDTH] // max(HEIGHT, WIDTH)
    stretched = ndimage.zoom(mask[0].astype(float), sides / mask[0].shape, order=1, grid_mode=True, mode="nearest")
    seen = first[: sides[0], : sides[1]] > (low + high) / 2
    assert (seen != (stretched > 0.5)).mean() < 0.02


def test_a_model_that_was_trained_without_masks_is_shown_none_and_draws_its_box_anew():
    image, mask = drawn_by_hand()
    network, shown = tiny_sam(), []
    decode = network.decode
    network.decode = lambda *inputs, **kinds: shown.append(inputs[4]) or decode(*inputs, **kinds)
    session = with_mask(Volume(image, PICTURE), MedSam(network, device="cpu", cache=EmbeddingCache()), mask)
    session.add(Box.from_indices(session.image.grid, (40, 30, 0), (90, 80, 0)))
    assert shown == [None]
    assert (session.mask_kji != mask).any()


@pytest.mark.parametrize("k", [3, 6])
def test_a_slice_model_is_shown_what_was_given_on_each_slice(k):
    image, mask = drawn_by_hand()
    predictor, shown = slice_predictor("sam-med2d")
    session = with_mask(Volume(np.repeat(image, 8, axis=0), PICTURE), predictor, np.repeat(mask, 8, axis=0))
    session.add(click_on(session, 100, 60, k=2))
    del shown[:]
    session.add(click_on(session, 60, 20, k=k))
    assert (shown[0] > 0.5).float().mean() == pytest.approx(mask.mean(), abs=0.01)
    untouched = np.delete(session.mask_kji, (2, k), axis=0)
    np.testing.assert_array_equal(untouched, np.repeat(mask, 6, axis=0))


def of_balls():
    """Return a volume, and a mask of two balls in it; what is brightest, nnInteractive's stand-in always takes."""
    places = np.indices((48, 56, 64))
    mask = np.zeros(places.shape[1:], dtype=bool)
    for middle in ((22, 26, 24), (30, 34, 50)):
        mask |= np.linalg.norm(places - np.reshape(middle, (3, 1, 1, 1)), axis=0) < 9
    values = np.random.default_rng(0).normal(100 + 200 * mask, 40)
    values[2:6, 2:6, 2:6] = 10000
    return Volume(values.astype(np.int16), np.diag([1.5, 1.5, 1.5, 1.0])), mask


def test_sam_med3d_is_shown_the_mask_as_sure_logits_and_corrects_it():
    volume, mask = of_balls()
    network, shown = tiny_med3d(), []
    predict = network.predict
    network.predict = lambda *inputs: shown.append(inputs[3]) or predict(*inputs)
    predictor = SamMed3D(network, device="cpu", most_grown=0)
    given, redrawn = (with_mask(volume, predictor, mask, redraw=redraw) for redraw in (False, True))
    assert_corrects(given, redrawn, click_on(given, 24, 36, 22))
    first, second = shown
    torch.testing.assert_close(first, second)
    assert first.min() == -10
    assert first.max() == 10
    # The cube of 64 voxels of 1.5 mm about the click, a quarter as fine.
    in_cube = mask[: 22 + 32, 36 - 32 :, : 24 + 32].sum()
    assert 64 * (first > 0).sum() == pytest.approx(in_cube, rel=0.2)


def test_nninteractive_is_given_the_mask_as_its_initial_segmentation_and_corrects_it(tmp_path):
    volume, mask = of_balls()
    predictor, network = closed_form_predictor(tmp_path)
    given, redrawn = (with_mask(volume, predictor, mask, redraw=redraw) for redraw in (False, True))
    assert_corrects(given, redrawn, click_on(given, 24, 10, 22))
    for seen in network.inputs:
        assert set(seen[0, 1].unique().tolist()) <= {0, 1}
    # The window of 64 voxels about the click holds all of it but for a few.
    assert int(network.inputs[0][0, 1].sum()) == mask[:, :42, :56].sum()


def test_vista3d_merges_clicks_with_the_mask_and_redraws_when_asked():
    array = np.full((40, 44, 50), -1000, np.int16)
    array[4:12, 4:20, 4:20], array[20:30, 4:14, 4:20] = 120, 240
    volume = Volume(array, np.diag([1.5, 1.5, 1.5, 1.0]))
    by_hand = np.zeros(array.shape, dtype=bool)
    by_hand[24:35, 30:40, 20:40] = True

    class SmallTile(Vista3d):
        tile = TILE

    predictor = SmallTile(vista3d_that_knows({"liver": 120, "spleen": 240}))
    for redraw in (False, True):
        session = with_mask({"ct": volume}, predictor, by_hand, redraw=redraw)
        session.add(click_on(session, 10, 10, 8))
        np.testing.assert_array_equal(session.mask_kji, (array == 120) | (by_hand & (not redraw)))


@pytest.mark.parametrize("named_by", ["stu-net-s", "sat-nano"])
def test_what_a_name_found_is_corrected_by_the_default_model_s_clicks(named_by):
    values = np.full((30, 34, 40), 10, np.float32)
    values[3:12, 4:16, 5:17], values[18:26, 20:30, 22:34] = 200, 200
    if named_by == "stu-net-s":
        bright = BrightIs(1 + PLAN.classes.index("liver"), 105)
        session = Session(Volume(values, np.diag([1.5, 1.5, 1.5, 1.0])), TinyStuNet(bright, device="cpu"))
        session.add(ClassPrompt("liver"))
    else:
        volume = Volume(values, np.diag([1.0, 1.0, 3.0, 1.0]))
        _, liver = np.unique(prepare(values, volume.grid, is_ct=True)[0])
        session = Session({"ct": volume}, SatNano(sat_that_knows(round(float(liver), 3), 9.0)))
        session.add(TextPrompt("liver"))
    named = session.mask_kji
    assert named.any()
    session.use(UNTRAINED)
    session.add(click_on(session, 2, 30, 2))
    added = session.mask_kji
    assert not (named & ~added).any()
    index = tuple(np.argwhere(named)[0])
    session.add(click_on(session, *index[::-1], positive=False))
    assert not (session.mask_kji & ~added).any()
    assert not session.mask_kji[index]
    assert (session.mask_kji & named).any()


def test_every_predictor_says_whether_it_corrects_by_itself():
    by_itself = {name for name in predictor_names() if capabilities_of(name).corrects}
    assert by_itself == {"default", "classical", "vista3d"}
