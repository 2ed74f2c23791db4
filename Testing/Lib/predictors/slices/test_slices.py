"""Slices show the voxels that they pass, wherever these lie, and masks go back to exactly these."""

from __future__ import annotations

import numpy as np
import pytest
from slice_phantoms import affine, ball, centres_ras, iou, middle_ras

from PromptSegLib.bitmask import BitMask
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.predictors.slices.oblique_slices import ObliqueSlice
from PromptSegLib.predictors.slices.slices import ArraySlice
from PromptSegLib.volume import Volume

GRIDS = {
    "square": Grid((12, 16, 16), affine()),
    "non-square": Grid((9, 14, 21), affine()),
    "anisotropic": Grid((7, 14, 21), affine(spacing=(0.7, 0.9, 4.0))),
    "flipped": Grid((9, 14, 21), affine(signs=(-1, 1, -1))),
    "permuted": Grid((9, 14, 21), affine(order=(2, 0, 1), signs=(1, -1, 1))),
    "turned": Grid((9, 14, 21), affine(turned_deg=31, spacing=(0.8, 1.1, 1.7))),
}
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
axes = pytest.mark.parametrize("axis", [0, 1, 2])
NORMAL = (0.35, -0.2, 0.9)


def numbered(grid):
    """Return a volume in which each voxel has a value of its own."""
    return Volume(np.arange(np.prod(grid.shape_kji), dtype=np.int32).reshape(grid.shape_kji), grid.ijk_to_ras)


def pixel_centres(plane):
    height, width = plane.shape_hw
    y, x = np.mgrid[:height, :width]
    return plane.points_ras(np.stack([x, y], axis=-1).reshape(-1, 2))


def as_bits(mask_kji):
    bits = BitMask(mask_kji.shape)
    bits.write(Extent.of_shape(mask_kji.shape), mask_kji)
    return bits


def laid_over(mask_kji, patch):
    result = mask_kji.copy()
    result[patch.extent.slices] = patch.mask_kji
    return result


@grids
@axes
def test_the_pixels_of_an_array_slice_are_the_voxels_at_their_centres(grid, axis):
    volume = numbered(grid)
    plane = ArraySlice(grid, axis, 5)
    k, j, i = grid.nearest_kji(pixel_centres(plane)).T
    assert ((i, j, k)[axis] == 5).all()
    np.testing.assert_array_equal(plane.pixels(volume).ravel(), volume.array[k, j, i])


@grids
@axes
def test_a_mask_on_an_array_slice_comes_back_as_it_went(grid, axis):
    rng = np.random.default_rng(3)
    plane = ArraySlice(grid, axis, 2)
    mask = rng.random(plane.shape_hw) > 0.5
    before = rng.random(grid.shape_kji) > 0.5
    after = laid_over(before, plane.patch(mask, as_bits(before)))
    np.testing.assert_array_equal(plane.read(as_bits(after)), mask)
    changed = np.moveaxis(after != before, 2 - axis, 0)
    assert not changed[[n for n in range(len(changed)) if n != 2]].any()


@grids
@axes
def test_colour_stays_colour(grid, axis):
    array = np.random.default_rng(0).integers(0, 255, (*grid.shape_kji, 3), dtype=np.uint8)
    plane = ArraySlice(grid, axis, 1)
    pixels = plane.pixels(Volume(array, grid.ijk_to_ras))
    k, j, i = grid.nearest_kji(pixel_centres(plane)).T
    np.testing.assert_array_equal(pixels.reshape(-1, 3), array[k, j, i])


@axes
@pytest.mark.parametrize("name", ["square", "flipped", "permuted"])
def test_slices_are_shown_as_radiologists_look_at_them(name, axis):
    plane = ArraySlice(GRIDS[name], axis, 1)
    right, down, along = plane.grid.directions.T
    expected = {0: ((0, -1, 0), (0, 0, -1)), 1: ((-1, 0, 0), (0, 0, -1)), 2: ((-1, 0, 0), (0, -1, 0))}
    wanted_right, wanted_down = expected[int(np.abs(along).argmax())]
    np.testing.assert_allclose(right, wanted_right, atol=1e-12)
    np.testing.assert_allclose(down, wanted_down, atol=1e-12)


def test_however_a_volume_is_stored_its_slice_looks_the_same():
    plain, flipped = GRIDS["non-square"], Grid((9, 14, 21), affine(signs=(-1, -1, 1)))
    array = np.random.default_rng(1).normal(size=plain.shape_kji)
    shown = ArraySlice(plain, 2, 4).pixels(Volume(array, plain.ijk_to_ras))
    stored_otherwise = np.flip(array, (1, 2))
    np.testing.assert_array_equal(ArraySlice(flipped, 2, 4).pixels(Volume(stored_otherwise, flipped.ijk_to_ras)), shown)


def test_an_array_without_geometry_has_rows_and_columns_as_stored():
    volume = numbered(Grid((3, 4, 5), np.eye(4)))
    np.testing.assert_array_equal(ArraySlice(volume.grid, 2, 1).pixels(volume), volume.array[1])
    np.testing.assert_array_equal(ArraySlice(volume.grid, 1, 1).pixels(volume), volume.array[:, 1])
    np.testing.assert_array_equal(ArraySlice(volume.grid, 0, 1).pixels(volume), volume.array[:, :, 1])


def test_a_slice_that_is_not_there_names_the_ones_that_are():
    with pytest.raises(GeometryError, match="slice 0 to 8 along k, got 9"):
        ArraySlice(GRIDS["non-square"], 2, 9)


@grids
def test_an_oblique_slice_shows_what_lies_on_its_plane(grid):
    gradient = np.array([0.3, -1.0, 2.0])
    volume = Volume(centres_ras(grid) @ gradient, grid.ijk_to_ras)
    plane = ObliqueSlice.through(grid, middle_ras(grid), NORMAL)
    pixels, points = plane.pixels(volume).ravel(), pixel_centres(plane)
    ijk = grid.to_ijk(points)
    between_centres = ((ijk >= 0) & (ijk <= np.subtract(grid.shape_kji[::-1], 1))).all(axis=1)
    assert between_centres.sum() > 50
    np.testing.assert_allclose(pixels[between_centres], points[between_centres] @ gradient, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(np.isnan(pixels), ~grid.contains(points))


@grids
def test_the_layers_of_an_oblique_stack_hold_each_voxel_once(grid):
    plane = ObliqueSlice.through(grid, middle_ras(grid), NORMAL)
    seen = np.zeros(grid.shape_kji, dtype=int)
    layers = 0
    for layer in range(-60, 60):
        beside = plane.neighbour(layer)
        if beside is not None:
            assert beside.shape_hw == plane.shape_hw
            assert plane.layers_to(beside) == pytest.approx(layer)
            everything = np.ones(beside.shape_hw, dtype=bool)
            patch = beside.patch(everything, None)
            seen[patch.extent.slices] += patch.mask_kji
            layers += 1
    assert layers > 5
    assert (seen == 1).all()


@grids
def test_a_mask_on_an_oblique_slice_touches_only_voxels_within_half_a_layer(grid):
    rng = np.random.default_rng(4)
    plane = ObliqueSlice.through(grid, middle_ras(grid) + 0.3, NORMAL)
    before = rng.random(grid.shape_kji) > 0.5
    after = laid_over(before, plane.patch(rng.random(plane.shape_hw) > 0.5, as_bits(before)))
    depth_mm = np.abs(centres_ras(grid) @ np.array(plane.normal_ras) - plane.depth_mm)
    assert (after != before).any()
    assert not (after != before)[depth_mm > plane.layer_mm / 2 + 1e-6].any()


@grids
def test_a_disk_on_an_oblique_slice_goes_to_its_voxels_and_back(grid):
    grid = Grid([4 * n for n in grid.shape_kji], grid.ijk_to_ras)
    centre = middle_ras(grid)
    radius = 0.35 * min(grid.shape_kji[::-1] * grid.spacing_mm)
    plane = ObliqueSlice.through(grid, centre, NORMAL)
    disk = (np.linalg.norm(pixel_centres(plane) - centre, axis=1) <= radius).reshape(plane.shape_hw)
    after = laid_over(np.zeros(grid.shape_kji, dtype=bool), plane.patch(disk, None))
    assert iou(plane.read(as_bits(after)), disk) > 0.9
    offsets = centres_ras(grid) - centre
    depth = offsets @ np.array(plane.normal_ras)
    near = np.abs(depth) <= plane.layer_mm / 2
    in_plane = np.linalg.norm(offsets - depth[..., None] * np.array(plane.normal_ras), axis=-1) <= radius
    assert iou(after, near & in_plane) > 0.9


def test_a_mask_that_changes_nothing_gives_an_empty_patch():
    grid = GRIDS["turned"]
    plane = ObliqueSlice.through(grid, middle_ras(grid), NORMAL)
    assert plane.patch(np.zeros(plane.shape_hw, dtype=bool), None).extent.size == 0


def test_a_stack_ends_where_the_image_ends():
    grid = GRIDS["non-square"]
    assert ArraySlice(grid, 2, 8).neighbour(1) is None
    assert ArraySlice(grid, 2, 8).neighbour(-8).key == ("k", 0)
    oblique = ObliqueSlice.through(grid, middle_ras(grid), NORMAL)
    assert oblique.neighbour(100) is None
    assert oblique.layers_to(ArraySlice(grid, 2, 0)) is None
    assert ArraySlice(grid, 2, 0).layers_to(ArraySlice(grid, 1, 0)) is None


def test_voxels_that_are_not_finite_leave_holes_and_no_halo():
    grid = Grid((9, 9, 9), np.diag([1.0, 1.0, 1.0, 1.0]))
    array = np.ones(grid.shape_kji)
    array[4, 4, 4], array[4, 4, 5], array[0, 0, 0] = np.nan, np.inf, -np.inf
    exact = ObliqueSlice.through(grid, (4, 4, 4), (0, 0, 1)).pixels(Volume(array))
    assert np.isnan(exact).sum() == 2
    slanted = ObliqueSlice.through(grid, (4, 4, 4), (0.3, 0.1, 1)).pixels(Volume(array, grid.ijk_to_ras))
    np.testing.assert_allclose(slanted[np.isfinite(slanted)], 1, rtol=1e-6)


def test_a_ball_filled_slice_by_slice_obliquely_is_a_ball():
    grid = Grid((40, 40, 40), affine(spacing=(1.0, 1.0, 1.5)))
    centre = middle_ras(grid)
    truth = ball(grid, centre, 16)
    plane = ObliqueSlice.through(grid, centre, NORMAL)
    mask = np.zeros(grid.shape_kji, dtype=bool)
    for layer in range(-40, 41):
        beside = plane.neighbour(layer)
        if beside is not None:
            disk = np.linalg.norm(pixel_centres(beside) - centre, axis=1).reshape(beside.shape_hw) <= 16
            mask = laid_over(mask, beside.patch(disk, as_bits(mask)))
    assert iou(mask, truth) > 0.95


def test_a_mask_that_was_read_is_what_torch_takes():
    """An array with flipped rows or columns is none, and so no mask in a volume of RAS order was carried on."""
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        grid = Grid((3, 4, 5), np.diag([*map(float, signs), 2.0, 1.0]))
        mask = as_bits(np.arange(60).reshape(3, 4, 5) % 7 == 0)
        assert ArraySlice(grid, 2, 1).read(mask).flags.c_contiguous
