"""Windows of cubic voxels over an image, and the way back, however the image lies."""

from __future__ import annotations

import numpy as np
import pytest
from slice_phantoms import affine, ball

from PromptSegLib.bitmask import BitMask
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.predictors.cubes.cubic_lattice import CubicLattice

GRIDS = {
    "RAS": Grid((14, 22, 30), affine(spacing=(1.0, 1.2, 3.0))),
    "LPI": Grid((14, 22, 30), affine(spacing=(1.0, 1.2, 3.0), signs=(-1, -1, -1))),
    "permuted": Grid((14, 22, 30), affine(spacing=(1.0, 1.2, 3.0), order=(2, 0, 1))),
    "oblique": Grid((14, 22, 30), affine(spacing=(1.0, 1.2, 3.0), signs=(1, -1, 1), turned_deg=25)),
}
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def positions_along(grid, axis):
    """Return one coordinate of each voxel (k, j, i) in the lattice, continuous."""
    index = np.stack(np.indices(grid.shape_kji), axis=-1)[..., ::-1]
    return CubicLattice(grid, 1.5).positions(grid.to_ras(index))[..., axis]


@grids
@pytest.mark.parametrize("axis", range(3))
def test_a_window_holds_the_values_of_the_places_it_lies_at(grid, axis):
    lattice = CubicLattice(grid, 1.5)
    window = lattice.read(positions_along(grid, axis).astype(np.float32), (2, 3, 2), 8)
    expected = np.arange(8) + (2, 3, 2)[axis]
    np.testing.assert_allclose(np.moveaxis(window, axis, -1)[1:7, 1:7], np.broadcast_to(expected, (6, 6, 8)), atol=1e-3)


@grids
def test_the_first_voxel_of_the_lattice_touches_the_first_faces_of_the_image_in_ras_order(grid):
    lattice = CubicLattice(grid, 1.5)
    corners = lattice.positions(grid.to_ras(np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in (30, 22, 14)])).T))
    np.testing.assert_allclose(corners.reshape(-1, 3).min(axis=0), -0.5, atol=1e-9)
    np.testing.assert_allclose(corners.reshape(-1, 3).max(axis=0) + 0.5, lattice.faces[1], atol=1e-6)
    directions = lattice.ordered.directions
    assert (np.abs(directions).argmax(axis=0) == range(3)).all()
    assert (np.diag(directions) > 0.7).all()


@grids
def test_there_is_nothing_beyond_the_image_and_where_there_is_no_number(grid):
    lattice = CubicLattice(grid, 1.5)
    array = np.full(grid.shape_kji, 7, dtype=np.float32)
    array[:, :, 0] = np.nan
    window = lattice.read(array, (-4, -4, -4), 8)
    assert (window[:4] == 0).all()
    assert np.isfinite(window).all()
    assert window.max() == 7
    assert not lattice.read(array, (500, 0, 0), 4).any()


def test_values_are_converted_before_they_are_mixed():
    grid = Grid((4, 4, 4), np.diag([3.0, 3.0, 3.0, 1.0]))
    array = np.zeros((4, 4, 4), dtype=np.int16)
    array[:, :, 2:] = 100
    window = CubicLattice(grid, 1.5).read(array, (0, 0, 0), 8, lambda values: (values > 50).astype(np.float32))
    np.testing.assert_allclose(window[:, 4, 4], [0, 0, 0, 0.25, 0.75, 1, 1, 1])


@grids
def test_a_mask_comes_back_to_its_voxels_by_its_share_of_each_coarse_one(grid):
    lattice = CubicLattice(grid, 1.5)
    mask = BitMask(grid.shape_kji)
    mask.write(grid.extent, np.ones(grid.shape_kji, dtype=bool))
    filled = lattice.read_mask(mask, (0, 0, 0), 4, 4)
    np.testing.assert_allclose(filled, 1, atol=1e-6)
    low, high = lattice.bounds(mask)
    np.testing.assert_allclose([low, high], lattice.faces, atol=1e-9)
    assert lattice.bounds(BitMask(grid.shape_kji)) is None
    assert not lattice.read_mask(BitMask(grid.shape_kji), (0, 0, 0), 4, 4).any()


@grids
def test_the_share_is_half_where_the_mask_ends_in_the_middle_of_a_voxel(grid):
    lattice = CubicLattice(grid, 1.5)
    mask = BitMask(grid.shape_kji)
    mask.write(grid.extent, positions_along(grid, 0) < 5.5)
    filled = lattice.read_mask(mask, (0, 0, 0), 4, 4).mean(axis=(1, 2))
    # The mask ends with a whole voxel, 3 mm at most, of which half may be too much or too little.
    assert filled[0] == pytest.approx(1)
    assert filled[1] == pytest.approx(0.5, abs=0.25)
    assert filled[2] == 0


@grids
def test_a_change_is_a_box_of_what_changes_and_makes_the_mask_follow_the_field(grid):
    lattice = CubicLattice(grid, 1.5)
    center = grid.to_ras((15, 11, 7))
    middle = lattice.positions(center)
    index = np.stack(np.indices((16, 16, 16)), axis=-1)
    field = 6 - 1.5 * np.linalg.norm(index + np.array((2, 2, 5)) - middle, axis=-1)
    mask = BitMask(grid.shape_kji)
    patch = lattice.change(field.astype(np.float32), (2, 2, 5), 0.0, mask)
    mask.write(patch.extent, patch.mask_kji)
    wanted = ball(grid, center, 6)
    found = mask.read()
    assert patch.extent == Extent.of_mask(found)
    assert (found ^ wanted).sum() < 0.1 * wanted.sum()
    assert lattice.change(field.astype(np.float32), (2, 2, 5), 0.0, mask).extent.size == 0
    cleared = lattice.change(np.full((16, 16, 16), -1, np.float32), (2, 2, 5), 0.0, mask)
    assert cleared.extent == patch.extent
    assert not cleared.mask_kji.any()


@grids
def test_a_change_leaves_what_lies_outside_of_its_window(grid):
    lattice = CubicLattice(grid, 1.5)
    mask = BitMask(grid.shape_kji)
    mask.write(grid.extent, np.ones(grid.shape_kji, dtype=bool))
    patch = lattice.change(np.full((6, 6, 6), -1, np.float32), (2, 2, 5), 0.0, mask)
    mask.write(patch.extent, patch.mask_kji)
    index = np.stack([positions_along(grid, axis) for axis in range(3)], axis=-1)
    depth = np.minimum(index - (1.5, 1.5, 4.5), (7.5, 7.5, 10.5) - index).min(axis=-1)
    assert not mask.read()[depth > 1e-3].any()
    assert mask.read()[depth < -1e-3].all()
    assert (depth > 1e-3).any()
