"""Frames, axes and boxes."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import (
    AxisMap,
    Extent,
    Grid,
    affine_from_parts,
    apply_affine,
    checked_affine,
    flip_axes,
    lps_from_ras,
    transpose_kji_to_ijk,
)

OBLIQUE = affine_from_parts((0.7, 0.8, 3.0), strategies.rotation(3), (-120.0, 35.0, 60.0))


@given(strategies.grids(max_side=600), strategies.seeds)
def test_ijk_to_ras_and_back_is_the_identity(grid, seed):
    points = np.random.default_rng(seed).uniform(-0.5, 1.0, (20, 3)) * flip_axes(grid.shape_kji)
    back = grid.to_ijk(grid.to_ras(points))
    # Relative to the coordinates that occur on the way: an origin far away costs digits.
    scale = np.abs(points).max() + np.abs(grid.ijk_to_ras[:3, 3]).max() / grid.spacing_mm.min()
    np.testing.assert_allclose(back, points, rtol=0, atol=1e-9 * scale)


@given(strategies.grids())
def test_every_voxel_centre_is_nearest_to_its_own_voxel(grid):
    index_kji = np.stack(np.indices(grid.shape_kji), axis=-1).reshape(-1, 3)
    centres_ras = grid.to_ras(flip_axes(index_kji))
    np.testing.assert_array_equal(grid.nearest_kji(centres_ras), index_kji)
    assert grid.contains(centres_ras).all()


@pytest.mark.parametrize("spacing_mm", [0.1, 0.3, 0.7, 1.1])
def test_a_point_on_the_face_between_two_voxels_belongs_to_the_upper_one_whatever_the_last_bit(spacing_mm):
    grid = Grid((3, 3, 200), affine_from_parts((spacing_mm, 1.0, 1.0), np.eye(3), (-31.7, 0.0, 0.0)))
    faces = np.arange(1, 200)
    points_ras = [(-31.7 + (face - 0.5) * spacing_mm, 1.0, 1.0) for face in faces]
    np.testing.assert_array_equal(grid.nearest_kji(points_ras)[:, 2], faces)


@given(strategies.grids(), st.floats(0.5, 0.999), st.sampled_from([-1, 1]), st.integers(0, 2))
def test_a_voxel_reaches_half_a_spacing_from_its_centre(grid, fraction, sign, axis):
    corner_ijk = np.zeros(3) if sign < 0 else flip_axes(grid.shape_kji) - 1.0
    step = np.eye(3)[axis] * sign
    assert grid.contains(grid.to_ras(corner_ijk + step * (1 - fraction)))
    assert not grid.contains(grid.to_ras(corner_ijk + step * (0.501 + 0.5 * fraction)))


@given(strategies.grids(), strategies.seeds)
def test_positions_written_in_lps_are_the_same_places(grid, seed):
    points_ijk = np.random.default_rng(seed).uniform(0, 9, (5, 3))
    lps = affine_from_parts(
        grid.spacing_mm,
        lps_from_ras(grid.directions.T).T,
        lps_from_ras(grid.ijk_to_ras[:3, 3]),
    )
    np.testing.assert_allclose(lps_from_ras(apply_affine(lps, points_ijk)), grid.to_ras(points_ijk), atol=1e-9)


def test_flipping_axes_twice_and_transposing_twice_change_nothing():
    array = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(flip_axes([1, 2, 3]), [3, 2, 1])
    np.testing.assert_array_equal(flip_axes(flip_axes(array)), array)
    assert transpose_kji_to_ijk(array).shape == (4, 3, 2)
    assert np.shares_memory(transpose_kji_to_ijk(array), array)
    np.testing.assert_array_equal(transpose_kji_to_ijk(transpose_kji_to_ijk(array)), array)


@given(strategies.grids(), st.data())
def test_the_voxels_of_a_cropped_grid_stay_where_they_were(grid, data):
    extent = data.draw(strategies.extents_in(grid.shape_kji))
    cropped = grid.cropped(extent)
    index_kji = np.stack(np.indices(extent.shape_kji), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(
        cropped.to_ras(flip_axes(index_kji)), grid.to_ras(flip_axes(index_kji + extent.start_kji)), atol=1e-9
    )


@given(strategies.grids())
def test_bounds_hold_the_outer_faces_of_all_voxels(grid):
    low, high = grid.bounds_ras
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in flip_axes(grid.shape_kji)]), axis=-1).reshape(-1, 3)
    corners_ras = grid.to_ras(corners)
    np.testing.assert_allclose(low, corners_ras.min(axis=0))
    np.testing.assert_allclose(high, corners_ras.max(axis=0))


@pytest.mark.parametrize(
    ("diagonal", "letters"), [((1, 1, 1), "RAS"), ((-1, -1, 1), "LPS"), ((-1, 1, -1), "LAI"), ((1, -1, -1), "RPI")]
)
def test_orientation_names_where_the_axes_point(diagonal, letters):
    assert Grid((2, 2, 2), np.diag([*diagonal, 1.0])).orientation == letters


def test_orientation_follows_permuted_axes():
    sagittal = affine_from_parts((1, 1, 2), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], (0, 0, 0))
    assert Grid((4, 4, 4), sagittal).orientation == "ASR"
    assert not Grid((4, 4, 4), sagittal).is_oblique
    assert Grid((4, 4, 4), OBLIQUE).is_oblique


def test_spacing_is_the_length_of_a_voxel_on_an_oblique_grid():
    grid = Grid((4, 5, 6), OBLIQUE)
    np.testing.assert_allclose(grid.spacing_mm, [0.7, 0.8, 3.0])
    np.testing.assert_allclose(grid.spacing_kji_mm, [3.0, 0.8, 0.7])


def test_equal_grids_have_equal_hashes_and_others_differ():
    grid = Grid((3, 4, 5), np.eye(4))
    signed_zeros = np.eye(4)
    signed_zeros[:3, 3] = -0.0
    assert grid == Grid((3, 4, 5), signed_zeros)
    assert hash(grid) == hash(Grid((3, 4, 5), signed_zeros))
    assert grid != Grid((3, 4, 6), np.eye(4))
    assert grid != Grid((3, 4, 5), np.diag([1, 1, 1 + 1e-9, 1]))
    assert grid != "a grid"


def test_grids_match_when_no_corner_is_off_by_more_than_the_tolerance():
    grid = Grid((100, 100, 100), np.eye(4))
    assert grid.matches(Grid((100, 100, 100), np.diag([1 + 5e-6, 1, 1, 1])))
    assert not grid.matches(Grid((100, 100, 100), np.diag([1 + 5e-5, 1, 1, 1])))
    assert not grid.matches(Grid((100, 100, 99), np.eye(4)))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), r"4x4 affine from IJK to RAS, got an array of shape \(3, 3\)"),
        (np.diag([1.0, 1.0, 0.0, 1.0]), "three independent axes"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), "finite affine"),
        (np.diag([1.0, np.inf, 1.0, 1.0]), "finite affine"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
        ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "three independent axes"),
    ],
)
def test_an_affine_that_describes_no_image_is_refused(matrix, message):
    with pytest.raises(GeometryError, match=message):
        checked_affine(matrix)


@pytest.mark.parametrize("spacing_mm", [1e-6, 1e6])
def test_tiny_and_huge_voxels_are_placed_exactly(spacing_mm):
    grid = Grid((3, 3, 3), np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0]))
    np.testing.assert_array_equal(grid.nearest_kji(grid.to_ras([2, 1, 0])), [0, 1, 2])


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4), (4, 4, -1)])
def test_a_grid_without_voxels_is_refused(shape):
    with pytest.raises(GeometryError, match="at least one voxel"):
        Grid(shape, np.eye(4))


def test_the_affine_of_a_grid_cannot_be_changed():
    grid = Grid((2, 2, 2), OBLIQUE)
    for matrix in (grid.ijk_to_ras, grid.ras_to_ijk):
        with pytest.raises(ValueError, match="read-only"):
            matrix[0, 0] = 5
    assert OBLIQUE.flags.writeable, "the caller's own array stays the caller's"


# Boxes of voxels


def _marked(extent, shape=(34, 34, 34), offset=8):
    mask = np.zeros(shape, dtype=bool)
    mask[extent.shifted((offset,) * 3).slices] = True
    return mask


@given(strategies.extents(), strategies.extents())
def test_the_intersection_holds_what_both_hold(a, b):
    np.testing.assert_array_equal(_marked(a.intersection(b)), _marked(a) & _marked(b))
    assert a.intersection(b).size == b.intersection(a).size == (_marked(a) & _marked(b)).sum()


@given(strategies.extents(), strategies.extents())
def test_the_union_is_the_smallest_box_that_holds_both(a, b):
    union = a.union(b)
    both = Extent.of_mask(_marked(a) | _marked(b))
    if both is None:
        assert union.size == 0
    else:
        assert union.shifted((8, 8, 8)) == both
        assert union == b.union(a)
        assert all(union.contains(box) for box in (a, b) if box.size)
    assert a.union(None) == a


@given(strategies.extents(), strategies.extents(empty=False))
def test_a_box_contains_another_when_it_adds_no_voxel(a, b):
    assert a.contains(b) == (not (_marked(b) & ~_marked(a)).any())


@given(strategies.extents(), st.tuples(*[st.integers(0, 4)] * 3), st.tuples(*[st.integers(-9, 9)] * 3))
def test_padding_and_shifting_are_taken_back_by_their_opposites(box, margin, offset):
    assert box.padded(margin).padded([-m for m in margin]) == box
    assert box.shifted(offset).shifted([-o for o in offset]) == box
    assert box.padded(2) == box.padded((2, 2, 2))


@given(st.data())
def test_the_box_of_a_mask_holds_it_tightly(data):
    mask = data.draw(strategies.masks((6, 7, 8)))
    extent = Extent.of_mask(mask)
    if extent is None:
        assert not mask.any()
        return
    assert mask[extent.slices].sum() == mask.sum()
    assert all(mask[extent.slices].take(end, axis=axis).any() for axis in range(3) for end in (0, -1))


@given(st.data())
def test_a_box_indexes_the_same_voxels_in_the_whole_array_and_in_an_outer_box(data):
    array = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    outer = data.draw(strategies.extents_in(array.shape))
    inner = outer.intersection(data.draw(strategies.extents_in(array.shape)))
    np.testing.assert_array_equal(array[outer.slices][inner.slices_within(outer)], array[inner.slices])


@given(strategies.seeds)
def test_the_box_of_points_holds_the_voxel_nearest_to_each(seed):
    points_ijk = np.random.default_rng(seed).uniform(-20, 20, (7, 3))
    extent = Extent.of_points(points_ijk)
    nearest = flip_axes(np.rint(points_ijk)).astype(int)
    assert extent.start_kji == tuple(nearest.min(axis=0).tolist())
    assert extent.stop_kji == tuple((nearest.max(axis=0) + 1).tolist())


@given(strategies.grids(max_side=9), strategies.seeds)
def test_an_axis_map_brings_each_voxel_to_the_voxel_at_its_place(source, seed):
    numbers = np.random.default_rng(seed)
    order, signs, offset = numbers.permutation(3), numbers.choice([-1, 1], 3), numbers.integers(-20, 20, 3)
    turn = np.eye(4)
    turn[:3, :3] = np.eye(3)[:, order] * signs
    turn[:3, 3] = offset
    other_ijk_to_ras = source.ijk_to_ras @ turn
    axis_map = AxisMap.between(source, other_ijk_to_ras)
    start_kji = numbers.integers(0, source.shape_kji)
    box = axis_map.extent(Extent(tuple(start_kji), tuple(start_kji + 1)))
    assert box.size == 1
    there_ras = apply_affine(other_ijk_to_ras, flip_axes(box.start_kji))
    scale = np.abs(source.ijk_to_ras).max()
    np.testing.assert_allclose(there_ras, source.to_ras(flip_axes(start_kji)), atol=1e-9 * scale)
    assert AxisMap.between(source, source.ijk_to_ras).is_identity


@pytest.mark.parametrize("axis", range(3))
def test_an_axis_map_is_given_only_where_no_voxel_is_off_by_more_than_the_tolerance(axis):
    grid = Grid((20, 200, 50), affine_from_parts((1.0, 1.0, 1.0), np.eye(3), (0, 0, 0)))

    def other(scale, shift, sheared=0.0):
        change = np.eye(4)
        change[axis, axis], change[axis, 3], change[axis, (axis + 1) % 3] = scale, shift, sheared
        return np.linalg.inv(change)

    side, beside = flip_axes(grid.shape_kji)[[axis, (axis + 1) % 3]]
    assert AxisMap.between(grid, other(1, 0.9e-3)).is_identity
    assert AxisMap.between(grid, other(1, -0.9e-3)).is_identity
    assert AxisMap.between(grid, other(1, 1.1e-3)) is None
    assert AxisMap.between(grid, other(1, -1.1e-3)) is None
    assert AxisMap.between(grid, other(1 + 0.9e-3 / side, 0)).is_identity  # its last voxel is the farthest off
    assert AxisMap.between(grid, other(1 + 1.1e-3 / side, 0)) is None
    assert AxisMap.between(grid, other(1, 0, 0.9e-3 / beside)).is_identity
    assert AxisMap.between(grid, other(1, 0, 1.1e-3 / beside)) is None
    assert AxisMap.between(grid, other(1, 1.1e-3), tolerance=1.2e-3).is_identity
    assert AxisMap.between(grid, other(2, 0)) is None
    assert AxisMap.between(grid, other(1, 0, 1)) is None
