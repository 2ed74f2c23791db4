"""A structure is followed from window to window, however large it is and however its volume lies."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
from recording import RecordingObserver
from slice_phantoms import ball, tube
from window_fakes import BRIGHT, BrightPredictor, dice

from PromptSegLib.geometry import Grid, affine_from_parts
from PromptSegLib.prompts import Box, MaskPrompt, Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

WINDOW_MM = 48.0
SPACING = (1.5, 1.2, 2.0)
DIRECTIONS = {
    "RAS": np.eye(3),
    "LPI": -np.eye(3),
    "permuted": np.eye(3)[:, [2, 0, 1]],
    "oblique": strategies.rotation(3),
}


def phantom(name="RAS", shape_kji=(60, 80, 70)):
    """Return a volume with a bright tube across it, 130 mm long, and the tube."""
    affine = affine_from_parts(SPACING, DIRECTIONS[name], (-10.0, 20.0, 30.0))
    grid = Grid(shape_kji, affine)
    ends = grid.to_ras([(8, 8, 8), (61, 71, 51)])
    inside = tube(grid, *ends, 11.0)
    return Volume((BRIGHT * inside).astype(np.int16), affine), inside, ends


def shifted(place_ras, right_mm):
    x, y, z = place_ras
    return x + right_mm, y, z


def starts(session):
    return [tile.start for tile in session.prediction.feedback.tiles]


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_click_gives_all_of_a_structure_that_is_larger_than_a_window(name):
    volume, inside, ends = phantom(name)
    session = Session(volume, BrightPredictor())
    session.add(Point(tuple(ends.mean(axis=0))))
    assert np.linalg.norm(ends[1] - ends[0]) > 2 * WINDOW_MM
    assert dice(session.mask_kji, inside) > 0.9
    assert session.prediction.note == ""
    assert session.prediction.score == 0.75


def test_a_structure_within_a_window_needs_no_other():
    volume, _, ends = phantom()
    middle = ends.mean(axis=0)
    inside = ball(volume.grid, middle, 15)
    session = Session(Volume((BRIGHT * inside).astype(np.uint8), volume.ijk_to_ras), BrightPredictor())
    session.add(Point(tuple(middle)))
    assert starts(session) == [(0, 0, 0)]
    assert dice(session.mask_kji, inside) > 0.9


def test_windows_are_answered_one_by_one_and_taken_back_in_one_step():
    volume, inside, ends = phantom()
    observer = RecordingObserver()
    session = Session(volume, BrightPredictor(), observer=observer)
    session.add(Point(tuple(ends.mean(axis=0))))
    assert len(observer.boxes) > 2
    assert [fraction for fraction, _ in observer.progresses] == sorted(f for f, _ in observer.progresses)
    assert session.undo() == "add point+"
    assert not session.mask_kji.any()
    assert not session.can_undo
    session.redo()
    assert dice(session.mask_kji, inside) > 0.9


def test_a_structure_is_followed_as_far_as_the_budget_and_a_click_goes_on_from_there():
    volume, inside, ends = phantom()
    session = Session(volume, BrightPredictor(most_grown=1))
    session.add(Point(tuple(ends[0])))
    assert len(starts(session)) == 2
    assert "goes on beyond" in session.prediction.note
    first = session.mask_kji.sum()
    assert 0 < first < 0.6 * inside.sum()
    assert not (session.mask_kji & ~inside).sum() > 0.1 * inside.sum()
    for place in (ends.mean(axis=0), ends[1]):
        session.add(Point(tuple(place)))
    assert dice(session.mask_kji, inside) > 0.85


def test_a_later_click_in_a_window_neither_reads_nor_encodes_it_again():
    volume, _, ends = phantom()
    predictor = BrightPredictor(most_grown=0)
    session = Session(volume, predictor)
    middle = ends.mean(axis=0)
    session.add(Point(tuple(middle)))
    [first] = session.prediction.feedback.tiles
    session.add(Point(shifted(middle, 3)))
    assert len(predictor.model.windows) == 1
    points, labels, before = predictor.model.asked[-1]
    assert labels == [1, 1]
    np.testing.assert_array_equal(points, [[16, 16, 16], [18, 16, 16]])
    assert before is first.logits


def test_what_was_followed_by_mistake_is_taken_back_with_a_correction():
    volume, inside, ends = phantom()
    middle = ends.mean(axis=0)
    session = Session(volume, BrightPredictor())
    session.add(Point(tuple(middle)))
    assert len(starts(session)) > 1
    session.add(Point(shifted(middle, 2), positive=False))
    assert starts(session) == [(0, 0, 0)]
    assert not session.mask_kji.any()
    assert session.undo() == "add point-"
    assert dice(session.mask_kji, inside) > 0.9


def test_a_correction_that_was_cancelled_half_way_is_finished_by_the_next_prediction():
    class Impatient(RecordingObserver):
        def masks_changed(self, boxes):
            super().masks_changed(boxes)
            if len(session.prompts()) == 2 and len(self.boxes) == before + 1:
                session.cancel()

    volume, _, ends = phantom()
    middle = ends.mean(axis=0)
    observer = Impatient()
    session = Session(volume, BrightPredictor(), observer=observer)
    session.add(Point(tuple(middle)))
    before = len(observer.boxes)
    session.add(Point(shifted(middle, 2), positive=False))
    assert session.mask_kji.any()
    session.predict()
    assert not session.mask_kji.any()


def test_a_click_outside_of_all_windows_gets_one_of_its_own_and_the_rest_stays():
    volume, _, ends = phantom()
    far = [tuple(ends[0]), tuple(ends[1])]
    balls = [ball(volume.grid, place, 14) for place in far]
    session = Session(Volume((BRIGHT * (balls[0] | balls[1])).astype(np.float32), volume.ijk_to_ras), BrightPredictor())
    session.add(Point(far[0]))
    alone = session.mask_kji
    assert dice(alone, balls[0]) > 0.85
    session.add(Point(far[1]))
    assert dice(session.mask_kji, balls[0] | balls[1]) > 0.85
    assert (session.mask_kji & alone).sum() == alone.sum()
    session.undo()
    np.testing.assert_array_equal(session.mask_kji, alone)


def test_a_click_whose_window_was_not_reached_before_a_cancellation_is_answered_by_the_next_prediction():
    class Impatient(RecordingObserver):
        def masks_changed(self, boxes):
            super().masks_changed(boxes)
            if len(self.boxes) == 1:
                session.cancel()

    volume, _, ends = phantom()
    balls = [ball(volume.grid, place, 14) for place in ends]
    volume = Volume((BRIGHT * (balls[0] | balls[1])).astype(np.int16), volume.ijk_to_ras)
    session = Session(volume, BrightPredictor(), observer=Impatient(), auto=False)
    for place in ends:
        session.add(Point(tuple(place)))
    session.predict()
    assert dice(session.mask_kji, balls[1]) > 0.85
    session.predict()
    assert dice(session.mask_kji, balls[0] | balls[1]) > 0.85


@pytest.mark.parametrize("planar", [False, True])
def test_a_box_is_a_click_in_its_middle(planar):
    volume, _, ends = phantom()
    x, y, z = ends.mean(axis=0)
    by_click, by_box = (Session(volume, BrightPredictor()) for _ in range(2))
    by_click.add(Point((x, y, z)))
    by_box.add(Box((x, y, z), (20.0, 30.0, 0.0 if planar else 25.0)))
    np.testing.assert_array_equal(by_click.mask_kji, by_box.mask_kji)
    assert by_click.mask_kji.any()


def test_clicks_that_fit_into_one_window_share_it():
    volume, _, ends = phantom()
    middle = ends.mean(axis=0)
    predictor = BrightPredictor(most_grown=0)
    session = Session(volume, predictor, auto=False)
    for shift in (-9.0, 9.0):
        session.add(Point(shifted(middle, shift)))
    session.predict()
    [(points, labels, before)] = predictor.model.asked
    np.testing.assert_array_equal(points.mean(axis=0), [16, 16, 16])
    assert labels == [1, 1]
    assert before is None


def test_a_negative_click_alone_has_nothing_to_go_by():
    volume, _, ends = phantom()
    session = Session(volume, BrightPredictor())
    session.add(Point(tuple(ends[0]), positive=False))
    assert not session.mask_kji.any()
    assert session.prediction.note == "nothing positive to go by"


def test_a_mask_is_refined_where_a_click_is_and_stays_elsewhere():
    volume, inside, ends = phantom()
    elsewhere = np.zeros_like(inside)
    elsewhere[-4:, :4, :4] = True
    predictor = BrightPredictor(most_grown=0)
    session = Session(volume, predictor)
    session.set_mask(elsewhere | np.roll(inside, 2, axis=1))
    session.add(Point(tuple(ends[0])))
    [(_, _, before)] = predictor.model.asked
    assert before.max() > 5
    assert before.min() == -10
    assert session.mask_kji[elsewhere].all()


def test_the_mask_of_one_slice_says_nothing_of_its_neighbours():
    volume, inside, ends = phantom()
    middle = ends.mean(axis=0)
    k = int(volume.grid.nearest_kji(middle)[0])
    on_slice = np.zeros_like(inside)
    on_slice[k] = inside[k]
    predictor = BrightPredictor(most_grown=0)
    session = Session(volume, predictor)
    session.set_mask(on_slice)
    session.add(Point(tuple(middle)))
    [(_, _, before)] = predictor.model.asked
    layers = np.flatnonzero(before.any(axis=(0, 1)))
    assert len(layers) == 1
    assert before[:, :, layers[0]].max() == 10
    assert before[:, :, layers[0]].min() == -10


def test_the_mask_of_a_slice_thicker_than_a_coarse_voxel_is_one_of_a_slice_too():
    volume = Volume(np.full((9, 30, 30), BRIGHT, dtype=np.int16), np.diag([2.0, 2.0, 8.0, 1.0]))
    predictor = BrightPredictor(most_grown=0)
    session = Session(volume, predictor)
    mask = np.zeros((9, 30, 30), dtype=bool)
    mask[4, 10:20, 8:22] = True
    session.set_mask(mask)
    session.predict()
    [(_, _, before)] = predictor.model.asked
    assert 1 <= before.any(axis=(0, 1)).sum() <= 2
    assert before.max() == 10


def test_a_mask_alone_is_asked_about_by_its_innermost_voxel():
    volume, inside, _ = phantom()
    rough = inside & (np.random.default_rng(0).random(inside.shape) < 0.8)
    session = Session(volume, BrightPredictor(), auto=False)
    session.add(MaskPrompt(rough, volume.ijk_to_ras))
    session.predict()
    assert dice(session.mask_kji, inside) > 0.9


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, np.float64])
def test_any_type_of_voxel_is_read(dtype):
    volume, inside, ends = phantom()
    session = Session(Volume((BRIGHT * inside).astype(dtype), volume.ijk_to_ras), BrightPredictor(most_grown=0))
    session.add(Point(tuple(ends.mean(axis=0))))
    assert session.mask_kji.any() == (dtype is not bool)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 40, 3), (9, 5, 7)])
def test_a_volume_smaller_than_a_window_is_segmented(shape):
    volume = Volume(np.full(shape, BRIGHT, dtype=np.int16), np.diag([6.0, 6.0, 6.0, 1.0]))
    session = Session(volume, BrightPredictor())
    session.add(Point(tuple(volume.grid.to_ras([(n - 1) // 2 for n in shape[::-1]]))))
    assert session.mask_kji.mean() > 0.3
    assert session.prediction.note == ""


def test_voxels_that_are_no_numbers_are_nothing():
    volume, inside, ends = phantom()
    values = (BRIGHT * inside).astype(np.float32)
    values[:, :, :5], values[:, :, -5:] = np.nan, np.inf
    session = Session(Volume(values, volume.ijk_to_ras), BrightPredictor())
    session.add(Point(tuple(ends.mean(axis=0))))
    assert np.isfinite(session.predictor.model.windows[0]).all()
    assert dice(session.mask_kji, inside) > 0.8
