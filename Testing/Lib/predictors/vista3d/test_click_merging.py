"""Only what hangs together with a click changes."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.geometry import Grid
from PromptSegLib.predictors.vista3d.click_merging import merged
from PromptSegLib.prompts import Point

GRID = Grid((8, 20, 30), np.diag([0.8, 1.2, 2.0, 1.0]))
EVERYWHERE = np.ones(GRID.shape_kji, dtype=bool)


def block(i0, i1):
    mask = np.zeros(GRID.shape_kji, dtype=bool)
    mask[2:6, 5:15, i0:i1] = True
    return mask


def click(i, j=10, k=4, positive=True):
    return Point(tuple(GRID.to_ras((i, j, k))), positive)


def test_without_a_mask_the_parts_clicked_on_are_taken():
    answer = block(0, 8) | block(12, 20) | block(24, 30)
    nothing = np.zeros_like(answer)
    np.testing.assert_array_equal(merged(nothing, answer, EVERYWHERE, [click(3)], GRID), block(0, 8))
    both = merged(nothing, answer, EVERYWHERE, [click(3), click(26)], GRID)
    np.testing.assert_array_equal(both, block(0, 8) | block(24, 30))


def test_a_positive_click_adds_its_part_and_leaves_the_others_alone():
    after = merged(block(0, 8), block(12, 20) | block(24, 30), EVERYWHERE, [click(15)], GRID)
    np.testing.assert_array_equal(after, block(0, 8) | block(12, 20))


def test_a_click_on_the_mask_lets_it_grow_over_its_border():
    after = merged(block(0, 8), block(4, 14), EVERYWHERE, [click(6)], GRID)
    np.testing.assert_array_equal(after, block(0, 14))


def test_a_negative_click_removes_what_the_answer_leaves_out_where_it_is():
    before = block(0, 8) | block(12, 20)
    after = merged(before, np.zeros_like(before), EVERYWHERE, [click(15, positive=False)], GRID)
    np.testing.assert_array_equal(after, block(0, 8))


def test_where_the_network_was_not_asked_nothing_is_removed():
    before = block(0, 20)
    after = merged(before, np.zeros_like(before), block(0, 12), [click(5, positive=False)], GRID)
    np.testing.assert_array_equal(after, block(12, 20))


@pytest.mark.parametrize(("i", "is_taken"), [(12, True), (16, False)])
def test_a_click_just_beside_a_part_means_it(i, is_taken):
    nothing = np.zeros(GRID.shape_kji, dtype=bool)
    after = merged(nothing, block(0, 10), EVERYWHERE, [click(i)], GRID)
    np.testing.assert_array_equal(after, block(0, 10) if is_taken else nothing)
