"""Of answers that redraw a mask that came from elsewhere, what hangs together with the prompt is left."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from PromptSegLib.bitmask import Patch
from PromptSegLib.predictors.base import Capabilities, Prediction
from PromptSegLib.predictors.registry import capabilities_of
from PromptSegLib.prompts import Box, Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

VOLUME = Volume(np.zeros((6, 20, 30), dtype=np.int16))


class Redrawing:
    """Answers everything with the left half of the image, and remembers what it was asked."""

    capabilities = Capabilities(
        "redrawing", "Redrawing", "", frozenset({3}), frozenset({"point+", "point-", "box3d+", "mask"}), "Apache-2.0"
    )

    def __init__(self):
        self.asked = []

    def encode(self, image, cancel, progress):
        return image

    def predict(self, encoding, state, cancel, progress):
        self.asked.append(state)
        mask = np.zeros(encoding.grid.shape_kji, dtype=bool)
        mask[:, :, :15] = True
        mask[:, 4:8, 20:24] = False
        yield Prediction({state.target: Patch(encoding.grid.extent, mask)}, feedback="mine")


def a_mask():
    mask = np.zeros(VOLUME.grid.shape_kji, dtype=bool)
    mask[:, 2:10, 10:26] = True
    return mask


def corrected(*prompts, predictor=None, **options):
    session = Session(VOLUME, predictor or Redrawing(), **options)
    session.set_mask(a_mask())
    for prompt in prompts:
        session.add(prompt)
    return session


def test_a_positive_click_adds_the_part_that_it_is_on_and_takes_nothing_away():
    expected = a_mask()
    expected[:, :, :15] = True
    np.testing.assert_array_equal(corrected(Point((3, 15, 2))).mask_kji, expected)


def test_a_negative_click_takes_the_part_away_that_it_is_on_and_adds_nothing():
    expected = a_mask()
    expected[:, :, 15:] = False
    np.testing.assert_array_equal(corrected(Point((24, 9, 2), positive=False)).mask_kji, expected)


def test_a_click_where_the_mask_is_right_changes_nothing():
    np.testing.assert_array_equal(corrected(Point((13, 5, 2))).mask_kji, a_mask())


def test_a_predictor_does_not_go_on_with_what_was_cut_down():
    predictor = Redrawing()
    session = corrected(Point((3, 15, 2)), Point((24, 9, 2), positive=False), predictor=predictor)
    assert [state.mask_is_given for state in predictor.asked] == [True, True]
    assert predictor.asked[1].feedback is None
    first = a_mask()
    first[:, :, :15] = True
    np.testing.assert_array_equal(predictor.asked[1].mask.read(), first)
    assert session.mask_kji[2, 15, 3]


@pytest.mark.parametrize("how", ["asked for", "its own", "box", "handed over"])
def test_all_of_it_is_drawn_anew_when(how):
    redrawn = np.zeros(VOLUME.grid.shape_kji, dtype=bool)
    redrawn[:, :, :15] = True
    if how == "asked for":
        session = corrected(Point((24, 9, 2), positive=False), redraw=True)
    elif how == "its own":
        session = Session(VOLUME, Redrawing())
        session.add(Point((3, 3, 3)))
        session.add(Point((24, 9, 2), positive=False))
    elif how == "box":
        session = corrected(Box((12, 8, 2), (20, 12, 4)))
    else:
        session = corrected()
        session.hand_over(Redrawing())
    np.testing.assert_array_equal(session.mask_kji, redrawn)


def test_those_that_see_to_it_themselves_are_left_alone():
    class Own(Redrawing):
        capabilities = dataclasses.replace(Redrawing.capabilities, name="own", corrects=True)

    session = corrected(Point((3, 15, 2)), predictor=Own())
    assert not session.mask_kji[:, :, 15:].any()


def test_capabilities_say_who_corrects():
    names = ("default", "classical", "vista3d", "sam-med2d", "nninteractive", "sam-med3d")
    assert [name for name in names if capabilities_of(name).corrects] == ["default", "classical", "vista3d"]
