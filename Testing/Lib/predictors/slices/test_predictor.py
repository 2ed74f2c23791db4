"""A network for pictures answers on the slice that was prompted, wherever the volume lies, and nowhere else."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from slice_phantoms import PerfectPredictor, affine, ball, centres_ras, coloured, iou, middle_ras

from PromptSegLib.errors import PromptError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.predictors.slices.oblique_slices import ObliqueSlice
from PromptSegLib.prompts import Box, MaskPrompt, Point, Scribble
from PromptSegLib.session.session import Session
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image, Volume

GRIDS = {
    "square": Grid((26, 40, 40), affine(spacing=(1.0, 1.0, 2.0))),
    "non-square": Grid((26, 36, 56), affine(spacing=(1.0, 1.0, 2.0))),
    "flipped": Grid((26, 36, 56), affine(spacing=(1.0, 1.0, 2.0), signs=(-1, 1, -1))),
    "permuted": Grid((26, 36, 56), affine(spacing=(1.0, 1.0, 2.0), order=(2, 0, 1))),
    "turned": Grid((26, 36, 56), affine(spacing=(1.0, 1.0, 2.0), turned_deg=25)),
}
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
RADIUS_MM = 14.0


def on_slice(truth, index):
    expected = np.zeros_like(truth)
    expected[index] = truth[index]
    return expected


def ball_session(grid, **options):
    truth = ball(grid, middle_ras(grid), RADIUS_MM)
    volume = coloured(grid, truth)
    volume.array[..., 2] = np.arange(grid.shape_kji[0])[:, None, None]  # no two slices are equal
    predictor = PerfectPredictor()
    return Session(volume, predictor, **options), predictor.model, truth


def point(grid, i, j, k, positive=True):
    return Point(tuple(grid.to_ras((i, j, k))), positive)


def in_ball(grid, k, positive=True):
    i, j, _ = grid.to_ijk(middle_ras(grid))
    return point(grid, i + 1, j - 2, k, positive)


def tilted_view(grid):
    normal = np.array([0.3, 0.25, 1.0]) / np.linalg.norm([0.3, 0.25, 1.0])
    right = np.cross([0.0, 1.0, 0.0], normal)
    right /= np.linalg.norm(right)
    return View(tuple(middle_ras(grid)), tuple(right), tuple(np.cross(normal, right)), (80.0, 60.0))


@grids
def test_a_click_answers_its_slice_and_no_other(grid):
    session, _, truth = ball_session(grid)
    session.add(in_ball(grid, 8))
    np.testing.assert_array_equal(session.mask_kji, on_slice(truth, 8))
    assert session.prediction.score == pytest.approx(0.9)


@grids
def test_a_box_and_a_scribble_answer_their_slice(grid):
    session, model, truth = ball_session(grid)
    extent = Extent.of_mask(on_slice(truth, 10))
    (_, j0, i0), (_, j1, i1) = extent.start_kji, extent.stop_kji
    session.add(Box.from_indices(grid, (i0, j0, 10), (i1 - 1, j1 - 1, 10)))
    np.testing.assert_array_equal(session.mask_kji, on_slice(truth, 10))
    [asked] = model.asked[-1]
    x0, y0, x1, y1 = asked.box_xyxy
    np.testing.assert_allclose(sorted([x1 - x0, y1 - y0]), sorted([i1 - 1 - i0, j1 - 1 - j0]), atol=1e-9)
    stroke = Scribble(tuple(in_ball(grid, 6).position_ras for _ in range(2)), 3.0)
    session.add(stroke)
    asked = model.asked[-1][0].strokes
    assert asked.shape[0] == 2
    assert 4 <= asked[0].sum() <= 12
    assert not asked[1].any()


@grids
@pytest.mark.parametrize("axis", [0, 1])
def test_a_click_in_another_view_answers_the_slice_of_that_view(grid, axis):
    session, _, truth = ball_session(grid)
    normal = np.cross(grid.directions[:, (axis + 1) % 3], grid.directions[:, (axis + 2) % 3])
    right = grid.directions[:, (axis + 1) % 3]
    click = Point(tuple(middle_ras(grid)))
    session.add(click, View(click.position_ras, tuple(right), tuple(np.cross(normal, right)), (50.0, 50.0)))
    index = grid.nearest_kji(middle_ras(grid))[2 - axis]
    expected = np.zeros_like(truth)
    where = [slice(None)] * 3
    where[2 - axis] = index
    expected[tuple(where)] = truth[tuple(where)]
    np.testing.assert_array_equal(session.mask_kji, expected)


@grids
def test_a_click_in_an_oblique_view_answers_the_oblique_slice(grid):
    session, model, _ = ball_session(grid)
    view = tilted_view(grid)
    session.add(Point(view.center_ras), view)
    plane = ObliqueSlice.through(grid, view.center_ras, view.normal_ras)
    offsets = centres_ras(grid) - view.center_ras
    depth = offsets @ np.array(plane.normal_ras)
    on_plane_mm = np.linalg.norm(offsets - depth[..., None] * np.array(plane.normal_ras), axis=-1)
    expected = (np.abs(depth) <= plane.layer_mm / 2) & (on_plane_mm <= RADIUS_MM)
    assert iou(session.mask_kji, expected) > 0.9
    assert model.embedded == 1
    [asked] = model.asked[-1]
    np.testing.assert_allclose(plane.points_ras(asked.points_xy), [view.center_ras], atol=1e-6)


def test_points_on_two_slices_are_each_answered_on_their_own():
    grid = GRIDS["flipped"]
    session, model, truth = ball_session(grid)
    session.add(in_ball(grid, 8))
    session.add(in_ball(grid, 11))
    np.testing.assert_array_equal(session.mask_kji, on_slice(truth, 8) | on_slice(truth, 11))
    assert [len(objects[0].labels) for objects in model.asked] == [1, 1]


def test_only_the_slice_whose_prompts_changed_is_predicted_anew():
    grid = GRIDS["square"]
    session, model, _ = ball_session(grid)
    session.add(in_ball(grid, 8))
    session.add(in_ball(grid, 11))
    session.add(point(grid, 0, 0, 8, positive=False))
    assert len(model.asked) == 3
    assert model.asked[-1][0].labels.tolist() == [1, 0]
    assert model.asked[-1][0].logits is not None
    assert model.embedded == 2


def test_a_point_taken_back_leaves_the_other_slices_as_they_were():
    grid = GRIDS["square"]
    session, _, truth = ball_session(grid)
    first, second = in_ball(grid, 8), in_ball(grid, 11)
    session.add(first)
    session.add(second)
    session.remove(first)
    np.testing.assert_array_equal(session.mask_kji, on_slice(truth, 11))
    session.undo()
    np.testing.assert_array_equal(session.mask_kji, on_slice(truth, 8) | on_slice(truth, 11))


def test_points_stay_on_the_slices_of_their_views_when_others_are_moved_or_taken_back():
    grid = GRIDS["square"]
    session, _, truth = ball_session(grid)
    sagittal, coronal, axial = (in_ball(grid, k) for k in (11, 12, 14))
    directions = {
        sagittal: ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        coronal: ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
        axial: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    }
    for click, axes in directions.items():
        session.add(click, View(click.position_ras, *axes, (50.0, 50.0)))
    session.remove(axial)
    x, y, z = sagittal.position_ras
    session.replace(sagittal, Point((x + 2, y, z)))
    _, j, i = grid.nearest_kji(coronal.position_ras)
    expected = np.zeros_like(truth)
    expected[:, j] = truth[:, j]
    expected[:, :, i + 2] = truth[:, :, i + 2]
    np.testing.assert_array_equal(session.mask_kji, expected)


def test_a_slice_is_encoded_once_whatever_is_undone():
    grid = GRIDS["square"]
    session, model, _ = ball_session(grid)
    for _ in range(3):
        session.add(in_ball(grid, 8))
        session.undo()
    session.add(in_ball(grid, 8))
    assert model.embedded == 1


def test_two_boxes_on_a_slice_are_two_objects_and_points_go_to_theirs():
    grid = GRIDS["non-square"]
    session, model, _ = ball_session(grid)
    session.add(Box.from_indices(grid, (2, 2, 5), (10, 12, 5)))
    session.add(Box.from_indices(grid, (25, 2, 5), (40, 12, 5)))
    session.add(point(grid, 30, 20, 5, positive=False))
    session.add(point(grid, 5, 5, 5))
    assert [one.labels.tolist() for one in model.asked[-1]] == [[1], [0]]
    assert all(one.logits is not None for one in model.asked[-1])


def test_the_network_s_logits_come_back_only_with_the_same_boxes():
    grid = GRIDS["non-square"]
    session, model, _ = ball_session(grid)
    session.add(Box.from_indices(grid, (2, 2, 5), (10, 12, 5)))
    session.add(Box.from_indices(grid, (25, 2, 5), (40, 12, 5)))
    assert all(one.logits is None for one in model.asked[-1])


def test_what_was_there_is_refined_on_every_slice_unless_it_just_crosses_it():
    grid = GRIDS["permuted"]
    session, model, truth = ball_session(grid)
    session.set_mask(truth)
    for k in (8, 9):
        session.add(in_ball(grid, k))
        [asked] = model.asked[-1]
        assert asked.mask.sum() == truth[k].sum()
    session, model, _ = ball_session(grid)
    session.add(in_ball(grid, 8))
    across = grid.directions[:, [0, 2]].T
    session.add(in_ball(grid, 9), View(tuple(middle_ras(grid)), *map(tuple, across), (40.0, 40.0)))
    assert model.asked[-1][0].mask is None


def test_a_mask_prompt_is_refined_on_every_slice():
    grid = GRIDS["square"]
    session, model, truth = ball_session(grid)
    session.add(MaskPrompt(truth, grid.ijk_to_ras))
    session.add(in_ball(grid, 8))
    session.add(in_ball(grid, 9))
    assert model.asked[-1][0].mask.sum() == truth[9].sum()


def test_a_negative_point_alone_takes_nothing_and_says_so():
    grid = GRIDS["square"]
    session, model, _ = ball_session(grid)
    session.add(in_ball(grid, 8, positive=False))
    assert not session.mask_kji.any()
    assert model.asked == []
    assert "negative prompts alone" in session.prediction.note


def test_another_window_is_another_image_and_the_slice_is_answered_anew():
    grid = GRIDS["square"]
    session, model, _ = ball_session(grid)
    session.add(in_ball(grid, 8))
    session.window = Window(0, 200)
    session.add(in_ball(grid, 11))
    assert model.embedded == 3


def test_prompts_that_it_does_not_take_are_refused_or_left_out():
    class OnlyBoxes(PerfectPredictor):
        capabilities = PerfectPredictor.capabilities.__class__(
            **{**vars(PerfectPredictor.capabilities), "name": "boxes", "prompts": frozenset({"box2d+"})}
        )

    grid = GRIDS["square"]
    session, _, _ = ball_session(grid)
    session.add(in_ball(grid, 8))
    session.use(OnlyBoxes())
    with pytest.raises(PromptError, match=r"expected one of box2d\+ for 'boxes', got point\+"):
        session.predict()
    session.add(Box.from_indices(grid, (2, 2, 5), (30, 30, 5)))
    assert "left out" in session.prediction.note


def test_a_picture_is_one_slice():
    grid = Grid((1, 40, 60), np.diag([-1.0, -1.0, 1.0, 1.0]))
    truth = np.zeros(grid.shape_kji, dtype=bool)
    truth[0, 10:30, 20:25] = True
    predictor = PerfectPredictor()
    session = Session(coloured(grid, truth), predictor)
    session.add(point(grid, 22, 15, 0))
    np.testing.assert_array_equal(session.mask_kji, truth)
    np.testing.assert_allclose(predictor.model.asked[0][0].points_xy, [[22, 15]])


def test_grey_images_are_shown_with_the_volume_s_percentiles():
    shown = []
    array = np.random.default_rng(0).normal(0, 100, (6, 20, 20)).astype(np.float32)
    array[3, 4, 4] = np.nan
    predictor = PerfectPredictor()
    embed = predictor.model.embed
    predictor.model.embed = lambda images, cancel: shown.extend(images) or embed(images, cancel)
    session = Session(Volume(array, affine()), predictor)
    session.add(point(session.image.grid, 10, 10, 3))
    [image] = shown
    assert image.shape == (20, 20, 3)
    assert image.min() == 0
    assert image.max() == 255
    assert np.percentile(image, 50) == pytest.approx(127, abs=12)


def axial_view(grid, k):
    return View(in_ball(grid, k).position_ras, (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (50.0, 50.0))


def test_neighbours_are_encoded_ahead_the_nearest_first_and_then_cost_nothing():
    grid = GRIDS["square"]
    session, model, _ = ball_session(grid)
    session.encode_ahead(axial_view(grid, 8))
    assert model.embedded == 5
    for k in range(6, 11):
        session.add(in_ball(grid, k))
    assert model.embedded == 5
    session.encode_ahead(axial_view(grid, 8))
    assert model.embedded == 5
    assert not session.busy


def test_a_click_stops_what_is_encoded_ahead_and_is_answered():
    grid = GRIDS["square"]
    started, go_on = threading.Event(), threading.Event()
    session, model, truth = ball_session(grid, executor=ThreadExecutor())
    embed = model.embed

    def slow(images, cancel):
        started.set()
        assert go_on.wait(10)
        return embed(images, cancel)

    model.embed = slow
    try:
        session.encode_ahead(axial_view(grid, 8))
        assert not session.busy
        assert started.wait(10)
        session.add(in_ball(grid, 3))
        go_on.set()
        assert session.wait(10)
        np.testing.assert_array_equal(session.mask_kji, on_slice(truth, 3))
        assert model.embedded == 1
    finally:
        session.close()


def test_nothing_is_encoded_ahead_while_a_prediction_runs():
    grid = GRIDS["square"]
    go_on = threading.Event()
    session, model, truth = ball_session(grid, executor=ThreadExecutor())
    embed = model.embed
    model.embed = lambda images, cancel: go_on.wait(10) and embed(images, cancel)
    try:
        session.add(in_ball(grid, 3))
        session.encode_ahead(axial_view(grid, 8))
        go_on.set()
        assert session.wait(10)
        np.testing.assert_array_equal(session.mask_kji, on_slice(truth, 3))
        assert model.embedded == 1
    finally:
        session.close()


def test_the_first_channel_is_looked_at():
    grid = GRIDS["square"]
    truth = ball(grid, middle_ras(grid), RADIUS_MM)
    image = Image({"t1": coloured(grid, truth), "t2": Volume(np.zeros(grid.shape_kji), grid.ijk_to_ras)})
    session = Session(image, PerfectPredictor())
    session.add(in_ball(grid, 8))
    np.testing.assert_array_equal(session.mask_kji, on_slice(truth, 8))
