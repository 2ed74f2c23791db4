"""The simulated user clicks in the middle of the largest error, as the challenge's protocol says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from slice_phantoms import affine, ball
from strategies import grids, masks

from PromptSegLib.errors import GeometryError
from PromptSegLib.evaluation.clicks import challenge_click, middle_kji, next_click, random_click
from PromptSegLib.geometry import Grid

GRID = Grid((20, 24, 28), affine(turned_deg=30))
NOTHING = np.zeros(GRID.shape_kji, dtype=bool)


def box(*slices, grid=GRID):
    mask = np.zeros(grid.shape_kji, dtype=bool)
    mask[tuple(slice(*ends) for ends in slices)] = True
    return mask


def place(click, grid=GRID):
    return tuple(int(n) for n in grid.nearest_kji(click.position_ras))


CUBE = box((5, 12), (6, 13), (7, 14))


def test_what_is_missed_gets_a_positive_click_in_its_middle():
    click = next_click(NOTHING, CUBE, GRID)
    assert click.positive
    assert place(click) == (8, 9, 10)


def test_what_is_too_much_gets_a_negative_click_in_its_middle():
    click = next_click(CUBE, NOTHING, GRID)
    assert not click.positive
    assert place(click) == (8, 9, 10)


def test_equal_masks_need_no_click():
    assert next_click(CUBE, CUBE, GRID) is None
    assert next_click(NOTHING, NOTHING, GRID) is None


def test_the_click_lies_on_the_centre_of_a_voxel():
    ijk = GRID.to_ijk(next_click(NOTHING, CUBE, GRID).position_ras)
    np.testing.assert_allclose(ijk, np.rint(ijk), atol=1e-9)


def test_the_larger_error_comes_first_whatever_its_sign():
    small, large = box((1, 4), (1, 4), (1, 4)), box((8, 15), (8, 15), (8, 15))
    assert place(next_click(NOTHING, small | large, GRID)) == (11, 11, 11)
    missed, excess = next_click(small, large, GRID), next_click(large, small, GRID)
    assert (place(missed), missed.positive) == ((11, 11, 11), True)
    assert (place(excess), excess.positive) == ((11, 11, 11), False)


def test_the_largest_error_has_the_most_voxels_not_the_thickest_part():
    plate, cube = box((2, 3), (0, 24), (0, 28)), box((10, 15), (10, 15), (10, 15))
    assert place(next_click(NOTHING, plate | cube, GRID))[0] == 2


def test_voxels_that_share_a_corner_are_one_error():
    # Two cubes of 27 that touch at a corner are one error of 54; the single one has 36.
    chain = box((1, 4), (1, 4), (1, 4)) | box((4, 7), (4, 7), (4, 7))
    single = box((12, 15), (12, 15), (12, 16))
    assert place(next_click(NOTHING, chain | single, GRID)) in {(2, 2, 2), (5, 5, 5)}


def test_a_missed_error_comes_before_an_equally_large_excess():
    left, right = box((2, 5), (2, 5), (2, 5)), box((12, 15), (12, 15), (12, 15))
    assert next_click(left, right, GRID).positive


def test_ties_are_broken_by_the_seed_and_by_it_alone():
    plate = box((4, 5), (4, 20), (4, 20))
    places = [place(next_click(NOTHING, plate, GRID, seed)) for seed in range(12)]
    assert places == [place(next_click(NOTHING, plate, GRID, seed)) for seed in range(12)]
    assert len(set(places)) > 3
    assert all(plate[index] for index in places)


def test_depth_is_measured_in_mm():
    # A plate of one thick slice is 4 mm deep in the plane; the column beside it 2 mm, though 2 voxels against 1.
    grid = Grid((9, 13, 30), affine(spacing=(1.0, 1.0, 10.0)))
    plate, column = box((4, 5), (3, 10), (2, 9), grid=grid), box((2, 7), (5, 8), (9, 20), grid=grid)
    assert middle_kji(plate | column, grid).tolist() == [4, 6, 5]
    assert middle_kji(plate | column, Grid(grid.shape_kji, np.eye(4)))[2] > 9


def test_the_edge_of_the_image_is_a_border_but_not_along_an_axis_of_one_voxel():
    assert middle_kji(np.ones((5, 7, 9), dtype=bool), Grid((5, 7, 9), np.eye(4))).tolist()[0] == 2
    assert middle_kji(np.ones((1, 7, 7), dtype=bool), Grid((1, 7, 7), np.eye(4))).tolist() == [0, 3, 3]
    assert middle_kji(np.ones((1, 1, 1), dtype=bool), Grid((1, 1, 1), np.eye(4))).tolist() == [0, 0, 0]


def test_a_balls_middle_is_its_centre():
    centre = GRID.to_ras((13, 11, 9))
    assert place(next_click(NOTHING, ball(GRID, centre, 6.5), GRID)) == (9, 11, 13)


def test_a_hollow_error_is_not_clicked_in_its_hole():
    shell = ball(GRID, GRID.to_ras((13, 11, 9)), 8) & ~ball(GRID, GRID.to_ras((13, 11, 9)), 4)
    assert shell[place(next_click(NOTHING, shell, GRID))]


@given(st.data(), grids())
def test_a_click_is_deepest_in_the_largest_error(data, grid):
    mask, truth = data.draw(masks(grid.shape_kji)), data.draw(masks(grid.shape_kji))
    click = next_click(mask, truth, grid)
    if click is None:
        np.testing.assert_array_equal(mask, truth)
        return
    error = truth & ~mask if click.positive else mask & ~truth
    labels, _ = ndimage.label(error, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    index = place(click, grid)
    assert error[index]
    assert sizes[labels[index] - 1] == sizes.max()


def test_masks_off_the_grid_and_empty_ones_are_refused():
    with pytest.raises(GeometryError, match=r"\(20, 24, 28\)"):
        next_click(NOTHING[1:], NOTHING, GRID)
    with pytest.raises(GeometryError, match="at least one voxel"):
        middle_kji(NOTHING, GRID)


def test_random_clicks_are_on_any_wrong_voxel_and_say_which_way():
    truth, mask = CUBE, np.roll(CUBE, 3, axis=2)
    clicks = [random_click(mask, truth, GRID, seed) for seed in range(60)]
    places = {place(click) for click in clicks}
    assert len(places) > 40
    for click in clicks:
        index = place(click)
        assert mask[index] != truth[index]
        assert click.positive == truth[index]
    assert {click.positive for click in clicks} == {True, False}
    assert random_click(mask, truth, GRID, 5) == clicks[5]
    assert random_click(truth, truth, GRID) is None


def test_the_challenges_click_joins_errors_that_touch():
    missed, excess = box((5, 8), (5, 8), (5, 9)), box((5, 8), (5, 8), (9, 15))
    single = box((12, 16), (12, 16), (12, 16))
    # Apart, the largest error is the single one, of 64 voxels; 36 and 54 that touch are more.
    assert place(next_click(excess, missed | single, GRID))[0] > 11
    click = challenge_click(excess, missed | single, GRID)
    assert place(click)[:2] == (6, 6)
    assert click.positive == (place(click)[2] < 9)
    assert challenge_click(CUBE, CUBE, GRID) is None


def test_the_challenges_click_counts_depth_in_voxels():
    grid = Grid((20, 24, 28), np.diag([1.0, 1.0, 10.0, 1.0]))
    # A cube of 5 voxels a side with a wing, 3 slices thick: in mm the wing's middle slice is as deep as the cube's.
    cube, wing = box((5, 10), (5, 10), (5, 10), grid=grid), box((6, 9), (6, 9), (9, 25), grid=grid)
    assert place(challenge_click(NOTHING, cube | wing, grid), grid) == (7, 7, 7)
