"""A segment is carried from slice to slice to where its structure ends, and no farther."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import BallPredictor
from scipy import ndimage
from slice_phantoms import (
    PerfectModel,
    PerfectPredictor,
    affine,
    ball,
    centres_ras,
    coloured,
    iou,
    middle_ras,
    tube,
)

from PromptSegLib.errors import PromptError, UnsupportedPromptError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.geometry import Grid
from PromptSegLib.predictors.slices.model import ObjectAnswer
from PromptSegLib.predictors.slices.oblique_slices import ObliqueSlice
from PromptSegLib.prompts import Box, Point
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.session import Session
from PromptSegLib.span import Span
from PromptSegLib.view import View

GRIDS = {
    "isotropic": Grid((44, 50, 56), affine()),
    "anisotropic": Grid((20, 60, 64), affine(spacing=(0.8, 0.8, 2.5))),
    "flipped": Grid((20, 60, 64), affine(spacing=(0.8, 0.8, 2.5), signs=(-1, 1, -1))),
    "turned": Grid((20, 60, 64), affine(spacing=(0.8, 0.8, 2.5), turned_deg=25)),
}
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def at(grid, fraction_ijk):
    """Return the position (3,) at these fractions of the grid's size along i, j, k."""
    return grid.to_ras(np.array(fraction_ijk) * (np.array(grid.shape_kji)[::-1] - 1))


def session_on(grid, *structures, **changes):
    return Session(coloured(grid, *structures), PerfectPredictor(), **changes)


def click_in(session, structure, k):
    """Click on the voxel of `structure` on slice k that lies nearest to its middle there."""
    index = np.argwhere(structure[k])
    j, i = index[np.linalg.norm(index - index.mean(axis=0), axis=1).argmin()]
    session.add(Point(tuple(session.image.grid.to_ras((i, j, k)))))


def extent_k(structure):
    return np.flatnonzero(structure.any(axis=(1, 2)))[[0, -1]]


@grids
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_sphere_is_filled_from_any_of_its_slices(grid, share):
    truth = ball(grid, middle_ras(grid), 17)
    session = session_on(grid, truth)
    first, last = extent_k(truth)
    click_in(session, truth, round(first + share * (last - first)))
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98
    assert session.prediction.note.count("nothing is found beyond") == 2


@grids
def test_a_slanted_tube_is_followed_where_it_leads(grid):
    truth = tube(grid, at(grid, (0.25, 0.3, 0.1)), at(grid, (0.75, 0.7, 0.9)), 5)
    session = session_on(grid, truth)
    click_in(session, truth, grid.shape_kji[0] // 2)
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98


@grids
def test_a_tube_that_branches_is_followed_into_both_branches(grid):
    fork = at(grid, (0.5, 0.5, 0.45))
    stem = tube(grid, at(grid, (0.5, 0.5, 0.0)), fork, 6)
    branches = [tube(grid, fork, at(grid, (end, 0.5, 0.95)), 5) for end in (0.25, 0.75)]
    truth = stem | branches[0] | branches[1]
    session = session_on(grid, truth)
    click_in(session, truth, 2)
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98


@grids
def test_one_branch_may_end_before_the_other(grid):
    fork = at(grid, (0.5, 0.5, 0.3))
    stem = tube(grid, at(grid, (0.5, 0.5, 0.0)), fork, 6)
    truth = stem | tube(grid, fork, at(grid, (0.25, 0.5, 0.95)), 5) | tube(grid, fork, at(grid, (0.65, 0.5, 0.6)), 5)
    session = session_on(grid, truth)
    click_in(session, truth, 2)
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98


@grids
def test_a_structure_that_ends_ends_with_a_reason(grid):
    truth = tube(grid, at(grid, (0.5, 0.5, 0.2)), at(grid, (0.5, 0.5, 0.7)), 9)
    session = session_on(grid, truth)
    first, last = extent_k(truth)
    click_in(session, truth, (first + last) // 2)
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98
    assert f"forward to slice {last} along k: nothing is found beyond" in session.prediction.note
    assert f"backward to slice {first} along k: nothing is found beyond" in session.prediction.note


def test_a_structure_that_reaches_the_image_s_end_says_so():
    grid = GRIDS["isotropic"]
    truth = tube(grid, at(grid, (0.5, 0.5, -0.5)), at(grid, (0.5, 0.5, 1.5)), 9)
    session = session_on(grid, truth)
    click_in(session, truth, 20)
    session.propagate()
    assert iou(session.mask_kji, truth) == 1
    assert "forward to slice 43 along k: the image's end" in session.prediction.note


@grids
@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, 1), (1, 1, 1)])
def test_of_two_touching_spheres_only_the_one_prompted_is_filled(grid, direction):
    along = grid.directions @ np.array(direction, dtype=float)
    along /= np.linalg.norm(along)
    ours, other = (ball(grid, middle_ras(grid) + side * 10 * along, 10) for side in (-1, 1))
    session = session_on(grid, ours, other & ~ours)
    click_in(session, ours, int(extent_k(ours).mean()))
    session.propagate()
    assert iou(session.mask_kji, ours) > 0.98


def test_two_touching_spheres_of_one_colour_end_at_the_neck():
    grid = GRIDS["isotropic"]
    along = grid.directions[:, 2]
    ours, other = (ball(grid, middle_ras(grid) + side * 10.5 * along, 10) for side in (-1, 1))
    session = session_on(grid, ours | other)
    click_in(session, ours, int(extent_k(ours).mean()))
    session.propagate()
    assert iou(session.mask_kji, ours) > 0.9


@grids
def test_an_oblique_stack_is_filled_too(grid):
    finer = Grid([2 * n for n in grid.shape_kji], grid.ijk_to_ras @ np.diag([0.5, 0.5, 0.5, 1.0]))
    truth = ball(finer, middle_ras(finer), 17)
    session = session_on(finer, truth)
    normal = finer.directions @ (0.3, -0.2, 0.93)
    normal /= np.linalg.norm(normal)
    right = np.cross(normal, finer.directions[:, 0])
    right /= np.linalg.norm(right)
    view = View(tuple(middle_ras(finer) + 3.0), tuple(right), tuple(np.cross(normal, right)), (60.0, 60.0))
    session.add(Point(view.center_ras), view)
    assert isinstance(next(iter(session.prediction.feedback.records.values())).plane, ObliqueSlice)
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98


def test_an_oblique_slice_that_is_answered_as_before_changes_nothing():
    grid = GRIDS["isotropic"]
    session = session_on(grid, ball(grid, middle_ras(grid), 12))
    normal = np.array((0.3, -0.2, 0.93)) / np.linalg.norm((0.3, -0.2, 0.93))
    right = np.cross(normal, (1.0, 0.0, 0.0)) / np.linalg.norm(np.cross(normal, (1.0, 0.0, 0.0)))
    view = View(tuple(middle_ras(grid)), tuple(right), tuple(np.cross(normal, right)), (60.0, 60.0))
    session.add(Point(view.center_ras), view)
    before = session.mask_kji
    session.add(Point(tuple(middle_ras(grid) + right)), view)
    np.testing.assert_array_equal(session.mask_kji, before)
    assert session.prediction.changed_voxels == 0


def test_another_axis_is_carried_along_when_the_prompt_came_from_its_view():
    grid = GRIDS["anisotropic"]
    truth = ball(grid, middle_ras(grid), 17)
    session = session_on(grid, truth)
    click = Point(tuple(middle_ras(grid) + 4))
    session.add(click, View(click.position_ras, (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (50.0, 50.0)))
    session.propagate()
    assert iou(session.mask_kji, truth) == 1
    assert "along i" in session.prediction.note


def test_prompted_slices_guide_what_lies_between():
    grid = GRIDS["isotropic"]
    # Two bars side by side in one colour: the slices in between could belong to either.
    bars = [tube(grid, at(grid, (x, 0.5, -1)), at(grid, (x, 0.5, 2)), 5) for x in (0.3, 0.7)]
    session = session_on(grid, bars[0] | bars[1])
    click_in(session, bars[0], 5)
    click_in(session, bars[0], 35)
    model = session.predictor.model
    asked = len(model.asked)
    session.propagate(Span((tuple(grid.to_ras((0, 0, 5))), tuple(grid.to_ras((0, 0, 35))))))
    between = np.zeros_like(bars[0])
    between[5:36] = bars[0][5:36]
    np.testing.assert_array_equal(session.mask_kji, between)
    assert len(model.asked) - asked == 29


def test_a_shape_between_two_prompts_is_led_from_the_one_to_the_other():
    grid = Grid((13, 60, 90), affine(spacing=(1.0, 1.0, 8.0)))
    # Steps so long that the disks of neighbour slices do not overlap: nothing but the far end tells where it goes.
    centres = [at(grid, (0.2 + 0.05 * k, 0.5, k / 12)) for k in range(13)]
    truth = np.stack([ball(grid, centre, 4)[k] for k, centre in enumerate(centres)])
    session = session_on(grid, truth)
    click_in(session, truth, 0)
    click_in(session, truth, 12)
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98


def test_a_slice_that_was_prompted_is_not_overwritten():
    grid = GRIDS["isotropic"]
    truth = ball(grid, middle_ras(grid), 17)
    session = session_on(grid, truth)
    click_in(session, truth, 15)
    click_in(session, truth, 25)
    before = session.mask_kji
    model = session.predictor.model
    model.mask = lambda colours, prompts: np.zeros(colours.shape[:2], dtype=bool)
    session.propagate()
    np.testing.assert_array_equal(session.mask_kji, before)
    assert "between prompted slices no farther than slice 15" in session.prediction.note


def test_one_undo_takes_it_all_back():
    grid = GRIDS["isotropic"]
    truth = ball(grid, middle_ras(grid), 17)
    session = session_on(grid, truth)
    click_in(session, truth, 20)
    one_slice = session.mask_kji
    session.propagate()
    assert session.undo() == "propagate"
    np.testing.assert_array_equal(session.mask_kji, one_slice)
    session.redo()
    assert iou(session.mask_kji, truth) > 0.98


class CancelsAfter(SessionObserver):
    """Cancels when masks have changed so many times. Notes the progress."""

    def __init__(self, count):
        self.count = count
        self.session = None
        self.fractions = []

    def masks_changed(self, boxes):
        self.count -= 1
        if self.count == 0:
            self.session.cancel()

    def progress(self, fraction, what):
        self.fractions.append(fraction)


def test_a_cancelled_propagation_keeps_what_has_come():
    grid = GRIDS["isotropic"]
    truth = ball(grid, middle_ras(grid), 17)
    observer = CancelsAfter(1 + 6)
    session = observer.session = session_on(grid, truth, observer=observer)
    click_in(session, truth, 20)
    session.propagate()
    expected = np.zeros_like(truth)
    expected[20:27] = truth[20:27]
    np.testing.assert_array_equal(session.mask_kji, expected)
    assert not session.busy
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98
    session.undo()
    np.testing.assert_array_equal(session.mask_kji, expected)


def test_progress_grows_to_the_end():
    grid = GRIDS["isotropic"]
    truth = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 2)), 8)
    observer = CancelsAfter(-1)
    session = session_on(grid, truth, observer=observer)
    click_in(session, truth, 20)
    observer.fractions.clear()
    session.propagate()
    assert observer.fractions == sorted(observer.fractions)
    assert observer.fractions[-1] > 0.9


def test_it_runs_in_a_thread_and_can_be_cancelled_there():
    grid = GRIDS["isotropic"]
    truth = ball(grid, middle_ras(grid), 17)
    observer = CancelsAfter(1 + 5)
    session = observer.session = session_on(grid, truth, observer=observer, executor=ThreadExecutor())
    try:
        click_in(session, truth, 20)
        assert session.wait(10)
        session.propagate()
        assert session.wait(10)
        assert session.mask_kji.any(axis=(1, 2)).sum() == 6
        session.propagate()
        assert session.wait(10)
        assert iou(session.mask_kji, truth) > 0.98
    finally:
        session.close()


@pytest.mark.parametrize(("direction", "slices"), [("forward", range(20, 34)), ("backward", range(10, 21))])
def test_a_span_limits_direction_and_range(direction, slices):
    grid = GRIDS["flipped"]
    grid = Grid((40, 60, 64), grid.ijk_to_ras)
    truth = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 2)), 8)
    session = session_on(grid, truth)
    click_in(session, truth, 20)
    ends = tuple(tuple(grid.to_ras((0, 0, k))) for k in (33, 10))
    session.propagate(Span(ends, direction))
    assert np.flatnonzero(session.mask_kji.any(axis=(1, 2))).tolist() == list(slices)
    assert "the span's end" in session.prediction.note


def test_a_larger_span_goes_on_from_every_prompted_slice():
    grid = GRIDS["isotropic"]
    truth = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 2)), 8)
    session = session_on(grid, truth)
    click_in(session, truth, 10)
    click_in(session, truth, 30)
    session.propagate(Span((tuple(grid.to_ras((0, 0, 5))), tuple(grid.to_ras((0, 0, 20))))))
    assert np.flatnonzero(session.mask_kji.any(axis=(1, 2))).tolist() == [*range(5, 21), 30]
    click_in(session, truth, 15)
    session.propagate()
    assert iou(session.mask_kji, truth) == 1


def test_a_correction_carries_anew_only_around_it():
    grid = GRIDS["isotropic"]
    truth = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 2)), 8)
    session = session_on(grid, truth)
    for k in (10, 30):
        click_in(session, truth, k)
    session.propagate()
    model = session.predictor.model
    model.asked.clear()
    click_in(session, truth, 35)
    session.propagate()
    # The slice itself, 31 to 34 between it and the last one prompted, 36 to 43 beyond.
    assert len(model.asked) == 1 + 4 + 8
    model.asked.clear()
    click_in(session, truth, 20)
    session.propagate()
    assert len(model.asked) == 1 + 9 + 9


def test_a_correction_clears_what_an_earlier_run_left_beyond_the_new_end():
    grid = GRIDS["isotropic"]
    ours = tube(grid, at(grid, (0.5, 0.5, 0.1)), at(grid, (0.5, 0.5, 0.5)), 8)
    beyond = tube(grid, at(grid, (0.5, 0.5, 0.5)), at(grid, (0.5, 0.5, 0.9)), 8)
    session = session_on(grid, ours | beyond)
    click_in(session, ours, 10)
    session.propagate()
    assert iou(session.mask_kji, ours | beyond) > 0.98
    last = extent_k(ours)[1]
    session.predictor.model.mask = lambda colours, prompts: np.zeros(colours.shape[:2], dtype=bool)
    session.add(Point(tuple(grid.to_ras((28, 25, last + 1))), positive=False))
    del session.predictor.model.mask
    session.propagate()
    assert iou(session.mask_kji, ours) > 0.98
    assert "there is nothing on its first slice" in session.prediction.note


def test_an_edit_by_hand_is_kept_and_carried_from_its_view():
    grid = GRIDS["isotropic"]
    truth = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 2)), 8)
    session = session_on(grid, truth)
    painted = np.zeros_like(truth)
    painted[20] = truth[20]
    painted[20, 20:24] = False
    session.set_mask(painted)
    view = View(tuple(grid.to_ras((28, 25, 20))), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (50.0, 50.0))
    session.propagate(view=view)
    expected = truth.copy()
    expected[20] = painted[20]
    np.testing.assert_array_equal(session.mask_kji, expected)


def test_without_anything_to_begin_with_it_says_so():
    session = session_on(GRIDS["isotropic"], ball(GRIDS["isotropic"], middle_ras(GRIDS["isotropic"]), 9))
    with pytest.raises(PromptError, match="expected a prompt on a slice, or a view"):
        session.propagate()
    view = View(tuple(middle_ras(GRIDS["isotropic"])), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (50.0, 50.0))
    with pytest.raises(PromptError, match="expected a slice with a mask within the span"):
        session.propagate(view=view)


def test_a_predictor_of_whole_volumes_has_nothing_to_carry():
    session = Session(np.zeros((9, 9, 9)), BallPredictor(2.0))
    session.add(Point((4.0, 4.0, 4.0)))
    with pytest.raises(UnsupportedPromptError, match="slice by slice, got 'ball'"):
        session.propagate()


def test_a_poor_score_ends_it():
    grid = GRIDS["isotropic"]
    truth = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 2)), 8)
    session = session_on(grid, truth)
    click_in(session, truth, 20)
    model = session.predictor.model
    answer = model.answer

    def doubtful(embedding, shape_hw, objects):
        answers = answer(embedding, shape_hw, objects)
        return [type(one)(one.mask, 0.31, one.logits) for one in answers]

    model.answer = doubtful
    session.propagate()
    assert session.mask_kji.any(axis=(1, 2)).sum() == 1
    assert "the expected quality beyond is 0.31" in session.prediction.note


def test_an_area_that_jumps_ends_it():
    grid = GRIDS["isotropic"]
    ours = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 0.6)), 3)
    everything = centres_ras(grid)[..., 2] > at(grid, (0, 0, 0.6))[2]
    session = session_on(grid, ours | everything)
    click_in(session, ours, 10)
    session.propagate()
    assert iou(session.mask_kji, ours) > 0.98
    assert "would jump from" in session.prediction.note


class Remembers(PerfectModel):
    """Need not be asked: on each next slice it finds the part that touches what it saw last."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def follower(self):
        return RemembersOne(self)


class RemembersOne:
    def __init__(self, model):
        self.model = model
        self.seen = {}

    def show(self, number, embedding, mask):
        self.model.shown.append(number)
        self.seen[number] = mask

    def find(self, number, embedding, shape_hw):
        last = self.seen[number - 1]
        parts, _ = ndimage.label(embedding[..., 0] > 127)
        self.seen[number] = np.isin(parts, np.unique(parts[last & (parts > 0)]))
        return ObjectAnswer(self.seen[number], 0.9, None)


@grids
def test_a_network_with_a_memory_is_prompted_once_and_follows(grid):
    structure = ball(grid, middle_ras(grid), 16.0)
    session = session_on(grid, structure)
    model = session.predictor.model = Remembers()
    first, last = extent_k(structure)
    click_in(session, structure, (first + last) // 2)
    session.propagate()
    assert iou(session.mask_kji, structure) > 0.98
    assert model.shown == [0, 0]
    assert len(model.asked) == 1


def test_a_memory_is_shown_both_of_the_slices_that_it_leads_between():
    grid = GRIDS["isotropic"]
    structure = ball(grid, middle_ras(grid), 16.0)
    session = session_on(grid, structure)
    model = session.predictor.model = Remembers()
    first, last = extent_k(structure)
    for k in (first + 6, last - 5):
        click_in(session, structure, k)
    session.propagate()
    assert iou(session.mask_kji, structure) > 0.98
    apart = int(last - 5 - (first + 6))
    assert sorted(model.shown) == [0, 0, 0, 0, apart, apart]


def test_slices_are_encoded_in_batches_where_that_pays():
    grid = GRIDS["isotropic"]
    truth = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 2)), 8)
    volume = coloured(grid, truth)
    volume.array[..., 2] = np.arange(44)[:, None, None]
    predictor = PerfectPredictor(batch=4)
    sizes = []
    embed = predictor.model.embed
    predictor.model.embed = lambda images, cancel: sizes.append(len(images)) or embed(images, cancel)
    session = Session(volume, predictor)
    click_in(session, truth, 20)
    session.propagate()
    assert iou(session.mask_kji, truth) == 1
    assert sum(sizes) == 44
    assert sizes.count(4) == 10


def test_a_box_begins_it_as_well_as_a_click():
    grid = GRIDS["anisotropic"]
    truth = ball(grid, middle_ras(grid), 17)
    session = session_on(grid, truth)
    index = np.argwhere(truth[10])
    (j0, i0), (j1, i1) = index.min(axis=0), index.max(axis=0)
    session.add(Box.from_indices(grid, (i0, j0, 10), (i1, j1, 10)))
    session.propagate()
    assert iou(session.mask_kji, truth) > 0.98


def test_it_runs_in_a_process_of_its_own_with_views_and_span(tmp_path):
    grid = Grid((30, 40, 50), affine())
    truth = ball(grid, middle_ras(grid), 12)
    environment = {"PYTHONPATH": str(Path(__file__).parents[3] / "support"), "XDG_CACHE_HOME": str(tmp_path)}
    executor = ProcessExecutor(environment=environment)
    session = Session(coloured(grid, truth), "slice_phantoms:PerfectPredictor", executor=executor, auto=False)
    try:
        sagittal = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        for i in (21, 27):
            click = Point(tuple(grid.to_ras((i, 20, 15))))
            session.add(click, View(click.position_ras, *sagittal, (50.0, 50.0)))
        session.propagate(Span((tuple(grid.to_ras((0, 0, 0))), tuple(grid.to_ras((33, 0, 0))))))
        assert session.wait(60)
    finally:
        session.close()
    expected = truth.copy()
    expected[:, :, 34:] = False
    np.testing.assert_array_equal(session.mask_kji, expected)


def test_a_span_of_some_slices_is_counted_from_the_outermost_prompted_ones():
    grid = GRIDS["isotropic"]
    truth = tube(grid, at(grid, (0.5, 0.5, -1)), at(grid, (0.5, 0.5, 2)), 8)
    session = session_on(grid, truth)
    click_in(session, truth, 12)
    session.propagate(Span(slices=3))
    assert np.flatnonzero(session.mask_kji.any(axis=(1, 2))).tolist() == list(range(9, 16))
    assert "the span's end" in session.prediction.note
    assert session.prediction.device == "cpu"
    click_in(session, truth, 20)
    session.propagate(Span(slices=2))
    assert np.flatnonzero(session.mask_kji.any(axis=(1, 2))).tolist() == list(range(9, 23))
    with pytest.raises(PromptError, match="one slice or more as a span, got 0"):
        Span(slices=0)
