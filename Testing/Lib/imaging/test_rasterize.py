"""Prompts as voxels, against tests of every voxel centre of the grid."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import Extent, Grid, affine_from_parts, apply_affine, flip_axes
from PromptSegLib.imaging.rasterize import mask_on_grid, rasterize
from PromptSegLib.prompts import Box, ClassPrompt, Lasso, MaskPrompt, Point, Scribble, TextPrompt, VoxelScribble

GRID = Grid((8, 10, 12), affine_from_parts((1.0, 2.0, 3.0), np.diag([-1, 1, -1]), (10, 20, 30)))
# As thin as it gets: what lies along the normal of an oblique plane is many voxels away in the slice.
THICK_SLICES = Grid((6, 40, 40), np.diag([0.5, 0.5, 10.0, 1.0]))


def whole(patch, grid):
    """Return the patch as a mask of all of `grid`."""
    mask = np.zeros(grid.shape_kji, dtype=bool)
    mask[patch.extent.slices] = patch.mask_kji
    return mask


def centres_ras(grid):
    return grid.to_ras(flip_axes(np.stack(np.indices(grid.shape_kji), axis=-1)))


def sheared(grid, amount):
    """Return `grid` as a tilted gantry makes it: slices shifted along j."""
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 2] += amount * matrix[:3, 1]
    return Grid(grid.shape_kji, matrix)


@given(strategies.grids(), st.data())
def test_a_click_marks_the_voxel_it_lies_in(grid, data):
    position = data.draw(strategies.positions_in(grid))
    expected = np.zeros(grid.shape_kji, dtype=bool)
    expected[tuple(np.rint(flip_axes(grid.to_ijk(position))).astype(int))] = True
    np.testing.assert_array_equal(whole(rasterize(Point(position), grid), grid), expected)


@given(strategies.grids(), st.data())
def test_a_scribble_of_voxels_marks_the_voxels_of_its_positions(grid, data):
    positions = data.draw(st.lists(strategies.positions_in(grid), min_size=1, max_size=6))
    expected = np.zeros(grid.shape_kji, dtype=bool)
    for position in positions:
        expected |= whole(rasterize(Point(position), grid), grid)
    np.testing.assert_array_equal(whole(rasterize(VoxelScribble(tuple(positions)), grid), grid), expected)


def test_positions_outside_are_left_out():
    inside, outside = GRID.to_ras([[3, 3, 3], [30, 3, 3]])
    assert whole(rasterize(VoxelScribble((inside, outside)), GRID), GRID).sum() == 1
    assert rasterize(Point(outside), GRID).extent.size == 0


def test_a_click_on_the_outermost_face_marks_the_last_voxel():
    assert whole(rasterize(Point(GRID.to_ras([11.5, 9.5, 7.5])), GRID), GRID)[-1, -1, -1]
    assert whole(rasterize(Point(GRID.to_ras([-0.5, -0.5, -0.5])), GRID), GRID)[0, 0, 0]


# Boxes


@given(strategies.grids(), st.data())
def test_a_box_from_indices_marks_just_these_voxels(grid, data):
    extent = data.draw(strategies.extents_in(grid.shape_kji))
    # One voxel thick along two axes is a 3D box of single voxels; along one, a 2D box on a slice.
    box = Box.from_indices(grid, flip_axes(extent.start_kji), flip_axes(extent.stop_kji) - 1)
    expected = np.zeros(grid.shape_kji, dtype=bool)
    expected[extent.slices] = True
    np.testing.assert_array_equal(whole(rasterize(box, grid), grid), expected)


def box_by_brute_force(box, grid):
    local = apply_affine(np.linalg.inv(box.box_to_ras), centres_ras(grid))
    inside = np.ones(grid.shape_kji, dtype=bool)
    margin = np.inf
    for axis, (side, direction) in enumerate(zip(box.size_mm, box.axes, strict=True)):
        layer = np.abs(np.array(direction) @ grid.ijk_to_ras[:3, :3]).max()
        half = side / 2 if side > 0 else layer / 2
        inside &= np.abs(local[..., axis]) <= half
        margin = min(margin, np.abs(np.abs(local[..., axis]) - half).min())
    return inside, margin


@given(strategies.grids(), st.floats(-0.5, 0.5), st.data())
def test_a_box_marks_the_voxels_whose_centre_it_holds(grid, shear, data):
    box = data.draw(strategies.boxes_in(grid))
    grid = sheared(grid, shear)
    expected, margin = box_by_brute_force(box, grid)
    assume(margin > 1e-4)
    np.testing.assert_array_equal(whole(rasterize(box, grid), grid), expected)


@pytest.mark.parametrize("normal", [0, 1, 2])
def test_a_2d_box_between_two_slices_marks_one_of_them(normal):
    centre_ijk = np.array([5.0, 5.0, 4.0])
    centre_ijk[normal] += 0.5
    size = np.array([6.0, 8.0, 9.0])
    size[normal] = 0
    marked = whole(rasterize(Box(GRID.to_ras(centre_ijk), size), GRID), GRID)
    others = tuple(a for a in range(3) if a != 2 - normal)
    assert marked.any(axis=others).sum() == 1


def test_a_2d_box_across_an_oblique_grid_is_one_voxel_thick_everywhere():
    grid = Grid((20, 20, 20), affine_from_parts((1, 1, 1), strategies.rotation(8), (0, 0, 0)))
    box = Box(grid.to_ras((10, 10, 10)), (12, 12, 0))
    marked = whole(rasterize(box, grid), grid)
    main = 2 - int(np.abs(grid.directions[2]).argmax())
    columns = marked.sum(axis=main)
    assert columns.max() == 1
    assert columns.sum() == pytest.approx(12 * 12 * np.abs(grid.directions[2]).max(), rel=0.15)


def test_a_box_around_the_image_marks_all_of_it():
    assert whole(rasterize(Box(GRID.to_ras((5, 5, 4)), (500, 500, 500)), GRID), GRID).all()


# Scribbles


@given(strategies.grids(), st.floats(0.1, 12), st.floats(-0.5, 0.5), st.data())
def test_a_brush_marks_what_is_within_its_radius_and_what_it_passed(grid, width, shear, data):
    points = np.array(data.draw(st.lists(strategies.positions_in(grid), min_size=1, max_size=4)))
    grid = sheared(grid, shear)
    distance = np.full(grid.shape_kji, np.inf)
    centres = centres_ras(grid)
    for start, end in itertools.pairwise(points if len(points) > 1 else [*points, *points]):
        span = end - start
        along = np.clip((centres - start) @ span / max(span @ span, 1e-12), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(centres - start - along[..., None] * span, axis=-1))
    assume(np.abs(distance - width / 2).min() > 1e-4)
    passed = whole(rasterize(Scribble(points), grid), grid)
    expected = (distance <= width / 2) | passed
    np.testing.assert_array_equal(whole(rasterize(Scribble(points, width), grid), grid), expected)


@given(strategies.grids(), st.data())
def test_a_thin_scribble_marks_the_voxels_it_passes_without_a_gap(grid, data):
    points = np.array(data.draw(st.lists(strategies.positions_in(grid), min_size=2, max_size=4)))
    marked = whole(rasterize(Scribble(points), grid), grid)
    fractions = np.linspace(0, 1, 2000)[:, None]
    path_ijk = grid.to_ijk(np.concatenate([a + (b - a) * fractions for a, b in itertools.pairwise(points)]))
    # A voxel that the line enters for more than its very face is marked; every voxel marked is one it touches.
    deep = np.abs(path_ijk - np.rint(path_ijk)).max(axis=1) < 0.5 - 1e-4
    entered = np.rint(path_ijk[deep]).astype(int)
    assert marked[tuple(flip_axes(entered).T)].all()
    step = np.abs(np.diff(path_ijk, axis=0)).max(initial=0)
    for voxel_kji in np.argwhere(marked):
        assert np.abs(path_ijk - flip_axes(voxel_kji)).max(axis=1).min() <= 0.5 + step + 1e-5
    assert marked[tuple(grid.nearest_kji(points).T)].all()


def test_a_brush_that_runs_beside_the_image_marks_what_it_reaches():
    points = GRID.to_ras([[-1, 0, 4], [-1, 9, 4], [3, 9, 4]])
    marked = whole(rasterize(Scribble(points, 6.0), GRID), GRID)
    assert marked[4, :, 0].all()


def test_a_brush_at_the_edge_marks_no_voxel_beyond_it():
    patch = rasterize(Scribble((GRID.to_ras((0, 0, 0)),), 8.0), GRID)
    assert GRID.extent.contains(patch.extent)
    assert patch.mask_kji[0, 0, 0]


# Lassos


def winds_around(points, corners):
    """Tell for each of `points` : (..., 2) whether the polygon's winding number there is odd."""
    total = np.zeros(points.shape[:-1])
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        u, v = a - points, b - points
        total += np.arctan2(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0], (u * v).sum(axis=-1))
    return np.rint(total / (2 * np.pi)).astype(int) % 2 == 1


def distance_to_outline(points, corners):
    nearest = np.full(points.shape[:-1], np.inf)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - a - along[..., None] * (b - a), axis=-1))
    return nearest


def assert_lasso_is_right(lasso, grid):
    points = lasso.positions_ras()
    normal = lasso.normal_ras
    frame = np.linalg.svd(normal[None])[2][1:]
    offsets = centres_ras(grid) - points.mean(axis=0)
    outline = (points - points.mean(axis=0)) @ frame.T
    half = np.abs(normal @ grid.ijk_to_ras[:3, :3]).max() / 2
    depth = np.abs(offsets @ normal)
    expected = (depth <= half) & winds_around(offsets @ frame.T, outline)
    near = np.abs(depth - half) < 1e-4
    assume(not near.any())
    assume(distance_to_outline((offsets @ frame.T)[depth <= half + 1e-3], outline).min(initial=1) > 1e-4)
    marked = whole(rasterize(lasso, grid), grid)
    if expected.any():
        np.testing.assert_array_equal(marked, expected)
    else:
        np.testing.assert_array_equal(marked, whole(rasterize(VoxelScribble(points), grid), grid))


@given(strategies.grids(), st.data())
def test_a_lasso_marks_the_voxels_it_surrounds_one_slice_thick(grid, data):
    assert_lasso_is_right(Lasso(data.draw(strategies.polygons_in(grid))), grid)


@given(st.data())
def test_a_lasso_on_an_oblique_plane_through_thick_slices_loses_no_voxel(data):
    assert_lasso_is_right(Lasso(data.draw(strategies.polygons_in(THICK_SLICES))), THICK_SLICES)


def test_a_lasso_on_a_slice_marks_that_slice_alone():
    corners = [[1.6, 1.6, 3], [8.4, 1.6, 3], [8.4, 6.4, 3], [1.6, 6.4, 3]]
    marked = whole(rasterize(Lasso(GRID.to_ras(corners)), GRID), GRID)
    expected = np.zeros(GRID.shape_kji, dtype=bool)
    expected[3, 2:7, 2:9] = True
    np.testing.assert_array_equal(marked, expected)


def test_a_lasso_smaller_than_a_voxel_marks_the_voxel_it_passes():
    corners = np.array([[3.1, 3.1, 3], [3.3, 3.1, 3], [3.2, 3.3, 3]])
    marked = whole(rasterize(Lasso(GRID.to_ras(corners)), GRID), GRID)
    assert marked[3, 3, 3]
    assert marked.sum() == 1


# Masks


@given(strategies.grids(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.data())
def test_a_mask_on_a_permuted_flipped_and_cropped_grid_lands_exactly(grid, order, flips, data):
    mask = data.draw(strategies.masks(grid.shape_kji))
    crop = data.draw(strategies.extents_in(grid.shape_kji))
    mask[crop.start_kji] = True
    expected = np.zeros_like(mask)
    expected[crop.slices] = mask[crop.slices]
    array, matrix = np.transpose(mask[crop.slices], order), grid.cropped(crop).ijk_to_ras.copy()
    matrix[:3, :3] = matrix[:3, :3][:, flip_axes([2 - axis for axis in order])]
    for axis in np.flatnonzero(flips):
        array = np.flip(array, axis)
        matrix[:3, 3] += matrix[:3, 2 - axis] * (array.shape[axis] - 1)
        matrix[:3, 2 - axis] *= -1
    np.testing.assert_array_equal(whole(mask_on_grid(MaskPrompt(array, matrix), grid), grid), expected)


def test_a_mask_of_another_spacing_is_taken_at_the_voxel_centres():
    coarse = MaskPrompt(np.ones((2, 2, 2)), np.diag([4.0, 4.0, 4.0, 1.0]))
    grid = Grid((10, 10, 10), np.diag([1.0, 1.0, 1.0, 1.0]))
    expected = np.zeros(grid.shape_kji, dtype=bool)
    expected[:6, :6, :6] = True  # From -2 to 6 mm.
    marked = whole(rasterize(coarse, grid), grid)
    np.testing.assert_array_equal(marked, expected)


def test_a_mask_larger_than_the_image_is_cut_to_it():
    around = np.diag([1.0, 1.0, 1.0, 1.0])
    around[:3, 3] = -50
    patch = rasterize(MaskPrompt(np.ones((100, 100, 100)), around), Grid((4, 5, 6), np.eye(4)))
    assert patch.extent == Extent.of_shape((4, 5, 6))
    assert patch.mask_kji.all()


@pytest.mark.parametrize("prompt", [ClassPrompt("liver"), TextPrompt("the liver")])
def test_a_name_has_no_voxels(prompt):
    with pytest.raises(PromptError, match="expected a prompt with a place"):
        rasterize(prompt, GRID)


@given(strategies.grids(), st.data())
def test_what_a_line_marks_does_not_depend_on_how_far_it_goes_on_outside(grid, data):
    inside = np.array(data.draw(strategies.positions_in(grid)))
    direction = np.array(data.draw(st.sampled_from([(1, 0, 0), (0, -1, 0), (0.6, 0, 0.8), (-0.48, 0.6, 0.64)])))
    width = data.draw(st.sampled_from([0.0, 1.5]))
    size = float(np.linalg.norm(grid.bounds_ras[1] - grid.bounds_ras[0]))
    near, far = (tuple(inside + direction * reach) for reach in (2 * size, 1e5 * size))
    marked = [whole(rasterize(Scribble((tuple(inside), end), width), grid), grid) for end in (near, far)]
    # A centre just at the brush's edge may fall to either side.
    assert np.count_nonzero(marked[0] != marked[1]) <= max(1, marked[0].sum() // 20)


@pytest.mark.parametrize("far", [1e5, 1e7, 1e9])
def test_a_stroke_to_far_outside_takes_no_time_and_no_memory(far):
    begun = time.perf_counter()
    tracemalloc.start()
    patch = rasterize(Scribble(((-10.0, 20.0, 0.0), (far, 20.0, 0.0)), 1.0), GRID)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20
    assert time.perf_counter() - begun < 5
    assert patch.extent.intersection(GRID.extent) == patch.extent


@pytest.mark.parametrize(
    "prompt",
    [
        Scribble(tuple((float(n % 2) * 200, float(n % 3) * 200, 0.0) for n in range(9_000)), 0.0),
        Scribble(tuple((float(n % 90), float(n % 7), 0.0) for n in range(9_000)), 200.0),
        Scribble(tuple((float(n % 90), float(n % 7), 0.0) for n in range(11_000)), 1.0),
        Lasso(tuple((n / 50, 200.0 * (n % 2), 10.0) for n in range(9_000))),
        Lasso(tuple((float(n % 90), float(n % 7), 10.0) for n in range(11_000))),
    ],
    ids=["to and fro", "wide", "long", "lasso to and fro", "long lasso"],
)
def test_a_drawing_that_would_take_minutes_is_refused_at_once(prompt):
    grid = Grid((200, 200, 200), np.eye(4))
    begun = time.perf_counter()
    with pytest.raises(PromptError, match=r"expected a (scribble|lasso)"):
        rasterize(prompt, grid)
    assert time.perf_counter() - begun < 10


def test_a_brush_marks_what_is_near_its_line_wherever_it_is_cut():
    """Against the distance of every voxel's centre, on a line that is cut into many pieces."""
    grid = sheared(Grid((40, 60, 50), affine_from_parts((1.0, 0.7, 1.3), np.eye(3), (0, 0, 0))), 0.3)
    start, end = grid.to_ras([[2, 3, 1], [45, 55, 38]])
    marked = whole(rasterize(Scribble((start, end), 4.2), grid), grid)
    along = np.clip((centres_ras(grid) - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    near = np.linalg.norm(centres_ras(grid) - start - along[..., None] * (end - start), axis=-1) <= 2.1
    assert near[~marked].sum() == 0
    assert (marked & ~near).sum() < 60, "the voxels that the line itself passes are marked, too"
