"""Of answers at several scales, the one that the others bear out is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from slice_phantoms import affine, ball, middle_ras

from PromptSegLib.geometry import Grid
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.predictors.default.scale_choice import Look, most_agreed

GRID = Grid((1, 96, 128), affine(spacing=(0.7, 0.7, 3.0)))


def a_look(side_voxels, radius_mm, sure=6.0, side=48):
    """Return a look at `side_voxels` of the image that found a disc."""
    step = side_voxels / side * 0.7
    roi = Roi.centred(GRID, middle_ras(GRID), (3.0, step, step), (1, side, side))
    return Look(roi, np.where(ball(roi.grid, middle_ras(GRID), radius_mm), sure, -sure).astype(np.float32))


def test_the_same_structure_on_two_scales_is_the_same():
    fine, coarse = a_look(40, 10.0), a_look(90, 10.0)
    assert fine.dice_with(coarse) > 0.93
    assert fine.dice_with(coarse) == coarse.dice_with(fine)
    assert a_look(40, 5.0).dice_with(a_look(90, 10.0)) == pytest.approx(2 * 25 / (25 + 100), abs=0.05)
    assert a_look(40, -1.0).dice_with(a_look(90, 10.0)) == 0


def test_a_structure_beyond_the_smaller_region_counts_against_it():
    assert a_look(20, 100.0).dice_with(a_look(80, 26.0)) < 0.4


def test_expected_dice_is_lower_where_the_network_doubts():
    assert a_look(40, 8.0, sure=8.0).expected_dice > 0.98
    assert a_look(40, 8.0, sure=0.2).expected_dice < 0.6
    assert a_look(40, -1.0).expected_dice < 0.01


def test_the_answer_that_is_found_again_is_chosen_over_one_that_is_as_sure_of_itself():
    looks = [a_look(24, 3.0), a_look(40, 10.0), a_look(70, 9.5), a_look(128, 30.0)]
    assert most_agreed(looks) in (1, 2)


def test_of_two_that_agree_the_surer_is_chosen():
    assert most_agreed([a_look(40, 10.0, sure=1.0), a_look(44, 10.0, sure=6.0)]) == 1
    assert most_agreed([a_look(40, 10.0)]) == 0
