"""SAM-Med3D's region of interest is the official one, and its mask comes back to the same voxels."""

from __future__ import annotations

import numpy as np
import pytest
from references import KEPT_HERE
from sam_med3d_script import prepare_region, region_about, region_to_image, resample_isotropic
from volume_references import VolumeReference

from PromptSegLib.geometry import Grid, flip_axes, transpose_kji_to_ijk
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.sam_med3d.preparation import standardise


def grid_of(shape_kji, spacing_mm, signs=(1, 1, 1)) -> Grid:
    return Grid(shape_kji, np.diag([*np.multiply(spacing_mm, signs), 1.0]))


def test_the_region_and_the_way_back_are_the_official_ones():
    reference = VolumeReference(KEPT_HERE, "sam_med3d_prep")
    volume, labels = (transpose_kji_to_ijk(reference[name]) for name in ("volume", "label"))
    grid = Grid(volume.shape, reference["affine"])
    isotropic, isotropic_grid = resample_isotropic(volume, grid)
    canonical = AlignedSampling.in_ras_order(isotropic_grid)
    assert canonical.shape == tuple(reference["canonical_shape"])
    np.testing.assert_allclose(canonical.grid.ijk_to_ras, reference["canonical_affine"], atol=1e-9)

    labels, _ = resample_isotropic(labels, grid, labels=True)
    inside = np.argwhere(canonical.nearest(labels) == reference["category"])
    region = region_about(isotropic_grid, inside.min(axis=0), inside.max(axis=0) + 1, int(reference["crop"]))
    np.testing.assert_allclose(region.grid.ijk_to_ras, reference["roi_affine"], atol=1e-9)
    reference.assert_met("roi_image", prepare_region(isotropic, region)[None, None])
    np.testing.assert_array_equal(region.nearest(labels) == reference["category"], reference["roi_label"][0, 0])

    back = region_to_image(reference["fake_pred"], region.grid, grid)
    np.testing.assert_array_equal(back, reference["fake_pred_back_zyx"])
    assert reference.unused == set()


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_click_lies_in_the_middle_of_its_region(signs):
    array = np.zeros((20, 22, 24), np.float32)
    array[8, 12, 5] = 100
    grid = grid_of(array.shape, (1.5, 1.5, 1.5), signs)
    isotropic, isotropic_grid = resample_isotropic(array, grid)
    canonical = AlignedSampling.in_ras_order(isotropic_grid).grid
    click = flip_axes(canonical.nearest_kji(grid.to_ras((5, 12, 8))))
    region = region_about(isotropic_grid, click, click + 1, size=16)
    values = region.nearest(isotropic)
    assert values.shape == (16, 16, 16)
    assert np.argwhere(values == 100).tolist() == [[8, 8, 8]]


def test_a_mask_comes_back_to_the_voxels_it_was_made_of():
    grid = grid_of((30, 28, 26), (1.1, 0.9, 2.0), (-1, 1, 1))
    mask = np.zeros(grid.shape_kji, np.uint8)
    mask[8:20, 6:22, 5:18] = 1
    isotropic, isotropic_grid = resample_isotropic(mask, grid, labels=True)
    region = region_about(isotropic_grid, (10, 10, 20), (11, 11, 21), size=64)
    back = region_to_image(region.nearest(isotropic), region.grid, grid)
    overlap = 2 * (back & mask).sum() / (back.sum() + mask.sum())
    assert back.dtype == np.uint8
    assert overlap > 0.95


def test_probabilities_come_back_linearly():
    grid = grid_of((12, 12, 12), (1.0, 1.0, 1.0))
    region = AlignedSampling.in_ras_order(grid).resized((6, 6, 6), (2, 2, 2), (0.5, 0.5, 0.5))
    values = np.linspace(0, 1, 6, dtype=np.float32)[:, None, None] * np.ones((1, 6, 6), np.float32)
    back = region_to_image(values, region.grid, grid, labels=False)
    expected = np.interp(np.arange(1, 11), 0.5 + 2 * np.arange(6), values[:, 0, 0])
    np.testing.assert_allclose(back[5, 5, 1:11], expected, atol=1e-5)


def test_integers_are_truncated_towards_zero():
    array = np.array([0, 3, 0, -3], np.int16).reshape(1, 1, 4)
    isotropic, _ = resample_isotropic(array, grid_of(array.shape, (2.0, 1.5, 1.5)))
    assert isotropic.dtype == np.int16
    exact, _ = resample_isotropic(array.astype(np.float32), grid_of(array.shape, (2.0, 1.5, 1.5)))
    np.testing.assert_array_equal(isotropic, np.trunc(exact))
    assert (exact != isotropic).any()


def test_only_what_is_above_zero_sets_the_scale():
    values = standardise(np.array([-500, 0, 1, 2, 3], np.float32))
    np.testing.assert_allclose(values, [-502, -2, -1, 0, 1])


@pytest.mark.parametrize("region", [[0, 0, 0], [-1, 5, 0], [0, 4, 4]])
def test_a_region_without_contrast_is_left_as_it_is(region):
    values = np.array(region, np.float32)
    np.testing.assert_array_equal(standardise(values), values)
