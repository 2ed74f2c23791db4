"""Shapes between slices lie between those around."""

from __future__ import annotations

import numpy as np
import pytest
from slice_phantoms import iou

from PromptSegLib.predictors.slices.between_slices import between, centre_yx, innermost_xy, moved, signed_distance

Y, X = np.mgrid[:60, :80]


def disk(y, x, radius):
    return (Y - y) ** 2 + (X - x) ** 2 <= radius**2


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_between_two_disks_is_the_disk_between_even_where_they_do_not_meet(share):
    near, far = disk(20, 15, 6), disk(40, 60, 12)
    expected = disk(20 + 20 * share, 15 + 45 * share, 6 + 6 * share)
    assert iou(between(near, far, share), expected) > 0.9


def test_what_is_moved_off_the_slice_is_gone():
    mask = disk(5, 5, 3)
    assert moved(mask, (10.4, -0.4)).sum() == mask.sum()
    assert centre_yx(moved(mask, (10.4, -0.4))).tolist() == [15, 5]
    assert 0 < moved(mask, (-5, 0)).sum() < mask.sum()
    assert not moved(mask, (-50, 0)).any()


def test_distance_is_below_0_inside_and_infinite_without_a_shape():
    distance = signed_distance(disk(30, 40, 10))
    assert distance[30, 40] == pytest.approx(-10, abs=1)
    assert distance[30, 60] == pytest.approx(10, abs=1)
    assert np.isinf(signed_distance(np.zeros((4, 4), dtype=bool))).all()


def test_the_innermost_pixel_is_inside_where_the_middle_is_not():
    ring = disk(30, 40, 20) & ~disk(30, 40, 12)
    x, y = innermost_xy(ring).astype(int)
    assert ring[y, x]
    assert innermost_xy(np.ones((5, 9), dtype=bool))[1] == 2
