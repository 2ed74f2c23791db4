"""Where a mask is most probably wrong, on masks of which that is known."""

import numpy as np
import pytest
from image_files import ijk_to_ras

from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Grid, flip_axes
from PromptSegLib.imaging.doubt import next_doubt, unsureness

GRID = Grid((24, 40, 40), ijk_to_ras())


def sure_box(*slices):
    probability = np.full(GRID.shape_kji, 0.02, np.float32)
    probability[slices] = 0.98
    return probability


def index_of(doubt):
    return GRID.nearest_kji(doubt.point_ras)


def test_the_largest_unsure_part_comes_first_then_the_next_and_then_nothing():
    probability = sure_box(slice(4, 20), slice(5, 35), slice(5, 35))
    probability[4:7, 5:9, 5:9] = 0.6
    probability[12:20, 25:35, 25:35] = 0.6
    mask = probability > 0.5
    seen = []
    for low, high in (((12, 25, 25), (20, 35, 35)), ((4, 5, 5), (7, 9, 9))):
        doubt = next_doubt(probability, mask, GRID, seen)
        assert (index_of(doubt) >= np.array(low)).all()
        assert (index_of(doubt) < np.array(high)).all()
        seen.append(doubt.point_ras)
        for _ in range(4):  # all of a large part takes several looks
            if (again := next_doubt(probability, mask, GRID, seen)) and (index_of(again) >= 12).all():
                seen.append(again.point_ras)
    assert next_doubt(probability, mask, GRID, seen) is None


def test_where_nothing_is_unsure_there_is_nothing_to_look_at():
    probability = sure_box(slice(4, 20), slice(5, 35), slice(5, 35))
    assert next_doubt(probability, probability > 0.5, GRID) is None


def test_a_thin_unsure_bridge_that_much_hangs_on_comes_before_a_larger_unsure_part():
    probability = sure_box(slice(4, 20), slice(5, 18), slice(5, 35))
    probability[4:20, 22:36, 5:35] = 0.98
    probability[11:13, 18:22, 19:21] = 0.6  # 16 voxels join both halves
    probability[4:8, 5:9, 31:35] = 0.55  # 64 voxels at a corner, on which nothing hangs
    mask = probability > 0.5
    k, j, i = index_of(next_doubt(probability, mask, GRID))
    assert (11 <= k < 13, 18 <= j < 22, 19 <= i < 21) == (True, True, True)
    without = probability.copy()
    without[4:20, 22:36, 5:35] = 0.02  # nothing hangs on it any more
    k, j, i = index_of(next_doubt(without, without > 0.5, GRID))
    assert (4 <= k < 8, 5 <= j < 9, 31 <= i < 35) == (True, True, True)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slice_that_shows_most_of_a_flat_unsure_part_is_the_best_view(axis):
    probability = sure_box(slice(4, 20), slice(5, 35), slice(5, 35))
    flat = [slice(8, 16), slice(12, 28), slice(12, 28)]
    flat[axis] = slice(14, 15)
    probability[tuple(flat)] = 0.6
    doubt = next_doubt(probability, probability > 0.5, GRID)
    along = np.abs(flip_axes(np.linalg.inv(GRID.directions) @ doubt.normal_ras))
    assert along.argmax() == axis


def test_a_single_slice_is_seen_from_above_and_a_large_box_in_steps():
    grid = Grid((1, 40, 40), ijk_to_ras())
    probability = np.full((1, 40, 40), 0.02, np.float32)
    probability[0, 10:30, 10:30] = 0.7
    doubt = next_doubt(probability, probability > 0.5, grid)
    assert np.abs(np.linalg.inv(grid.directions) @ doubt.normal_ras).argmax() == 2
    large = Grid((200, 200, 200), np.eye(4))
    probability = np.zeros(large.shape_kji, np.float32)
    probability[20:180, 20:180, 20:180] = 1
    probability[100:120, 100:120, 100:120] = 0.6
    i, j, k = next_doubt(probability, probability > 0.5, large).point_ras
    assert min(i, j, k) >= 100
    assert max(i, j, k) < 120


def test_how_unsure_a_mask_is_is_the_dice_that_is_not_expected_of_it():
    probability = np.zeros(GRID.shape_kji, np.float32)
    probability[4:20, 5:35, 5:35] = 0.8
    assert unsureness(probability, probability > 0.5) == pytest.approx(1 - 2 * 0.8 / 1.8, abs=1e-4)
    assert unsureness(probability * 0, probability < 0) == 0


def test_masks_of_another_shape_are_refused():
    with pytest.raises(GeometryError, match=r"shape \(24, 40, 40\), got"):
        next_doubt(np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), bool), GRID)
