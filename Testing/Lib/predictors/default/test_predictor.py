"""The default predictor finds structures out of the box, with torch or without, and does as each prompt says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc

import click_phantoms
import numpy as np
import pytest
from click_phantoms import GRIDS, SPACE, at, grey, two_balls
from hypothesis import given, settings
from hypothesis import strategies as st
from slice_phantoms import affine, ball, coloured, iou, middle_ras
from strategies import grids, positions_in

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, VolumeError, WeightsError
from PromptSegLib.evaluation.phantom import make_abdomen
from PromptSegLib.geometry import Extent, Grid, flip_axes
from PromptSegLib.predictors.default.appearance import appearance_of
from PromptSegLib.predictors.default.network import load_network
from PromptSegLib.predictors.default.predictor import DefaultPredictor
from PromptSegLib.predictors.default.seen_image import SeenImage
from PromptSegLib.prompts import Box, Lasso, MaskPrompt, Point, Scribble
from PromptSegLib.session.session import Session
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Volume
from PromptSegLib.weights.shipped import read_shipped, shipped_path, write_shipped

# One predictor, so that its networks are loaded once.
DEFAULT = DefaultPredictor()


def clicked(volume, *prompts, **options):
    return click_phantoms.clicked(DEFAULT, volume, *prompts, **options)


def answered_at_once(volume, *prompts, **options):
    return click_phantoms.answered_at_once(DEFAULT, volume, *prompts, **options)


def stroke(grid, points_ijk, width_mm=1.0, positive=True):
    return Scribble(tuple(tuple(map(float, grid.to_ras(point))) for point in points_ijk), width_mm, positive)


def around(truth, margin=0):
    """Return the box around a structure of `SPACE`."""
    extent = Extent.of_mask(truth).padded(margin)
    return Box.from_indices(SPACE, flip_axes(extent.start_kji), flip_axes(np.subtract(extent.stop_kji, 1)))


# One click, on any image


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_one_click_finds_a_ball(grid):
    truth = ball(grid, middle_ras(grid), 13)
    assert iou(clicked(grey(grid, truth), at(grid, (2, -3, 1))), truth) > 0.65


@pytest.mark.parametrize("thin_axis", [0, 1, 2])
def test_a_single_slice_is_segmented_in_the_plane(thin_axis):
    shape = [48, 52, 44]
    shape[thin_axis] = 1
    grid = Grid(tuple(shape), affine(spacing=(0.9, 0.9, 0.9)))
    truth = ball(grid, middle_ras(grid), 12)
    assert iou(clicked(grey(grid, truth), at(grid)), truth) > 0.85


def test_structures_that_differ_in_colour_only_are_told_apart():
    grid = Grid((1, 60, 60), affine())
    red = ball(grid, np.add(middle_ras(grid), (-8, 0, 0)), 11)
    green = ball(grid, np.add(middle_ras(grid), (9, 0, 0)), 11) & ~red
    mask = clicked(coloured(grid, red, green), at(grid, (-9, 0, 0)))
    assert iou(mask, red) > 0.8
    assert (mask & green).sum() < 0.1 * green.sum()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_any_type_of_voxel_will_do(dtype):
    grid = Grid((1, 50, 56), affine())
    truth = ball(grid, middle_ras(grid), 12)
    array = truth if dtype is bool else np.clip(grey(grid, truth).array, 0, 120).astype(dtype)
    assert iou(clicked(Volume(array, grid.ijk_to_ras), at(grid)), truth) > 0.85


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_around_a_structure_do_not_hide_it(value):
    truth = ball(SPACE, middle_ras(SPACE), 12)
    volume = grey(SPACE, truth)
    volume.array[:, :6] = value
    volume.array[np.random.default_rng(1).random(truth.shape) < 0.001] = value
    assert iou(clicked(volume, at(SPACE, (0, 0, 1))), truth) > 0.75


def test_a_click_on_a_voxel_that_is_no_number_is_answered():
    volume = grey(SPACE, ball(SPACE, middle_ras(SPACE), 12))
    k, j, i = SPACE.nearest_kji(middle_ras(SPACE))
    volume.array[k, j, i] = np.nan
    assert clicked(volume, at(SPACE))[k, j, i]


def test_an_image_without_a_finite_voxel_is_refused():
    with pytest.raises(VolumeError, match="finite"):
        clicked(Volume(np.full((4, 5, 6), np.nan, dtype=np.float32)), Point((2, 2, 2)))


@pytest.mark.parametrize("value", [0, -1e30, 1e300])
def test_an_image_of_one_value_gives_at_least_the_voxel_clicked(value):
    assert clicked(Volume(np.full((9, 10, 11), value, dtype=np.float64)), Point((5, 4, 3)))[3, 4, 5]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 12), (12, 1, 1), (2, 2, 2), (1, 2, 30)])
def test_rows_of_voxels_are_images_too(shape):
    array = np.zeros(shape, dtype=np.int16)
    last = tuple(n - 1 for n in shape)
    array[tuple(slice(n // 2, None) for n in shape)] = 100
    volume = Volume(array)
    mask = clicked(volume, Point(tuple(volume.grid.to_ras(flip_axes(last)))), Point((0, 0, 0), positive=False))
    assert not mask[0, 0, 0]
    assert mask[last] or last == (0, 0, 0)


@pytest.mark.parametrize("spacing", [1e4, 1e-3])
def test_the_unit_of_length_does_not_matter(spacing):
    masks = []
    for s in (1.0, spacing):
        grid = Grid((1, 42, 44), affine(spacing=(s, s, s)))
        masks.append(clicked(grey(grid, ball(grid, middle_ras(grid), 9.3 * s)), at(grid)))
    assert masks[0].sum() > 100
    assert iou(*masks) > 0.99


def test_soft_tissue_in_a_ct_is_seen_without_a_window():
    phantom = make_abdomen((40, 120, 120), (3.0, 3.0, 4.5))
    mask = clicked(phantom.volume, phantom.clicks["spleen"], phantom.clicks["liver"])
    assert iou(mask, phantom.mask("spleen") | phantom.mask("liver")) > 0.45
    [kidney] = [clicked(phantom.volume, phantom.clicks["kidney left"])]
    assert iou(kidney, phantom.mask("kidney left")) > 0.5


# Other prompts


def test_a_negative_click_takes_away_the_neighbour_that_touches():
    left, right, click, against = two_balls()
    volume = grey(SPACE, left | right)
    for mask in (clicked(volume, click, against), answered_at_once(volume, click, against)):
        assert iou(mask, left) > 0.6
        assert (mask & right & ~left).sum() < 0.35 * (right & ~left).sum()


def test_a_box_finds_what_is_in_it_and_nothing_beyond():
    left, right, _, _ = two_balls(half_distance_mm=10)
    mask = clicked(grey(SPACE, left, right), around(left))
    assert iou(mask, left) > 0.7
    mask[Extent.of_mask(left).slices] = False
    assert not mask.any()


def test_a_box_around_something_bent_finds_more_than_a_blob():
    k, j, i = np.indices(SPACE.shape_kji) / np.reshape(SPACE.shape_kji, (3, 1, 1, 1))
    bent = (abs(j - 0.8 + 0.55 * np.sin(np.pi * i)) < 0.1) & (abs(k - 0.5) < 0.25)
    # The network by itself: 0.61.
    assert iou(clicked(grey(SPACE, bent), around(bent)), bent) > 0.67


def test_a_box_on_a_slice_of_a_volume_finds_what_is_in_it():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    extent = Extent.of_mask(truth)
    low, high = flip_axes(extent.start_kji), flip_axes(np.subtract(extent.stop_kji, 1))
    low[2] = high[2] = SPACE.shape_kji[0] // 2
    assert iou(clicked(grey(SPACE, truth), Box.from_indices(SPACE, low, high)), truth) > 0.75


def test_a_box_around_part_of_a_structure_is_its_limit():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    box = around(truth & (np.arange(SPACE.shape_kji[0]) < SPACE.shape_kji[0] // 2)[:, None, None])
    mask = clicked(grey(SPACE, truth), box)
    assert mask.any()
    assert not mask[SPACE.shape_kji[0] // 2 :].any()


def test_a_negative_box_stays_empty():
    left, right, click, _ = two_balls()
    center = tuple(np.add(middle_ras(SPACE), (9, 0, 0)))
    mask = clicked(grey(SPACE, left | right), click, Box(center, (12, 30, 30), positive=False))
    assert not (mask & ball(SPACE, center, 6)).any()
    assert (mask & left).sum() > 0.5 * left.sum()


def test_strokes_of_both_signs_are_honoured():
    left, right, _, _ = two_balls()
    middle = middle_ras(SPACE)
    yes = Scribble((tuple(np.add(middle, (-14, 0, 0))), tuple(np.add(middle, (-5, 0, 0)))), 2.0)
    no = Scribble((tuple(np.add(middle, (4, 0, 0))), tuple(np.add(middle, (14, 0, 0)))), 2.0, positive=False)
    mask = clicked(grey(SPACE, left | right), yes, no)
    assert iou(mask, left) > 0.6
    for drawn in (yes, no):
        on_stroke = SPACE.nearest_kji(np.linspace(*drawn.points_ras, 20))
        assert (mask[tuple(on_stroke.T)] == drawn.positive).all()


def test_strokes_of_both_signs_in_a_slice_tell_a_texture_from_another_of_the_same_brightness():
    grid = Grid((1, 160, 160), affine())
    _, j, i = np.indices(grid.shape_kji)
    truth = np.hypot(j - 80, i - 70) < 40
    noise = np.random.default_rng(0).normal(0, 1, grid.shape_kji)
    volume = Volume((100 + np.where(truth, 20, 4) * noise).astype(np.float32), grid.ijk_to_ras)
    yes, no = stroke(grid, [(60, 60, 0), (75, 100, 0)], 1.5), stroke(grid, [(125, 20, 0), (125, 140, 0)], 1.5, False)
    assert iou(clicked(volume, yes, no), truth) > 0.64  # 0.57 when only edges and places count


@pytest.mark.parametrize("layers", [1, 20])
def test_only_the_first_stroke_of_the_other_sign_in_a_slice_tells_by_its_looks(monkeypatch, layers):
    grid = Grid((layers, 64, 64), affine())
    volume = grey(grid, ball(grid, middle_ras(grid), 13))
    told = []

    def spied(*maps):
        told.append(maps)
        return appearance_of(*maps)

    monkeypatch.setattr("PromptSegLib.predictors.default.opinions.appearance_of", spied)
    session = Session(volume, DEFAULT)
    session.add_target("ball")
    for number, (row, positive) in enumerate([(30, True), (34, True), (10, False), (54, False), (32, True)]):
        session.add(stroke(grid, [(column, row, layers // 2) for column in (26, 38)], positive=positive))
        assert len(told) == int(layers == 1 and number >= 2)


def test_a_stroke_around_much_of_the_image_does_not_blur_a_small_structure():
    grid = Grid((1, 256, 256), affine())
    _, j, i = np.indices(grid.shape_kji)
    star = np.hypot(j - 60, i - 60) < 9 + 3 * np.cos(5 * np.arctan2(j - 60, i - 60))
    noise = np.random.default_rng(0).normal(0, 10, grid.shape_kji)
    volume = Volume((100 + 50 * star + noise).astype(np.float32), grid.ijk_to_ras)
    ring = [(60 + 18 * np.cos(angle), 60 + 18 * np.sin(angle), 0) for angle in np.linspace(0, 6, 20)]
    far = [(250, 20, 0), (250, 250, 0), (20, 250, 0)]
    yes, no = stroke(grid, [(57, 60, 0), (63, 60, 0)]), stroke(grid, [*ring, *far], positive=False)
    assert iou(clicked(volume, yes, no), star) > 0.9


def test_outlines_of_both_signs_are_honoured():
    left, right, _, _ = two_balls()
    middle = middle_ras(SPACE)

    def outline(x, positive):
        corners = [(-4, -4, 0), (4, -4, 0), (4, 4, 0), (-4, 4, 0)]
        return Lasso(tuple(tuple(np.add(middle, np.add((x, 0, 0), corner))) for corner in corners), positive)

    mask = clicked(grey(SPACE, left | right), outline(-9, True), outline(9, False))
    assert iou(mask, left) > 0.6
    for x, expected in ((-9, True), (9, False)):
        assert mask[tuple(SPACE.nearest_kji(np.add(middle, (x, 2, 0))))] == expected


def test_a_mask_is_refined_by_clicks():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    part = truth & ball(SPACE, np.add(middle_ras(SPACE), (-8, 0, 0)), 9)
    session = Session(grey(SPACE, truth), DEFAULT)
    session.add(MaskPrompt(part, SPACE.ijk_to_ras))
    np.testing.assert_array_equal(session.mask_kji, part)
    session.add(at(SPACE, (7, 0, 0)))
    assert iou(session.mask_kji, truth) > 0.75


def test_a_mask_without_any_other_prompt_is_gone_over():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    session = Session(grey(SPACE, truth), DEFAULT)
    session.add(MaskPrompt(truth & ~ball(SPACE, np.add(middle_ras(SPACE), (10, 0, 0)), 4), SPACE.ijk_to_ras))
    before = iou(session.mask_kji, truth)
    session.predict()
    assert iou(session.mask_kji, truth) > before - 0.05


def test_negative_prompts_alone_give_nothing():
    volume = grey(SPACE, ball(SPACE, middle_ras(SPACE), 12))
    against = [at(SPACE, positive=False), at(SPACE, (0, 14, 0), positive=False)]
    assert not clicked(volume, *against).any()
    assert answered_at_once(volume, *against) is None


@pytest.fixture(scope="module")
def untrained():
    """Small networks that know nothing: what prompts say must hold whatever a network thinks."""
    pytest.importorskip("torch")
    from untrained_networks import UNTRAINED

    return UNTRAINED


@settings(max_examples=40)
@given(data=st.data(), grid=grids())
def test_every_voxel_clicked_is_as_it_was_said_last(untrained, data, grid):
    positions = data.draw(st.lists(st.tuples(positions_in(grid), st.booleans()), min_size=1, max_size=4))
    array = np.random.default_rng(data.draw(st.integers(0, 99))).normal(0, 50, grid.shape_kji).round()
    clicks = [Point(position, positive) for position, positive in positions]
    said = {tuple(grid.nearest_kji(click.position_ras)): click.positive for click in clicks}
    volume = Volume(array.astype(np.int16), grid.ijk_to_ras)
    answers = click_phantoms.clicked, click_phantoms.answered_at_once
    for mask in (answer(untrained, volume, *clicks) for answer in answers):
        if mask is not None:
            assert {index: bool(mask[index]) for index in said} == said


def test_a_click_against_a_network_that_is_sure_is_heard_by_more_than_its_voxel():
    truth = ball(SPACE, middle_ras(SPACE), 12)
    volume = grey(SPACE, truth)
    mask = clicked(volume, at(SPACE), at(SPACE, (0, 6, 0), positive=False))
    assert not mask[ball(SPACE, np.add(middle_ras(SPACE), (0, 6, 0)), 0.9)].any()


def test_a_later_click_changes_nothing_far_from_it():
    grid = Grid((60, 150, 190), affine())
    near, far = (ball(grid, np.add(middle_ras(grid), (x, 0, 0)), 17) for x in (-60, 60))
    session = Session(grey(grid, near, far), DEFAULT)
    session.add(at(grid, (-60, 0, 0)))
    before = session.mask_kji
    assert iou(before, near) > 0.75
    session.add(at(grid, (60, 0, 0)))
    assert iou(session.mask_kji, near | far) > 0.75
    half = grid.shape_kji[2] // 2
    np.testing.assert_array_equal(session.mask_kji[..., :half], before[..., :half])


def test_a_correction_leaves_the_far_end_of_a_structure_as_it_was():
    grid = Grid((1, 60, 400), affine())
    rows, columns = np.indices(grid.shape_kji)[1:]
    bar = (abs(rows - 30) < 9) & (columns > 20) & (columns < 380)
    drawn = bar.copy()
    drawn[0, 38:41, 60:120] = True  # what a network would smooth away
    point = Point(tuple(grid.to_ras((370, 52, 0))), positive=True)
    mask = answered_at_once(grey(grid, bar), point, mask_kji=drawn)
    np.testing.assert_array_equal(mask[..., :100], drawn[..., :100])


@pytest.mark.parametrize("shape", [(1, 200, 200), (40, 100, 100)])
def test_what_does_not_belong_far_away_changes_nothing(shape):
    grid = Grid(shape, affine())
    truth = ball(grid, middle_ras(grid), 12)
    drawn = truth & ball(grid, np.add(middle_ras(grid), (-5, 0, 0)), 12)  # what a network would make whole
    corner = Point(tuple(grid.to_ras((1, 1, shape[0] // 2))), positive=False)
    mask = answered_at_once(grey(grid, truth), corner, mask_kji=drawn)
    np.testing.assert_array_equal(mask, drawn)


# What the user sees, and waits for


def test_tissues_that_look_alike_in_the_window_are_one():
    grid = Grid((1, 60, 60), affine())
    inner, outer = (ball(grid, middle_ras(grid), radius) for radius in (8, 18))
    volume = grey(grid, outer)
    volume.array[inner] += 200
    assert iou(clicked(volume, at(grid)), inner) > 0.75
    assert iou(clicked(volume, at(grid), window=Window(-50, 60)), outer) > 0.85


def test_the_view_says_how_large_a_structure_is_meant():
    grid = Grid((1, 160, 160), affine())
    inner, outer = (ball(grid, middle_ras(grid), radius) for radius in (9, 45))
    volume = grey(grid, outer, inside=300)
    volume.array[inner] += 15  # without a view it is the outer one that is found
    found = {}
    for size_mm in (40.0, 150.0):
        view = View(tuple(middle_ras(grid)), (1, 0, 0), (0, 1, 0), (size_mm, size_mm))
        found[size_mm] = clicked(volume, at(grid), view=view)
    assert iou(found[40.0], inner) > 0.9
    assert iou(found[150.0], outer) > 0.9


def test_only_the_first_region_of_a_first_click_in_a_volume_is_as_fine_as_those_of_corrections(monkeypatch):
    grid = Grid((64, 128, 128), affine())
    session = Session(grey(grid, ball(grid, middle_ras(grid), 12)), DEFAULT)
    sides, logits = [], SeenImage.logits
    monkeypatch.setattr(
        SeenImage, "logits", lambda scene, maps: sides.append(max(maps.image.shape)) or logits(scene, maps)
    )
    view = View(tuple(middle_ras(grid)), (1, 0, 0), (0, 1, 0), (72.0, 72.0))
    session.add(at(grid), view)
    assert (sides[0], set(sides[1:])) == (64, {48})
    sides.clear()
    session.add(at(grid, (4, 0, 0)), view)
    assert set(sides) == {64}


def test_a_structure_larger_than_the_view_is_followed_beyond_it():
    grid = Grid((1, 200, 200), affine())
    truth = ball(grid, middle_ras(grid), 60)
    view = View(tuple(middle_ras(grid)), (1, 0, 0), (0, 1, 0), (80.0, 80.0))
    assert iou(clicked(grey(grid, truth), at(grid), view=view), truth) > 0.85


def test_a_view_that_does_not_show_the_click_does_not_lead_astray():
    grid = Grid((1, 200, 200), affine())
    truth = ball(grid, middle_ras(grid), 20)
    view = View(tuple(np.add(middle_ras(grid), (70, 60, 0))), (1, 0, 0), (0, 1, 0), (50.0, 50.0))
    assert iou(clicked(grey(grid, truth), at(grid), view=view), truth) > 0.85


def test_a_cancelled_prediction_stops():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        answered_at_once(grey(SPACE, ball(SPACE, middle_ras(SPACE), 12)), at(SPACE), cancel=token)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_click_in_a_large_volume_copies_little_of_it(dtype):
    pytest.importorskip("torch")  # without it, what the network itself takes is numpy's too, and counted
    grid = Grid((300, 512, 512), affine(spacing=(0.8, 0.8, 1.5)))
    array = np.zeros(grid.shape_kji, dtype=dtype)
    box = Extent((90, 190, 190), (210, 320, 320))
    truth = ball(grid.cropped(box), middle_ras(grid), 45)
    array[box.slices][truth] = 100
    clicked(Volume(array[:4, :4, :4].copy()), Point((1, 1, 1)))  # what the first click imports is no copy of the image
    session = Session(Volume(array, grid.ijk_to_ras), DEFAULT)
    view = View(tuple(middle_ras(grid)), (1, 0, 0), (0, 1, 0), (270.0, 270.0))
    for turn, offset in enumerate(((0, 0, 0), (40, 0, 0))):
        tracemalloc.start()
        session.add(at(grid, offset), view)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        stages = {stage: round(ms) for stage, ms in session.prediction.timings_ms.items()}
        print(f"click {turn + 1}: {peak / 2**20:.0f} of {array.nbytes / 2**20:.0f} MiB; ms: {stages}")
        assert peak < 0.25 * array.nbytes
    assert iou(session.mask_kji[box.slices], truth) > 0.8


# With torch and without


_WITHOUT = """
import json, sys
for name in ("torch", "monai"):
    sys.modules[name] = None
import numpy as np
from PromptSegLib import Point, Session, Volume
found = []
for shape in ((1, 48, 52), (24, 48, 52)):
    z, y, x = np.indices(shape)
    inside = (z - shape[0] // 2) ** 2 + (y - 24) ** 2 + (x - 26) ** 2 < 100
    session = Session(Volume(inside * 100.0 + np.random.default_rng(0).normal(0, 5, shape)), "PREDICTOR")
    session.add(Point((26, 24, shape[0] // 2)))
    mask = session.mask_kji
    found.append([float((mask & inside).sum() / (mask | inside).sum()), np.packbits(mask).tobytes().hex()])
print(json.dumps([sorted(m for m in ("torch", "monai") if sys.modules.get(m)), found]))
"""


def test_without_torch_the_masks_are_the_same():
    pytest.importorskip("torch")
    location = "PromptSegLib.predictors.default.predictor:DefaultPredictor"
    answers = []
    for script in (_WITHOUT, _WITHOUT.replace("sys.modules[name] = None", "pass")):
        run = subprocess.run(
            [sys.executable, "-c", script.replace("PREDICTOR", location)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert run.returncode == 0, run.stderr
        answers.append(json.loads(run.stdout))
    (modules, without), (_, with_torch) = answers
    assert modules == []
    assert min(score for score, _ in without) > 0.8
    for (_, mine), (_, its) in zip(without, with_torch, strict=True):
        one, other = (np.unpackbits(np.frombuffer(bytes.fromhex(m), dtype=np.uint8)).astype(bool) for m in (mine, its))
        assert iou(one, other) > 0.999


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.npz"
    configuration, weights = read_shipped(shipped_path(2))
    del weights["out.bias"]
    write_shipped(path, configuration, weights)
    with pytest.raises(WeightsError, match=r"missing: out\.bias"):
        load_network(2, path=path)
    with pytest.raises(WeightsError, match="3D"):
        load_network(3, path=path)
