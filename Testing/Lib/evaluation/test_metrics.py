"""Dice says how much two masks agree, and refuses masks that cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks

from PromptSegLib.errors import GeometryError
from PromptSegLib.evaluation.metrics import dice

SHAPE = (3, 4, 5)


def row(*indices):
    mask = np.zeros((1, 1, 8), dtype=bool)
    mask[0, 0, list(indices)] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "truth", "expected"),
    [
        (row(1, 2), row(1, 2), 1.0),
        (row(1, 2), row(2, 3), 0.5),
        (row(1), row(1, 2, 3), 0.5),
        (row(1), row(2), 0.0),
        (row(), row(2), 0.0),
        (row(2), row(), 0.0),
        (row(), row(), 1.0),
    ],
)
def test_dice_is_twice_the_overlap_over_both_sizes_and_1_when_both_are_empty(mask, truth, expected):
    assert dice(mask, truth) == expected


@given(st.data())
def test_dice_is_symmetric_and_1_for_equal_masks_only(data):
    mask, truth = data.draw(masks(SHAPE)), data.draw(masks(SHAPE))
    assert dice(mask, truth) == dice(truth, mask)
    assert 0 <= dice(mask, truth) <= 1
    assert (dice(mask, truth) == 1) == np.array_equal(mask, truth)


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(GeometryError, match=r"\(1, 1, 8\) and \(1, 1, 1\)"):
        dice(row(1), np.ones((1, 1, 1), dtype=bool))
