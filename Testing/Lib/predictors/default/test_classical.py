"""The classical predictor finds what differs from its surroundings, on any image, and does as each prompt says."""

from __future__ import annotations

import time
import tracemalloc

import click_phantoms
import numpy as np
import pytest
from click_phantoms import GRIDS, SPACE, at, grey, two_balls
from hypothesis import given, settings
from hypothesis import strategies as st
from slice_phantoms import affine, ball, coloured, iou, middle_ras
from strategies import grids, positions_in

from PromptSegLib.bitmask import BitMask
from PromptSegLib.cancel import CancelToken, no_progress
from PromptSegLib.errors import Cancelled, VolumeError
from PromptSegLib.geometry import Extent, Grid, flip_axes
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.predictors.default.classical import ClassicalPredictor
from PromptSegLib.prompts import Box, Lasso, MaskPrompt, Point, Scribble
from PromptSegLib.session.session import Session
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image, Volume


def clicked(volume, *prompts, **options):
    return click_phantoms.clicked(ClassicalPredictor(), volume, *prompts, **options)


def answered_at_once(volume, *prompts, **options):
    return click_phantoms.answered_at_once(ClassicalPredictor(), volume, *prompts, **options)


# One click, on any image


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_one_click_finds_a_ball(grid):
    truth = ball(grid, middle_ras(grid), 13)
    assert iou(clicked(grey(grid, truth), at(grid, (2, -3, 1))), truth) > 0.9


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_mirrored_volume_gives_the_mirrored_mask(axes):
    truth = ball(SPACE, np.add(middle_ras(SPACE), (3, 0, -2)), 9) | ball(
        SPACE, np.add(middle_ras(SPACE), (-6, 2, 0)), 7
    )
    volume, click = grey(SPACE, truth), at(SPACE, (3, 1, -2))
    matrix = SPACE.ijk_to_ras.copy()
    for axis in axes:
        matrix[:3, 3] += matrix[:3, 2 - axis] * (SPACE.shape_kji[axis] - 1)
        matrix[:3, 2 - axis] *= -1
    mirrored = clicked(Volume(np.flip(volume.array, axes), matrix), click)
    straight = clicked(volume, click)
    assert straight.sum() > 3000
    # Fast marching takes equal times in the order it comes upon them: a few voxels of the surface may differ.
    assert (np.flip(mirrored, axes) != straight).sum() <= 0.002 * straight.sum()


@pytest.mark.parametrize("thin_axis", [0, 1, 2])
def test_a_single_slice_is_segmented_in_the_plane(thin_axis):
    shape = [48, 52, 44]
    shape[thin_axis] = 1
    grid = Grid(tuple(shape), affine(spacing=(0.9, 0.9, 0.9)))
    truth = ball(grid, middle_ras(grid), 12)
    assert iou(clicked(grey(grid, truth), at(grid)), truth) > 0.9


def test_structures_that_differ_in_colour_only_are_told_apart():
    red = ball(SPACE, np.add(middle_ras(SPACE), (-5, 0, 0)), 9)
    green = ball(SPACE, np.add(middle_ras(SPACE), (7, 0, 0)), 9) & ~red
    mask = clicked(coloured(SPACE, red, green), at(SPACE, (-6, 0, 0)))
    assert iou(mask, red) > 0.9
    assert (mask & green).sum() < 0.05 * green.sum()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float16, np.float64])
def test_any_type_of_voxel_will_do(dtype):
    truth = ball(SPACE, middle_ras(SPACE), 12)
    array = truth if dtype is bool else np.clip(grey(SPACE, truth).array, 0, 120).astype(dtype)
    assert iou(clicked(Volume(array, SPACE.ijk_to_ras), at(SPACE)), truth) > 0.9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_around_a_structure_do_not_hide_it(value):
    truth = ball(SPACE, middle_ras(SPACE), 12)
    volume = grey(SPACE, truth)
    volume.array[:, :6] = value
    volume.array[np.random.default_rng(1).random(truth.shape) < 0.001] = value
    mask = clicked(volume, at(SPACE, (0, 0, 1)))
    assert iou(mask, truth) > 0.85


def test_a_click_on_a_voxel_that_is_no_number_is_answered():
    volume = grey(SPACE, ball(SPACE, middle_ras(SPACE), 12))
    k, j, i = SPACE.nearest_kji(middle_ras(SPACE))
    volume.array[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = np.nan
    assert clicked(volume, at(SPACE))[k, j, i]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_without_a_finite_voxel_is_refused(value):
    volume = Volume(np.full((4, 5, 6), value, dtype=np.float32))
    with pytest.raises(VolumeError, match="finite"):
        clicked(volume, Point((2, 2, 2)))


@pytest.mark.parametrize("value", [0, 7, -1e30, 1e300])
def test_an_image_of_one_value_gives_at_least_the_voxel_clicked(value):
    mask = clicked(Volume(np.full((9, 10, 11), value, dtype=np.float64)), Point((5, 4, 3)))
    assert mask[3, 4, 5]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 12), (1, 12, 1), (12, 1, 1), (2, 2, 2), (1, 2, 30)])
def test_rows_of_voxels_are_images_too(shape):
    array = np.zeros(shape, dtype=np.int16)
    last = tuple(n - 1 for n in shape)
    array[tuple(slice(n // 2, None) for n in shape)] = 100
    volume = Volume(array)
    session = Session(volume, ClassicalPredictor())
    session.add(Point(tuple(volume.grid.to_ras(flip_axes(last)))))
    assert session.mask_kji[last]
    session.add(Point((0, 0, 0), positive=False))
    assert not session.mask_kji[0, 0, 0]


@pytest.mark.parametrize("spacing", [1e4, 1e-3])
def test_the_unit_of_length_does_not_matter(spacing):
    shape = (30, 32, 34)
    grids = [Grid(shape, affine(spacing=(s, s, s))) for s in (1.0, spacing)]
    masks = []
    for grid, s in zip(grids, (1.0, spacing), strict=True):
        truth = ball(grid, middle_ras(grid), 9.3 * s)
        masks.append(clicked(grey(grid, truth), at(grid)))
    assert iou(*masks) > 0.99
    assert iou(masks[0], ball(grids[0], middle_ras(grids[0]), 9.3)) > 0.9


# Other prompts


def test_a_negative_click_takes_away_the_neighbour_that_touches():
    left, right, click, against = two_balls()
    volume = grey(SPACE, left | right)
    merged = clicked(volume, click)
    assert (merged & right & ~left).sum() > 0.5 * (right & ~left).sum()
    for mask in (clicked(volume, click, against), answered_at_once(volume, click, against)):
        assert iou(mask, left) > 0.75
        assert (mask & right & ~left).sum() < 0.2 * (right & ~left).sum()


def test_a_box_finds_what_is_in_it_and_nothing_beyond():
    left, right, _, _ = two_balls(half_distance_mm=10)
    extent = Extent.of_mask(left)
    low, high = flip_axes(extent.start_kji), flip_axes(np.subtract(extent.stop_kji, 1))
    mask = clicked(grey(SPACE, left, right), Box.from_indices(SPACE, low, high))
    assert iou(mask, left) > 0.85
    mask[extent.slices] = False
    assert not mask.any()


def test_a_box_on_a_slice_finds_what_is_in_it():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    extent = Extent.of_mask(truth)
    low, high = flip_axes(extent.start_kji), flip_axes(np.subtract(extent.stop_kji, 1))
    low[2] = high[2] = SPACE.shape_kji[0] // 2
    assert iou(clicked(grey(SPACE, truth), Box.from_indices(SPACE, low, high)), truth) > 0.9


def test_a_box_around_part_of_a_structure_is_its_limit():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    low, high = np.array(Extent.of_mask(truth).start_kji), np.array(Extent.of_mask(truth).stop_kji) - 1
    high[2] = (low[2] + high[2]) // 2
    mask = clicked(grey(SPACE, truth), Box.from_indices(SPACE, flip_axes(low), flip_axes(high)))
    assert mask.any()
    assert Extent(tuple(low), tuple(high + 1)).contains(Extent.of_mask(mask))
    flat = grey(Grid((1, *SPACE.shape_kji[1:]), affine()), truth[18:19])
    low[0] = high[0] = 0
    mask = clicked(flat, Box.from_indices(flat.grid, flip_axes(low), flip_axes(high)))
    assert mask.any()
    assert not mask[:, :, high[2] + 1 :].any()


def test_a_negative_box_stays_empty():
    left, right, click, _ = two_balls()
    center = tuple(np.add(middle_ras(SPACE), (9, 0, 0)))
    box = Box(center, (12, 30, 30), positive=False)
    mask = clicked(grey(SPACE, left | right), click, box)
    inside = ball(SPACE, center, 6)
    assert not (mask & inside).any()
    assert (mask & left).sum() > 0.6 * left.sum()


def test_strokes_of_both_signs_are_honoured():
    left, right, _, _ = two_balls()
    middle = middle_ras(SPACE)
    yes = Scribble((tuple(np.add(middle, (-14, 0, 0))), tuple(np.add(middle, (-5, 0, 0)))), 2.0)
    no = Scribble((tuple(np.add(middle, (4, 0, 0))), tuple(np.add(middle, (14, 0, 0)))), 2.0, positive=False)
    mask = clicked(grey(SPACE, left | right), yes, no)
    assert iou(mask, left) > 0.7
    for stroke in (yes, no):
        on_stroke = SPACE.nearest_kji(np.linspace(*stroke.points_ras, 20))
        assert (mask[tuple(on_stroke.T)] == stroke.positive).all()


def test_outlines_of_both_signs_are_honoured():
    left, right, _, _ = two_balls()
    middle = middle_ras(SPACE)

    def outline(x, positive):
        corners = [(-4, -4, 0), (4, -4, 0), (4, 4, 0), (-4, 4, 0)]
        return Lasso(tuple(tuple(np.add(middle, np.add((x, 0, 0), corner))) for corner in corners), positive)

    mask = clicked(grey(SPACE, left | right), outline(-9, True), outline(9, False))
    assert iou(mask, left) > 0.7
    for x, expected in ((-9, True), (9, False)):
        assert mask[tuple(SPACE.nearest_kji(np.add(middle, (x, 2, 0))))] == expected


def test_a_mask_is_refined_by_clicks():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    part = truth & ball(SPACE, np.add(middle_ras(SPACE), (-8, 0, 0)), 9)
    session = Session(grey(SPACE, truth), ClassicalPredictor())
    session.add(MaskPrompt(part, SPACE.ijk_to_ras))
    np.testing.assert_array_equal(session.mask_kji, part)
    session.add(at(SPACE, (7, 0, 0)))
    refined = session.mask_kji
    assert refined[part].all()
    assert refined[ball(SPACE, np.add(middle_ras(SPACE), (7, 0, 0)), 3)].all()
    assert (refined & ~truth).sum() < 0.01 * truth.sum()
    session.add(at(SPACE, (-13, 0, 0), positive=False))
    assert iou(session.mask_kji, refined) > 0.85


def test_negative_prompts_alone_give_nothing():
    volume = grey(SPACE, ball(SPACE, middle_ras(SPACE), 12))
    against = [at(SPACE, positive=False), at(SPACE, (0, 14, 0), positive=False)]
    assert not clicked(volume, *against).any()
    assert answered_at_once(volume, *against) is None


def test_a_negative_click_on_a_mask_never_adds_where_it_speaks():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    mask = answered_at_once(grey(SPACE, truth), at(SPACE, (9, 0, 0), positive=False), mask_kji=truth)
    assert mask.sum() < truth.sum()
    assert not mask[tuple(SPACE.nearest_kji(np.add(middle_ras(SPACE), (9, 0, 0))))]


@settings(max_examples=40)
@given(data=st.data(), grid=grids())
def test_every_voxel_clicked_is_as_it_was_said_last(data, grid):
    positions = data.draw(st.lists(st.tuples(positions_in(grid), st.booleans()), min_size=1, max_size=4))
    array = np.random.default_rng(data.draw(st.integers(0, 99))).normal(0, 50, grid.shape_kji).round()
    clicks = [Point(position, positive) for position, positive in positions]
    said = {tuple(grid.nearest_kji(click.position_ras)): click.positive for click in clicks}
    volume = Volume(array.astype(np.int16), grid.ijk_to_ras)
    for mask in (clicked(volume, *clicks), answered_at_once(volume, *clicks)):
        if mask is not None:
            assert {index: bool(mask[index]) for index in said} == said


def test_a_later_click_changes_nothing_far_from_it():
    grid = Grid((60, 150, 190), affine())
    near, far = (ball(grid, np.add(middle_ras(grid), (x, 0, 0)), 17) for x in (-60, 60))
    session = Session(grey(grid, near, far), ClassicalPredictor())
    session.add(at(grid, (-60, 0, 0)))
    before = session.mask_kji
    assert iou(before, near) > 0.9
    session.add(at(grid, (60, 0, 0)))
    assert iou(session.mask_kji, near | far) > 0.85
    half = grid.shape_kji[2] // 2
    np.testing.assert_array_equal(session.mask_kji[..., :half], before[..., :half])


# What the user sees, and waits for


def test_tissues_that_look_alike_in_the_window_are_one():
    inner, outer = (ball(SPACE, middle_ras(SPACE), radius) for radius in (7, 14))
    volume = grey(SPACE, outer)
    volume.array[inner] += 200
    assert iou(clicked(volume, at(SPACE)), inner) > 0.8
    assert iou(clicked(volume, at(SPACE), window=Window(-50, 60)), outer) > 0.9


def test_the_view_says_how_large_a_structure_is_meant():
    grid = Grid((90, 100, 110), affine())
    inner, outer = (ball(grid, middle_ras(grid), radius) for radius in (7, 38))
    volume = grey(grid, outer, inside=300)
    volume.array[inner] += 15  # without a view it is the outer one that is found
    found = {}
    for size_mm in (28.0, 110.0):
        view = View(tuple(middle_ras(grid)), (1, 0, 0), (0, 1, 0), (size_mm, size_mm))
        found[size_mm] = answered_at_once(volume, at(grid), view=view)
    assert iou(found[28.0], inner) > 0.9
    assert iou(found[110.0], outer) > 0.9


def test_a_cancelled_prediction_stops():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        answered_at_once(grey(SPACE, ball(SPACE, middle_ras(SPACE), 12)), at(SPACE), cancel=token)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_click_in_a_large_volume_copies_little_of_it(dtype):
    grid = Grid((200, 512, 512), affine(spacing=(0.8, 0.8, 1.5)))
    array = np.zeros(grid.shape_kji, dtype=dtype)
    box = Extent((60, 200, 200), (140, 330, 330))
    truth = ball(grid.cropped(box), middle_ras(grid), 45)
    array[box.slices][truth] = 100
    clicked(Volume(array[:4, :4, :4]), Point((1, 1, 1)))  # what the first click imports is no copy of the image
    volume, whole_mask = Volume(array, grid.ijk_to_ras), np.zeros(grid.shape_kji, dtype=bool)
    state = TargetState("segment", (at(grid),))
    for turn in range(2):
        predictor, token = ClassicalPredictor(), CancelToken()
        started = time.perf_counter()
        tracemalloc.start()
        encoding = predictor.encode(Image(volume), token, no_progress)
        [prediction] = predictor.predict(encoding, state, token, no_progress)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"click {turn + 1}: {time.perf_counter() - started:.2f} s, {peak / array.nbytes:.2f} of the volume")
        assert peak < 0.25 * array.nbytes
        patch = prediction.patches["segment"]
        whole_mask[patch.extent.slices] = patch.mask_kji
        mask = BitMask(grid.shape_kji)
        mask.write(patch.extent, patch.mask_kji)
        state = TargetState("segment", (at(grid), at(grid, (40, 0, 0))), mask=mask)
    assert iou(whole_mask[box.slices], truth) > 0.9


def test_a_later_click_on_a_large_structure_is_not_cut_off_at_the_first_ones_region():
    grid = Grid((60, 120, 120), affine())
    j, i = np.ogrid[:120, :120]
    slab = np.broadcast_to((i > 40) & (i < 110) & (j > 10) & (j < 110), grid.shape_kji).copy()
    speck = ball(grid, grid.to_ras((15, 60, 30)), 4)
    volume = grey(grid, slab, speck)
    mask = clicked(volume, Point(tuple(grid.to_ras((15, 60, 30)))), Point(tuple(grid.to_ras((75, 60, 30)))))
    assert iou(mask, slab | speck) > 0.9
