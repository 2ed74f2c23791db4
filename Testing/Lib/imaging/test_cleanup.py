"""Islands, holes and rough borders, on masks with a known answer."""

import numpy as np
import pytest

from PromptSegLib.imaging.cleanup import fill_holes, keep_largest_island, smooth


def ball(shape, centre, radius, spacing=(1, 1, 1)):
    axes = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    return sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True)) <= radius**2


@pytest.fixture
def two_balls():
    return ball((20, 30, 30), (10, 10, 10), 6), ball((20, 30, 30), (10, 22, 22), 3)


def test_of_two_islands_the_larger_is_kept(two_balls):
    large, small = two_balls
    np.testing.assert_array_equal(keep_largest_island(large | small), large)
    np.testing.assert_array_equal(keep_largest_island(large), large)


def test_what_touches_by_a_corner_is_an_island_of_its_own():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[:2, :2, :2] = mask[2, 2, 2] = True
    assert keep_largest_island(mask).sum() == 8


def test_what_is_surrounded_is_filled_and_what_is_open_stays(two_balls):
    large, _ = two_balls
    hollow = large & ~ball(large.shape, (10, 10, 10), 3)
    np.testing.assert_array_equal(fill_holes(hollow), large)
    open_ring = hollow.copy()
    open_ring[:, 10, 10] = False
    assert not fill_holes(open_ring)[10, 10, 10]


def test_a_ring_on_a_single_slice_is_filled_in_its_plane():
    ring = ball((1, 20, 20), (0, 10, 10), 7) & ~ball((1, 20, 20), (0, 10, 10), 4)
    assert fill_holes(ring)[0, 10, 10]


def test_smoothing_rounds_off_thorns_and_keeps_volume_under_anisotropic_spacing():
    spacing = (3.0, 1.0, 1.0)
    mask = ball((20, 50, 50), (10, 25, 25), 15, spacing)
    thorny = mask.copy()
    thorny[10, 25, 41:46] = True
    smoothed = smooth(thorny, np.array(spacing), 2.0)
    assert not smoothed[10, 25, 43:].any()
    assert smoothed.sum() == pytest.approx(mask.sum(), rel=0.05)


def test_a_flat_border_at_the_edge_of_the_image_stays():
    mask = np.ones((10, 10, 10), dtype=bool)
    assert smooth(mask, np.ones(3), 2.0).all()


@pytest.mark.parametrize("function", [keep_largest_island, fill_holes, lambda m: smooth(m, np.ones(3), 1.0)])
def test_nothing_comes_of_nothing_and_the_argument_stays(function):
    mask = np.zeros((5, 5, 5), dtype=bool)
    assert not function(mask).any()
    mask[2, 2, 2] = True
    kept = mask.copy()
    function(mask)
    np.testing.assert_array_equal(mask, kept)
