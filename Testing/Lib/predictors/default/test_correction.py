"""A prompt on a mask that came from elsewhere changes what it is about, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from untrained_networks import UNTRAINED

from PromptSegLib.evaluation.baselines import RIVALS
from PromptSegLib.evaluation.bending import bent
from PromptSegLib.evaluation.boxes import box_with_margin
from PromptSegLib.evaluation.clicks import largest_error, next_click
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.shape_phantoms import make_shape
from PromptSegLib.evaluation.shapes import SHAPES
from PromptSegLib.geometry import flip_axes
from PromptSegLib.predictors.default.classical import ClassicalPredictor
from PromptSegLib.predictors.default.predictor import DefaultPredictor
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.prompts import Box, MaskPrompt, Point, Scribble
from PromptSegLib.session.session import Session

SLICE, SPACE = (1, 96, 96), (32, 36, 40)
DEFAULT = DefaultPredictor()


def given(volume, mask, predictor=DEFAULT, **options):
    session = Session(volume, predictor, **options)
    session.set_mask(mask)
    return session


def at(volume, index_kji, positive=True):
    return Point(tuple(map(float, volume.grid.to_ras(flip_axes(index_kji)))), positive)


@pytest.mark.parametrize("predictor", [DEFAULT, ClassicalPredictor()], ids=["default", "classical"])
@pytest.mark.parametrize("way", ["missing", "leak"])
@pytest.mark.parametrize("kind", ["compact", "ring", "tree"])
def test_two_clicks_mend_what_is_wrong(kind, way, predictor):
    volume, truth = make_shape(kind, SLICE, seed=4)
    session = given(volume, bent(way, truth, volume, seed=1), predictor)
    before = dice(session.mask_kji, truth)
    for _ in range(2):
        session.add(next_click(session.mask_kji, truth, volume.grid))
        after = dice(session.mask_kji, truth)
        assert after > before - 0.01
        before = after
    assert before > (0.9 if predictor is DEFAULT else 0.87)


def test_a_part_that_is_missing_is_added_without_what_lies_between():
    volume, truth = make_shape("parts", (1, 160, 160), seed=2)
    parts, _ = ndimage.label(truth)
    for number in (2, 3):
        session = given(volume, truth & (parts != number))
        session.add(next_click(session.mask_kji, truth, volume.grid))
        assert dice(session.mask_kji, truth) > 0.97


def test_a_negative_click_in_a_ring_that_a_threshold_filled_leaves_the_ring():
    volume, truth = make_shape("ring", (1, 160, 160), seed=0)
    rough = Session(volume, create_predictor(RIVALS["threshold"]))
    rough.add(box_with_margin(truth, volume.grid, 0.05))
    session = given(volume, rough.mask_kji)
    session.add(next_click(session.mask_kji, truth, volume.grid))
    assert (session.mask_kji & truth).sum() > 0.9 * truth.sum()


def test_a_click_in_a_volume_mends_what_is_wrong():
    volume, truth = make_shape("compact", SPACE, seed=4)
    mask = bent("leak", truth, volume, seed=1)
    session = given(volume, mask)
    session.add(next_click(mask, truth, volume.grid))
    assert dice(session.mask_kji, truth) > dice(mask, truth) + 0.03


@pytest.mark.parametrize("shape", [SLICE, SPACE])
@pytest.mark.parametrize("seed", range(6))
def test_positive_prompts_never_take_away_and_negative_ones_never_add(seed, shape):
    # An untrained network: this holds whatever it thinks.
    rng = np.random.default_rng(seed)
    volume, truth = make_shape(SHAPES[seed % len(SHAPES)], shape, seed)
    mask = bent("warp", truth, volume, seed)
    session = given(volume, mask, UNTRAINED)
    for _ in range(3):
        index = rng.integers(0, shape)
        positive = bool(rng.integers(2))
        before = session.mask_kji
        # Where the mask says the contrary, as a user clicks; elsewhere there is nothing to correct.
        if before[tuple(index)] == positive:
            continue
        session.add(at(volume, index, positive))
        after = session.mask_kji
        assert after[tuple(index)] == positive
        assert not ((before & ~after) if positive else (after & ~before)).any()
        changed, count = ndimage.label(before != after, np.ones((3, 3, 3)))
        assert count == 1 or set(np.unique(changed[before != after])) == {changed[tuple(index)]}
        np.testing.assert_array_equal(session.prediction.change.added_and_removed()[0].any(), positive)


@pytest.mark.parametrize("predictor", [UNTRAINED, ClassicalPredictor()], ids=["untrained", "classical"])
def test_a_positive_click_where_the_mask_is_right_changes_nothing(predictor):
    volume, truth = make_shape("ring", SLICE, seed=1)
    session = given(volume, truth, predictor)
    middle = np.argwhere(ndimage.binary_erosion(truth[0], iterations=2))[5]
    session.add(at(volume, (0, *middle)))
    np.testing.assert_array_equal(session.mask_kji, truth)


def test_a_negative_click_where_the_mask_is_right_stays_near():
    volume, truth = make_shape("compact", SLICE, seed=1)
    session = given(volume, truth)
    index = (0, *np.argwhere(ndimage.binary_erosion(truth[0], iterations=4))[0])
    session.add(at(volume, index, positive=False))
    lost = np.argwhere(truth & ~session.mask_kji)
    reach = np.abs(lost - index).max()
    assert lost.size
    assert reach <= 8


def test_a_mask_of_its_own_may_still_be_redrawn_and_a_given_one_when_asked_for():
    volume, truth = make_shape("compact", SLICE, seed=2)
    mask = bent("warp", truth, volume, 5)
    click = next_click(mask, truth, volume.grid)
    corrected, redrawn = given(volume, mask), given(volume, mask, redraw=True)
    for session in (corrected, redrawn):
        session.add(click)
    error = largest_error(mask, truth, volume.grid).mask_kji
    elsewhere = [((session.mask_kji != mask) & ~error).sum() for session in (corrected, redrawn)]
    assert elsewhere[1] > elsewhere[0]
    once = given(volume, mask, auto=False)
    once.add(click)
    once.predict(redraw=True)
    np.testing.assert_array_equal(once.mask_kji, redrawn.mask_kji)


def test_where_a_mask_came_from_is_known():
    volume, truth = make_shape("compact", SLICE, seed=2)
    asked = []

    class Asked(ClassicalPredictor):
        def predict(self, encoding, state, cancel, progress):
            asked.append(state.mask_is_given)
            return super().predict(encoding, state, cancel, progress)

    middle = np.argwhere(ndimage.binary_erosion(truth[0], iterations=6))[0]
    click = at(volume, (0, *middle))
    corner = at(volume, (0, 4, 4), positive=False)
    session = Session(volume, Asked())
    session.add(click)  # nothing is there
    session.add(corner)  # what it drew itself
    session.undo()
    session.add(corner)  # and still after undo
    session.set_mask(truth)
    session.add(at(volume, (0, 5, 5), positive=False))  # set by hand
    session.add(at(volume, (0, 6, 6), positive=False))  # and corrected since
    session.reset()
    session.set_mask(np.zeros_like(truth))
    session.add(click)  # from nothing
    session.accept()
    session.add(corner)  # accepted
    session.use(UNTRAINED)
    session.add(at(volume, (0, 90, 90), positive=False))
    session.use(Asked())
    session.add(at(volume, (0, 92, 92), positive=False))  # another predictor's
    session.add_target("another")
    session.add(MaskPrompt(truth, volume.grid.ijk_to_ras))
    session.add(corner)  # a mask prompt's
    assert asked == [False, False, False, True, True, False, True, True, True]


def test_prompts_that_were_not_answered_are_all_corrected_at_once():
    volume, truth = make_shape("parts", SLICE, seed=2)
    parts, _ = ndimage.label(truth)
    mask = truth & (parts > 2)
    session = given(volume, mask, auto=False)
    clicks = [at(volume, np.round(ndimage.center_of_mass(parts == n)).astype(int)) for n in (1, 2)]
    for click in clicks:
        session.add(click)
    session.predict()
    for n in (1, 2):
        assert (session.mask_kji & (parts == n)).sum() > 0.5 * (parts == n).sum()
    assert not (mask & ~session.mask_kji).any()


def test_a_box_on_a_given_mask_is_no_correction():
    volume, truth = make_shape("compact", SLICE, seed=2)
    session = given(volume, bent("leak", truth, volume, 1))
    found = np.argwhere(truth)
    session.add(Box.from_indices(volume.grid, flip_axes(found.min(axis=0)), flip_axes(found.max(axis=0))))
    assert dice(session.mask_kji, truth) > 0.9


def test_a_stroke_corrects_along_itself():
    volume, truth = make_shape("ring", SLICE, seed=4)
    mask = bent("broken ring", truth, volume, 1)
    lost = np.argwhere(truth & ~mask)
    middle = lost[np.abs(lost - lost.mean(axis=0)).sum(axis=1).argsort()[:6]]
    points = tuple(tuple(map(float, volume.grid.to_ras(flip_axes(index)))) for index in middle)
    session = given(volume, mask)
    session.add(Scribble(points, 2.0))
    assert not (mask & ~session.mask_kji).any()
    assert dice(session.mask_kji, truth) > dice(mask, truth)


def test_what_changed_far_from_the_click_is_counted():
    volume, truth = make_shape("compact", SLICE, seed=2)
    session = given(volume, bent("missing", truth, volume, 1))
    session.add(next_click(session.mask_kji, truth, volume.grid))
    answer = session.prediction
    assert answer.far_voxels < 0.1 * answer.changed_voxels
    assert answer.change.changed_voxels() == answer.changed_voxels
    session.undo()
    assert session.prediction is None
