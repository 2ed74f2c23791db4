"""A region reads an image on a grid of its own and gives masks back, on the image's, where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slice_phantoms import affine, ball, centres_ras, iou, middle_ras
from strategies import extents_in, grids, masks

from PromptSegLib.bitmask import BitMask
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.volume import Volume

GRID = Grid((20, 30, 40), affine(spacing=(1.0, 1.2, 2.0), turned_deg=20))
BOX = Extent((4, 5, 6), (16, 25, 36))


def bits(mask_kji):
    mask = BitMask(mask_kji.shape)
    mask.write(Extent.of_shape(mask_kji.shape), mask_kji)
    return mask


@given(st.data(), grids())
def test_at_the_images_own_spacing_a_region_is_a_crop(data, grid):
    extent = data.draw(extents_in(grid.shape_kji))
    array = np.random.default_rng(0).integers(-999, 999, grid.shape_kji).astype(np.int16)
    roi = Roi.covering(grid, extent, float(grid.spacing_mm.min()))
    assert roi.extent == extent
    assert roi.grid.matches(grid.cropped(extent))
    np.testing.assert_allclose(roi.read(Volume(array, grid.ijk_to_ras)), array[extent.slices], atol=1e-3)
    mask = data.draw(masks(grid.shape_kji))
    np.testing.assert_array_equal(roi.read_mask(bits(mask)), mask[extent.slices])
    np.testing.assert_array_equal(roi.to_source(mask[extent.slices].astype(np.float32)) > 0.5, mask[extent.slices])


@pytest.mark.parametrize("spacing_mm", [2.0, 3.1, 7.0])
def test_a_coarser_grid_sees_the_same_ramp(spacing_mm):
    roi = Roi.covering(GRID, BOX, spacing_mm)
    ramp = centres_ras(GRID) @ [1.0, 2.0, -0.5]
    expected = centres_ras(roi.grid) @ [1.0, 2.0, -0.5]
    np.testing.assert_allclose(roi.read(Volume(ramp, GRID.ijk_to_ras)), expected, atol=1.5)
    assert (roi.grid.spacing_mm <= max(spacing_mm, 2.0) + 1e-6).all()


def test_components_are_read_side_by_side():
    array = np.random.default_rng(0).integers(0, 255, (*GRID.shape_kji, 3)).astype(np.uint8)
    roi = Roi.covering(GRID, BOX, 3.0)
    for channel in range(3):
        alone = roi.read(Volume(array[..., channel], GRID.ijk_to_ras))
        np.testing.assert_allclose(roi.read(Volume(array, GRID.ijk_to_ras))[..., channel], alone, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_voxels_that_are_no_numbers_become_the_smallest_around(dtype):
    array = np.full((3, 4, 5), 7, dtype=dtype)
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2], array[0, 1, 0] = np.nan, np.inf, -np.inf, 5
    values = Roi.covering(Grid(array.shape, np.eye(4)), Extent.of_shape(array.shape), 1.0).read(Volume(array))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[[0, 1, 2, 0], [0, 1, 2, 1], [0, 1, 2, 0]], 5)


def test_a_region_may_reach_beyond_the_image():
    roi = Roi.centred(GRID, GRID.to_ras((0, 0, 0)), 2.0, (16, 16, 16))
    assert roi.grid.shape_kji == (16, 16, 16)
    np.testing.assert_allclose(middle_ras(roi.grid), GRID.to_ras((0, 0, 0)), atol=1e-9)
    assert (roi.read(Volume(np.full(GRID.shape_kji, 9), GRID.ijk_to_ras)) == 9).all()
    assert roi.cut_faces.tolist() == [[False, True]] * 3
    assert GRID.extent.contains(roi.extent)


def test_voxels_are_marked_where_they_lie():
    roi = Roi.covering(GRID, BOX, 4.0)
    marked = roi.mark([(4, 5, 6), (15, 24, 35), (0, 0, 0)])
    assert marked[0, 0, 0]
    assert marked[-1, -1, -1]
    assert marked.sum() == 2


@pytest.mark.parametrize("spacing_mm", [1.0, 2.5])
def test_a_ball_comes_back_as_it_was(spacing_mm):
    truth = ball(GRID, middle_ras(GRID), 9)
    roi = Roi.covering(GRID, Extent((2, 2, 2), (19, 28, 38)), spacing_mm)
    field = roi.read_mask(bits(truth)) - np.float32(0.5)
    result = np.zeros_like(truth)
    patch = roi.above(field)
    result[patch.extent.slices] = patch.mask_kji
    assert iou(result, truth) > 0.88
    np.testing.assert_array_equal(roi.to_source(field, patch.extent) > 0, patch.mask_kji)
    assert roi.above(field, 2.0).extent.size == 0


def test_a_region_around_something_holds_it_and_stays_in_the_image():
    bounds = Extent((8, 10, 12), (11, 15, 19))
    roi = Roi.around(GRID, bounds, 16.0, most_voxels=64)
    assert roi.extent.contains(bounds)
    assert GRID.extent.contains(roi.extent)
    assert max(np.array(roi.extent.shape_kji) * GRID.spacing_kji_mm) == pytest.approx(16.0, abs=2.5)
    assert max(Roi.around(GRID, bounds, 1000.0, most_voxels=10).shape_kji) == 10
    assert Roi.around(GRID, GRID.extent, 1.0, most_voxels=64).extent == GRID.extent


def test_only_a_face_beyond_which_the_image_goes_on_is_touched():
    roi = Roi.covering(GRID, Extent((0, 5, 6), (16, 30, 36)), 1.0)
    nk, nj, ni = roi.shape_kji
    assert not roi.touched_faces(Extent((1, 1, 1), (nk - 1, nj, ni - 1))).any()
    assert roi.touched_faces(Extent((0, 0, 0), (nk, nj, ni))).tolist() == [[False, True], [True, False], [True, True]]


@pytest.mark.parametrize("spacing_mm", [1.0, 3.0])
def test_a_box_on_the_working_grid_holds_each_of_its_voxels(spacing_mm):
    roi = Roi.covering(GRID, BOX, spacing_mm)
    part = Extent((5, 3, 10), (9, 12, 50))
    expected = np.zeros(GRID.shape_kji, dtype=bool)
    expected[part.slices] = True
    inside, centres = roi.box(part), roi.mark(np.argwhere(expected))
    assert inside[centres].all()
    extra = np.sum(inside.any(axis=(1, 2))) - np.sum(centres.any(axis=(1, 2)))
    assert extra <= 2 * (spacing_mm > 1)  # a coarse voxel that the box only touches counts, too
    assert not roi.box(Extent((0, 0, 0), (2, 2, 2))).any()


def test_a_field_is_carried_from_one_region_to_another():
    coarse, fine = Roi.covering(GRID, BOX, 3.0), Roi.covering(GRID, Extent((1, 8, 9), (12, 20, 30)), 1.2)
    ramp = (centres_ras(coarse.grid) @ [1.0, 2.0, -0.5]).astype(np.float32)
    carried = coarse.carried(ramp, fine)
    assert carried.shape == fine.shape_kji
    expected = centres_ras(fine.grid) @ [1.0, 2.0, -0.5]
    within = np.zeros(GRID.shape_kji, dtype=bool)
    within[BOX.padded(-3).slices] = True  # at the border, values are repeated
    inner = fine.read_mask(bits(within)) > 0.99
    assert inner.sum() > 100
    np.testing.assert_allclose(carried[inner], expected[inner], atol=1e-3)
    assert (carried[0] == 0).all()  # beyond the coarse region
