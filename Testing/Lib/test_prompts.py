"""Prompts validate themselves."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from PromptSegLib.errors import GeometryError, PromptError
from PromptSegLib.geometry import Grid, affine_from_parts
from PromptSegLib.prompts import (
    Box,
    ClassPrompt,
    Lasso,
    MaskPrompt,
    Point,
    Scribble,
    TextPrompt,
    VoxelScribble,
    check_inside,
)

GRID = Grid((10, 20, 30), affine_from_parts((1.0, 2.0, 3.0), strategies.rotation(5), (10.0, -20.0, 30.0)))
SQUARE = ((0, 0, 0), (10, 0, 0), (10, 10, 0), (0, 10, 0))


@given(st.data())
def test_prompts_are_values_they_compare_hash_and_pickle(data):
    prompt = data.draw(strategies.prompts_in(GRID))
    copy = pickle.loads(pickle.dumps(prompt))
    assert copy == prompt
    assert hash(copy) == hash(prompt)
    check_inside(prompt, GRID)


def test_prompts_cannot_be_changed():
    with pytest.raises(AttributeError):
        Point((1, 2, 3)).position_ras = (4, 5, 6)
    with pytest.raises(ValueError, match="read-only"):
        MaskPrompt(np.ones((2, 2, 2)), np.eye(4)).mask_kji[0, 0, 0] = False


def test_arrays_are_taken_for_positions_and_kept_as_floats():
    point = Point(np.array([1, 2, 3], dtype=np.float32), np.bool_(False))
    assert point == Point((1.0, 2.0, 3.0), False)
    assert point.sign == "-"
    assert all(type(v) is float for v in point.position_ras)


@pytest.mark.parametrize("position", [(1, 2), (1, 2, np.nan), (1, 2, np.inf), "abc", None, [[1, 2, 3]]])
def test_a_position_that_is_none_is_refused(position):
    with pytest.raises(PromptError, match="point's position"):
        Point(position)


@pytest.mark.parametrize("size", [(-1, 2, 3), (0, 0, 3), (0, 0, 0)])
def test_a_box_turned_inside_out_or_without_an_area_is_refused(size):
    with pytest.raises(PromptError, match="are its corners swapped"):
        Box((0, 0, 0), size)


def test_a_box_with_its_corners_swapped_is_refused():
    with pytest.raises(PromptError, match="from its lowest to its highest corner"):
        Box.from_corners((0, 0, 0), (5, -5, 5))
    with pytest.raises(PromptError, match="from its lowest to its highest index"):
        Box.from_indices(GRID, (5, 5, 5), (5, 4, 5))


@pytest.mark.parametrize(
    "axes",
    [
        np.eye(2),
        2 * np.eye(3),
        [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
        np.full((3, 3), np.nan),
        [[1, 0], [0, 1, 0], [0, 0, 1]],
        "xyz",
    ],
)
def test_a_box_whose_axes_are_no_frame_is_refused(axes):
    with pytest.raises(PromptError, match="three orthogonal unit vectors"):
        Box((0, 0, 0), (1, 1, 1), axes)


@given(strategies.grids(max_side=12), st.data())
def test_a_box_from_indices_reaches_the_outer_faces_of_its_voxels(grid, data):
    extent = data.draw(strategies.extents_in(grid.shape_kji))
    low, high = extent.start_kji[::-1], tuple(b - 1 for b in extent.stop_kji[::-1])
    is_thin = np.equal(low, high)
    reach = np.where(is_thin & (is_thin.sum() == 1), 0.0, 0.5)
    box = Box.from_indices(grid, low, high)
    assert box.is_planar == (is_thin.sum() == 1)
    corners_ijk = grid.to_ijk(box.corners_ras())
    np.testing.assert_allclose(corners_ijk.min(axis=0), low - reach, atol=1e-6)
    np.testing.assert_allclose(corners_ijk.max(axis=0), high + reach, atol=1e-6)


@pytest.mark.parametrize("width", [-1, np.nan, np.inf, "wide", None])
def test_a_brush_of_no_width_is_refused(width):
    with pytest.raises(PromptError, match="brush width >= 0 mm"):
        Scribble(SQUARE, width)


@pytest.mark.parametrize("points", [(), ((1, 2),), ((1, 2, np.nan),), "abc", ((1, 2, 3), (1, 2))])
@pytest.mark.parametrize("kind", [Scribble, VoxelScribble])
def test_a_scribble_without_positions_is_refused(kind, points):
    with pytest.raises(PromptError, match="a scribble"):
        kind(points)


def test_a_lasso_on_one_line_is_refused():
    with pytest.raises(PromptError, match="surrounds an area, got 3 points on one line"):
        Lasso(((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    with pytest.raises(PromptError, match="on one line"):
        Lasso(((1, 1, 1),) * 4)


def test_a_lasso_off_its_plane_is_refused_saying_how_far():
    with pytest.raises(PromptError, match=r"points up to 2\.\d mm off it"):
        Lasso((*SQUARE[:3], (0, 10, 10)))


def test_a_lasso_of_few_points_is_refused():
    with pytest.raises(PromptError, match="at least 3 finite positions"):
        Lasso(SQUARE[:2])


@given(strategies.seeds)
def test_the_normal_of_a_lasso_is_that_of_its_plane(seed):
    axes = strategies.rotation(seed)
    lasso = Lasso(np.array(SQUARE) @ axes.T + 100)
    assert abs(lasso.normal_ras @ axes[:, 2]) == pytest.approx(1)


def test_a_lasso_of_many_points_takes_little_memory():
    angles = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    outline = np.stack([np.cos(angles), np.sin(angles), np.zeros(5000)], axis=1)
    tracemalloc.start()
    normal = Lasso(outline).normal_ras
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(np.abs(normal), [0, 0, 1], atol=1e-9)
    assert peak < 10 * 2**20


def test_a_mask_prompt_keeps_the_box_of_what_is_set_in_its_place():
    mask = np.zeros(GRID.shape_kji, dtype=np.uint8)
    mask[3:5, 6:9, 7:8] = 4
    prompt = MaskPrompt(mask, GRID.ijk_to_ras)
    assert prompt.mask_kji.shape == (2, 3, 1)
    np.testing.assert_allclose(prompt.grid.to_ras((0, 0, 0)), GRID.to_ras((7, 6, 3)))
    mask[:] = 0
    assert prompt.mask_kji.all()


def test_a_mask_prompt_without_a_voxel_set_is_refused():
    with pytest.raises(PromptError, match="at least one voxel set"):
        MaskPrompt(np.zeros((2, 3, 4)), np.eye(4))


def test_a_mask_prompt_of_another_number_of_axes_is_refused():
    with pytest.raises(PromptError, match=r"a mask \(k, j, i\), got an array of shape \(3, 4\)"):
        MaskPrompt(np.ones((3, 4)), np.eye(4))


def test_a_mask_prompt_on_no_grid_is_refused():
    with pytest.raises(GeometryError, match="three independent axes"):
        MaskPrompt(np.ones((2, 3, 4)), np.zeros((4, 4)) + np.diag([0, 0, 0, 1]))


@pytest.mark.parametrize("text", ["", "  ", None, 5])
def test_a_name_without_a_letter_is_refused(text):
    with pytest.raises(PromptError, match="at least one letter"):
        ClassPrompt(text)
    with pytest.raises(PromptError, match="at least one letter"):
        TextPrompt(text)


def test_spaces_around_words_do_not_matter():
    assert TextPrompt("  left \n kidney ") == TextPrompt("left kidney")


# Inside the image, or not


@given(strategies.grids(), st.integers(0, 2), st.sampled_from([-1, 1]), st.floats(0.51, 50))
def test_a_click_outside_the_volume_is_refused_naming_its_bounds(grid, axis, sign, voxels):
    outside_ijk = np.zeros(3) if sign < 0 else np.array(grid.shape_kji[::-1]) - 1.0
    outside_ijk[axis] += sign * voxels
    low, high = grid.bounds_ras
    with pytest.raises(PromptError, match="outside of it") as refused:
        check_inside(Point(grid.to_ras(outside_ijk)), grid)
    for letter, a, b in zip("RAS", low, high, strict=True):
        assert f"{letter} {a:.1f} to {b:.1f}" in str(refused.value)


def test_a_box_around_the_whole_image_is_inside_and_one_beside_it_is_not():
    centre = tuple(GRID.to_ras((15, 10, 5)).tolist())
    check_inside(Box(centre, (1000, 1000, 1000)), GRID)
    with pytest.raises(PromptError, match="expected a box inside the image"):
        check_inside(Box((1000, 0, 0), (10, 10, 10)), GRID)


def test_a_lasso_may_reach_over_the_edge_or_around_the_image_but_not_lie_outside():
    plane = np.array([[0, 0, 5], [100, 0, 5], [100, 100, 5]])
    check_inside(Lasso(GRID.to_ras(plane)), GRID)
    check_inside(Lasso(GRID.to_ras([[-50, -50, 5], [100, -50, 5], [-50, 100, 5]])), GRID)
    with pytest.raises(PromptError, match="and 2 more positions"):
        check_inside(Lasso(GRID.to_ras(np.add(plane, (50, 50, 0)))), GRID)


def test_a_scribble_from_one_side_of_the_image_to_the_other_is_inside():
    check_inside(Scribble(GRID.to_ras([[-50, 10, 5], [100, 10, 5]])), GRID)
    with pytest.raises(PromptError, match="expected a scribble inside the image"):
        check_inside(Scribble(GRID.to_ras([[-50, 10, 50], [100, 10, 50]])), GRID)


def test_a_mask_beside_the_image_is_refused():
    elsewhere = np.eye(4)
    elsewhere[:3, 3] = 1000
    with pytest.raises(PromptError, match="expected a mask inside the image"):
        check_inside(MaskPrompt(np.ones((2, 2, 2)), elsewhere), GRID)


def test_a_large_mask_is_checked_in_little_memory():
    prompt = MaskPrompt(np.ones((100, 128, 128)), np.eye(4))
    tracemalloc.start()
    check_inside(prompt, Grid((100, 128, 128), np.eye(4)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * prompt.mask_kji.nbytes


def test_names_have_no_place_and_are_never_outside():
    check_inside(ClassPrompt("liver"), GRID)
    check_inside(TextPrompt("the liver"), GRID)
