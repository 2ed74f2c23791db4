"""Resampling by matrices equals the spline interpolation that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from PromptSegLib.predictors.names.axis_resampling import linear_taps, nearest_index, resize, resize_planes

SHAPES = [((7, 9, 8), (5, 20, 8)), ((3, 30, 2), (7, 11, 5)), ((1, 6, 4), (3, 2, 4)), ((20, 5, 33), (33, 5, 20))]


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize(("shape", "new_shape"), SHAPES)
def test_any_shape_becomes_any_other_as_by_ndimage_zoom(shape, new_shape, order):
    array = np.random.default_rng(0).integers(-500, 500, shape).astype(np.int16)
    zoom = [m / n for n, m in zip(shape, new_shape, strict=True)]
    expected = ndimage.zoom(array.astype(float), zoom, order=order, mode="nearest", grid_mode=True)
    expected = expected.clip(array.min(), array.max())
    resized = resize(array, new_shape, order=order)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, atol=1e-3)


def test_splines_do_not_leave_the_range_of_the_array():
    step = np.zeros((1, 1, 20), np.float32)
    step[..., 10:] = 1
    resized = resize(step, (1, 1, 53), order=3)
    assert resized.min() == 0
    assert resized.max() == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_keep_their_values_along_the_thick_axis(axis):
    array = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    shape = [4, 6, 10]
    shape[axis] = 2 * array.shape[axis]
    resized = np.moveaxis(resize_planes(array, shape, axis=axis, order=3), axis, 0)
    np.testing.assert_array_equal(resized[0::2], resized[1::2])
    assert resized.shape[1:] == tuple(n for a, n in enumerate(shape) if a != axis)


def test_the_nearest_voxel_is_the_higher_one_between_two():
    assert nearest_index(4, 2).tolist() == [1, 3]
    assert nearest_index(3, 6).tolist() == [0, 0, 1, 1, 2, 2]


def test_linear_taps_stay_within_the_line():
    lower, upper, weight = linear_taps(2, 4)
    assert lower.tolist() == [0, 0, 0, 1]
    assert upper.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(weight, [0, 0.25, 0.75, 0])
