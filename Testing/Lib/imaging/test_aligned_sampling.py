"""Sampled in RAS order, an image shows at every place what lay there, however its axes run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sampling import linear_back

from PromptSegLib.geometry import Grid, apply_affine, flip_axes, transpose_kji_to_ijk
from PromptSegLib.imaging.aligned_sampling import AlignedSampling, nearest_axes, sample_linear, sample_nearest

SLOPE = np.array([1.0, -2.0, 0.5])
ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def grid_of(order, signs, *, degrees: float = 0.0) -> Grid:
    """A 7x6x5 grid of 1x2x3 mm voxels whose axes i, j, k run along R, A, S in this order, rotated about S."""
    directions = np.eye(3)[:, list(order)] * signs
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ directions * (1.0, 2.0, 3.0)
    affine[:3, 3] = (4, -3, 10)
    return Grid((5, 6, 7), affine)


def ramp(grid: Grid) -> np.ndarray:
    """An image (k, j, i) whose values rise linearly in RAS."""
    ijk = np.stack(np.meshgrid(*(np.arange(n) for n in flip_axes(grid.shape_kji)), indexing="ij"), axis=-1)
    return transpose_kji_to_ijk(apply_affine(grid.ijk_to_ras, ijk) @ SLOPE)


@pytest.mark.parametrize("degrees", [0.0, 20.0])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_values_stay_at_their_place_in_the_patient(order, signs, degrees):
    grid = grid_of(order, signs, degrees=degrees)
    sampling = AlignedSampling.in_ras_order(grid)
    assert sampling.grid.orientation == "RAS"
    finer = sampling.resized([5, 4, 6], [0.5, 0.75, 0.6], [1.0, 0.5, 0.3])
    expected = transpose_kji_to_ijk(ramp(finer.grid))
    np.testing.assert_allclose(finer.linear(ramp(grid), beyond=None), expected, atol=1e-4)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_labels_come_through_reordering_unchanged(order, signs):
    grid = grid_of(order, signs)
    labels = np.random.default_rng(0).integers(0, 9, grid.shape_kji).astype(np.uint8)
    sampling = AlignedSampling.in_ras_order(grid)
    turned = sampling.nearest(labels)
    assert turned.dtype == np.uint8
    np.testing.assert_array_equal(linear_back(sampling, turned, beyond=None), labels)


def test_spacing_follows_the_axes():
    sampling = AlignedSampling.in_ras_order(grid_of((2, 0, 1), (1, -1, 1)))  # i along S, j along R, k along A
    assert sampling.spacing_mm.tolist() == [2, 3, 1]
    assert sampling.shape == (6, 5, 7)


def test_what_lies_beyond_the_image_gets_its_own_value():
    sampling = AlignedSampling.in_ras_order(grid_of((0, 1, 2), (1, 1, 1))).resized([9, 6, 5], [1, 1, 1], [-1, 0, 0])
    values = sampling.linear(np.ones((5, 6, 7)), beyond=-7.0)
    assert (values[[0, 8]] == -7).all()
    assert (values[1:8] == 1).all()
    assert (sampling.nearest(np.ones((5, 6, 7), np.uint8))[[0, 8]] == 0).all()


def test_every_axis_is_given_once_even_when_two_fit_equally():
    tilted = np.array([[1, 1, 0], [1, -1, 0], [0, 0, 1]]) / np.sqrt([2, 2, 1])
    assert sorted(nearest_axes(tilted)) == [0, 1, 2]


def test_half_a_voxel_around_the_outermost_centres_belongs_to_the_image():
    line = np.array([10.0, 20.0]).reshape(2, 1, 1)
    at = np.array([-0.6, -0.5, 0.25, 1.49, 1.5])
    zero = np.zeros(1)
    np.testing.assert_allclose(sample_linear(line, [at, zero, zero], 0.0).ravel(), [0, 10, 12.5, 20, 0])
    np.testing.assert_allclose(sample_nearest(line, [at, zero, zero]).ravel(), [0, 10, 10, 20, 0])
