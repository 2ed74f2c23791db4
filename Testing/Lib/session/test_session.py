"""A session: one image, its targets, their prompts."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import strategies
from fakes import (
    BallAndShellPredictor,
    BallPredictor,
    EditableMaskStore,
    GrowingBallPredictor,
    HotInBodyPredictor,
    ball_patch,
)
from recording import RecordingObserver, wait_until

from PromptSegLib.bitmask import Patch
from PromptSegLib.errors import (
    GeometryError,
    PredictionError,
    PromptError,
    UnknownPredictorError,
    UnsupportedPromptError,
    VolumeError,
)
from PromptSegLib.execution.executor import ImmediateExecutor, ThreadExecutor
from PromptSegLib.geometry import Extent, affine_from_parts
from PromptSegLib.predictors.base import Capabilities, Prediction
from PromptSegLib.prompts import Box, ClassPrompt, MaskPrompt, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image, Volume

OBLIQUE = affine_from_parts((1.0, 1.5, 2.0), strategies.rotation(4), (-30.0, 40.0, 50.0))
VOLUME = Volume(np.zeros((16, 20, 24), dtype=np.int16), OBLIQUE)
A, B, C, D = (Point(VOLUME.grid.to_ras(ijk)) for ijk in [(6, 5, 4), (15, 12, 10), (9, 15, 8), (18, 4, 12)])
NOT_A, NOT_B = (Point(point.position_ras, positive=False) for point in (A, B))


@pytest.fixture(params=[ImmediateExecutor, ThreadExecutor])
def any_executor(request):
    executor = request.param()
    yield executor
    executor.close()


@pytest.fixture
def session():
    return Session(VOLUME, BallPredictor())


def ball(*prompts, radius_mm=5.0, onto=None):
    """Return the mask that `BallPredictor` makes of `prompts`, laid over `onto`."""
    mask = np.zeros(VOLUME.grid.shape_kji, dtype=bool) if onto is None else onto.copy()
    patch = ball_patch(VOLUME.grid, prompts, radius_mm)
    mask[patch.extent.slices] = patch.mask_kji
    return mask


def state_of(session):
    """Return all that a user can see of a session."""
    masks = {target: session.mask(target) for target in session.targets}
    prompts = {target: session.prompts(target) for target in session.targets}
    return prompts, {target: mask.tobytes() for target, mask in masks.items()}, session.target


def done(action, prompt):
    """Do `action` of a session with `prompt`, and wait until it is done, whatever the executor."""
    action(prompt)
    assert action.__self__.wait(10)


# From a click to a mask


def test_a_click_becomes_a_mask_at_its_place(session):
    session.add(A)
    np.testing.assert_array_equal(session.mask_kji, ball(A))
    assert session.mask_kji[4, 5, 6]
    assert session.prompts() == (A,)


def test_an_image_is_encoded_once_and_prompted_often():
    predictor = BallPredictor()
    session = Session(VOLUME, predictor)
    for prompt in (A, B, NOT_A):
        session.add(prompt)
    assert predictor.encoded == 1
    assert [state.prompts for state in predictor.states] == [(A,), (A, B), (A, B, NOT_A)]


def test_the_answer_tells_box_voxels_score_and_milliseconds_by_stage(session):
    assert session.prediction is None
    session.add(A)
    answer = session.prediction
    assert answer.predictor == "ball"
    assert answer.extent == Extent.of_mask(ball(A))
    assert answer.changed_voxels == ball(A).sum()
    assert answer.score == 0.9
    assert set(answer.timings_ms) == {"encode", "balls", "write", "total"}
    session.add(B)
    assert session.prediction.changed_voxels == (ball(A) ^ ball(A, B)).sum()


def test_a_predictor_sees_the_mask_feedback_window_and_view():
    predictor = BallPredictor()
    session = Session(VOLUME, predictor, window=Window.from_level_and_width(40, 400))
    view = View(A.position_ras, (1, 0, 0), (0, 1, 0), (200, 100))
    session.add(A)
    session.add(B, view)
    first, second = predictor.states
    assert (first.target, first.mask, first.feedback, first.view) == ("segment", None, None, None)
    np.testing.assert_array_equal(second.mask.read(), ball(A))
    assert second.feedback == 1
    assert second.window == Window(-160, 240)
    assert second.view is view


def test_nothing_is_predicted_until_asked_when_not_automatic():
    predictor = BallPredictor()
    session = Session(VOLUME, predictor, auto=False)
    session.add(A)
    session.add(B)
    assert not session.mask_kji.any()
    session.predict()
    np.testing.assert_array_equal(session.mask_kji, ball(A, B))
    assert len(predictor.states) == 1
    session.undo()
    assert not session.mask_kji.any()
    assert session.prompts() == (A, B)


def test_predicting_without_a_prompt_is_refused(session):
    with pytest.raises(PromptError, match="at least one prompt for 'segment'"):
        session.predict()


@pytest.mark.parametrize("shape", [(1, 20, 24), (16, 1, 24), (16, 20, 1), (1, 1, 1)])
def test_an_image_one_voxel_thin_is_segmented(shape):
    session = Session(Volume(np.zeros(shape), OBLIQUE), BallPredictor())
    middle = Point(session.image.grid.to_ras([(n - 1) // 2 for n in shape[::-1]]))
    session.add(middle)
    assert session.mask_kji[tuple((n - 1) // 2 for n in shape)]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float64])
def test_a_bare_array_of_any_type_is_an_image(dtype):
    session = Session(np.zeros((8, 8, 8), dtype=dtype), BallPredictor(radius_mm=1))
    session.add(Point((3, 4, 5)))
    assert session.mask_kji.sum() == 7
    assert session.mask_kji[5, 4, 3]


def test_the_voxels_are_neither_copied_nor_written_to():
    array = np.zeros((8, 8, 8), dtype=np.int16)
    array.setflags(write=False)
    session = Session(array, BallPredictor())
    session.add(Point((3, 4, 5)))
    assert session.image.reference.array is array


# What is refused leaves everything as it was


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        (Point((500, 0, 0)), PromptError, "outside of it"),
        (Box((500, 0, 0), (10, 10, 10)), PromptError, "outside of it"),
        (TextPrompt("liver"), UnsupportedPromptError, "got text"),
        (ClassPrompt("liver"), UnsupportedPromptError, "got class"),
    ],
)
def test_a_prompt_that_is_refused_changes_nothing(session, prompt, error, message, monkeypatch):
    monkeypatch.setattr("PromptSegLib.predictors.registry.BUILT_IN", {})
    session.add(A)
    before = state_of(session)
    with pytest.raises(error, match=message):
        session.add(prompt)
    assert state_of(session) == before
    session.undo()
    assert not session.can_undo


def test_removing_or_replacing_what_is_not_there_is_refused(session):
    session.add(A)
    with pytest.raises(PromptError, match="one of the 1 prompts of 'segment'"):
        session.remove(B)
    with pytest.raises(PromptError, match="one of the 1 prompts of 'segment'"):
        session.replace(B, C)


@pytest.mark.parametrize("shape", [(16, 20, 23), (20, 24), (24, 20, 16)])
def test_a_mask_of_the_wrong_size_is_refused_naming_both(session, shape):
    with pytest.raises(PromptError, match=r"a mask of shape \(16, 20, 24\) \(k, j, i\), got \("):
        session.set_mask(np.ones(shape))
    assert not session.can_undo


def test_an_unknown_target_is_refused_naming_those_there_are(session):
    session.add_target("liver")
    for call in (session.select, session.mask):
        with pytest.raises(PromptError, match="one of the targets segment, liver, got 'spleen'"):
            call("spleen")


def test_a_predictor_whose_channels_are_missing_is_refused_naming_them(session):
    with pytest.raises(VolumeError, match=r"channels ct, pet for 'pet-ct', got image: ct, pet missing; say which"):
        session.use(HotInBodyPredictor())
    assert session.capabilities.name == "ball"
    Session(Image({"ct": VOLUME, "pet": VOLUME}), HotInBodyPredictor()).add(A)


def test_a_channel_that_does_not_reach_everything_is_told_with_the_answer():
    half = Volume(np.zeros((VOLUME.grid.shape_kji[0] // 2, *VOLUME.grid.shape_kji[1:])), VOLUME.ijk_to_ras)
    session = Session({"ct": VOLUME, "pet": half}, HotInBodyPredictor())
    session.add(A)
    assert session.prediction.note == "channel 'pet' covers 50.0 % of 'ct'; beyond, its lowest value is taken"
    session = Session({"ct": VOLUME, "pet": half}, BallPredictor())
    session.add(A)
    assert session.prediction.note == "", "it does not look at the channel"


def test_a_3d_predictor_refuses_a_single_slice():
    slices = {"ct": Volume(np.zeros((1, 8, 8))), "pet": Volume(np.zeros((1, 8, 8)))}
    with pytest.raises(VolumeError, match="expected a 3D image for 'pet-ct'"):
        Session(slices, HotInBodyPredictor())


def test_an_unknown_predictor_is_refused():
    with pytest.raises(UnknownPredictorError, match="got 'nothing'"):
        Session(VOLUME, "nothing")


# Removing, replacing, accepting, setting


def test_a_prompt_that_is_removed_leaves_what_the_others_make(session):
    session.add(A)
    session.add(NOT_B)
    session.add(C)
    session.remove(A)
    assert session.prompts() == (NOT_B, C)
    np.testing.assert_array_equal(session.mask_kji, ball(NOT_B, C))


def test_removing_the_last_prompt_brings_back_what_was_there_before(session):
    start = np.random.default_rng(0).random(VOLUME.grid.shape_kji) < 0.3
    session.set_mask(start)
    session.add(NOT_A)
    assert (session.mask_kji != start).any()
    session.remove(NOT_A)
    np.testing.assert_array_equal(session.mask_kji, start)


def test_a_mask_that_was_cleared_by_a_negative_click_comes_back_on_reset(session):
    start = ball(A, radius_mm=2)
    session.set_mask(start)
    session.add(NOT_A)
    assert not session.mask_kji.any()
    session.reset()
    np.testing.assert_array_equal(session.mask_kji, start)


def test_a_prompt_that_is_moved_is_one_step(session):
    session.add(A)
    session.add(B)
    before = state_of(session)
    session.replace(A, C)
    assert session.prompts() == (C, B)
    np.testing.assert_array_equal(session.mask_kji, ball(C, B))
    assert session.undo() == "move point+"
    assert state_of(session) == before


def test_accepting_keeps_the_mask_and_drops_the_prompts(session):
    session.add(A)
    session.accept()
    assert session.prompts() == ()
    assert session.prediction is None
    session.add(B)
    session.reset()
    np.testing.assert_array_equal(session.mask_kji, ball(A))


def test_a_session_starts_from_an_existing_mask(session):
    start = ball(A)
    session.set_mask(start.astype(np.uint8))
    session.add(B)
    expected = ball(B, onto=start)
    np.testing.assert_array_equal(session.mask_kji, expected)
    session.set_mask(np.zeros_like(start))
    assert not session.mask_kji.any()


def test_a_mask_prompt_becomes_the_mask_and_is_given_to_the_predictor():
    predictor = BallPredictor()
    session = Session(VOLUME, predictor)
    session.set_mask(ball(C))
    prompt = MaskPrompt(ball(A), OBLIQUE)
    session.add(prompt)
    np.testing.assert_array_equal(session.mask_kji, ball(A))
    assert predictor.encoded == 0
    session.add(B)
    assert predictor.states[0].prompts == (prompt, B)
    np.testing.assert_array_equal(predictor.states[0].mask.read(), ball(A))


@pytest.mark.parametrize(
    ("change", "feedback"),
    [
        (lambda session: session.set_mask(ball(C)), None),
        (lambda session: session.add(MaskPrompt(ball(C), OBLIQUE)), None),
        (lambda session: session.accept(), None),
        (lambda session: session.remove(A), 3),
    ],
    ids=["set_mask", "mask prompt", "accept", "remove"],
)
def test_feedback_is_handed_back_with_just_the_mask_it_came_with(change, feedback):
    predictor = BallPredictor()
    session = Session(VOLUME, predictor)
    session.add(A)
    session.add(B)
    change(session)
    session.add(D)
    assert predictor.states[-1].feedback == feedback
    session.undo()
    session.undo()
    session.add(D)
    assert predictor.states[-1].feedback == 2


def test_another_predictor_gets_no_feedback_of_the_first():
    class Other(BallPredictor):
        capabilities = Capabilities("other", "Other", "", frozenset({3}), frozenset({"point+"}), "MIT")

    session = Session(VOLUME, BallPredictor())
    session.add(A)
    other = Other()
    session.use(other)
    session.add(B)
    assert other.states[0].feedback is None
    assert other.states[0].prompts == (A, B)


def test_a_mask_between_the_voxel_centres_is_refused(session):
    matrix = OBLIQUE.copy()
    matrix[:3, :3] *= 0.1
    matrix[:3, 3] = VOLUME.grid.to_ras((5.3, 5.3, 5.3))
    session.add(A)
    with pytest.raises(PromptError, match="holds the centre of a voxel"):
        session.add(MaskPrompt(np.ones((1, 1, 1)), matrix))
    assert session.prompts() == (A,)
    np.testing.assert_array_equal(session.mask_kji, ball(A))


# Several targets


def test_prompts_and_polarity_do_not_leak_between_targets():
    predictor = BallPredictor()
    session = Session(VOLUME, predictor)
    session.add(A)
    session.add(NOT_B)
    assert session.add_target("liver") == "liver"
    session.add(B)
    session.select("segment")
    session.add(C)
    assert [state.prompts for state in predictor.states] == [(A,), (A, NOT_B), (B,), (A, NOT_B, C)]
    assert [state.feedback for state in predictor.states] == [None, 1, None, 2]
    np.testing.assert_array_equal(session.mask("liver"), ball(B))
    np.testing.assert_array_equal(session.mask("segment"), ball(A, NOT_B, C))


def test_targets_of_one_name_are_told_apart():
    session = Session(VOLUME, BallPredictor())
    assert session.add_target("liver") == "liver"
    assert session.add_target("liver") == "liver 2"
    assert session.targets == ("segment", "liver", "liver 2")


def test_a_labelmap_holds_the_targets_in_their_order():
    session = Session(VOLUME, BallPredictor())
    session.add(A)
    session.add_target()
    session.add(B)
    expected = np.where(ball(B), 2, ball(A))
    np.testing.assert_array_equal(session.labelmap(), expected)


def test_undo_selects_the_target_of_the_step_it_takes_back():
    session = Session(VOLUME, BallPredictor())
    session.add(A)
    session.add_target("liver")
    assert session.undo() == "add point+"
    assert session.target == "segment"
    assert not session.mask("segment").any()


@pytest.mark.parametrize("store_type", [None, EditableMaskStore])
def test_a_prediction_for_several_targets_is_one_step(store_type, any_executor):
    store = store_type(VOLUME.grid.shape_kji) if store_type else None
    session = Session(VOLUME, BallAndShellPredictor(), executor=any_executor, store=store)
    shell = ball(A, radius_mm=7.0) & ~ball(A)
    for _ in range(2):
        session.add(A)
        assert session.wait(10)
        assert len(session.targets) == 2
        np.testing.assert_array_equal(session.mask_kji, ball(A))
        np.testing.assert_array_equal(session.mask(session.targets[1]), shell)
        session.undo()
        assert not any(session.mask(target).any() for target in session.targets)
    session.redo()
    np.testing.assert_array_equal(session.mask(session.targets[1]), shell)
    session.reset()
    assert not any(session.mask(target).any() for target in session.targets)


def test_a_stream_of_predictions_is_undone_in_one_step(any_executor):
    observer = RecordingObserver()
    session = Session(VOLUME, GrowingBallPredictor(radius_mm=6), executor=any_executor, observer=observer)
    session.add(A)
    assert session.wait(10)
    assert len(observer.boxes) == 3
    assert session.prediction.feedback == 3
    np.testing.assert_array_equal(session.mask_kji, ball(A, radius_mm=6))
    assert session.undo() == "add point+"
    assert not session.mask_kji.any()
    assert not session.can_undo


# What is told


def test_an_observer_is_told_what_changed_where():
    observer = RecordingObserver()
    session = Session(VOLUME, BallPredictor(), observer=observer)
    session.add(A)
    assert observer.prompts == ["segment"]
    assert observer.boxes == [{"segment": Extent.of_mask(ball(A))}]
    assert observer.busy == [True, False]
    assert observer.progresses == [(0.5, "balls")]
    session.undo()
    assert observer.boxes[1] == {"segment": Extent.of_mask(ball(A))}


def test_an_observer_told_of_an_undo_finds_its_target_selected():
    class Looking(RecordingObserver):
        def prompts_changed(self, target):
            self.prompts.append((target, session.target, session.prompts()))

    session = Session(VOLUME, BallPredictor(), observer=Looking())
    session.auto = False
    session.add_target("spleen")
    session.add_target("liver")
    session.add(A)
    session.select("spleen")
    session.undo()
    session.select("spleen")
    session.redo()
    assert session.observer.prompts == [("liver", "liver", prompts) for prompts in ((A,), (), (A,))]


# Failures


@pytest.mark.parametrize("error", [ValueError("no such layer"), PredictionError("no such layer")])
@pytest.mark.parametrize("predictor_type", [BallPredictor, GrowingBallPredictor])
def test_a_predictor_that_raises_leaves_the_session_as_before(any_executor, predictor_type, error):
    observer = RecordingObserver()
    predictor = predictor_type()
    session = Session(VOLUME, predictor, executor=any_executor, observer=observer)
    session.add(A)
    session.wait(10)
    session.add(B)
    session.wait(10)
    session.undo()
    before = state_of(session)
    predictor.error = error
    with pytest.raises(PredictionError, match="no such layer") as failed:
        done(session.add, C)
    if isinstance(error, ValueError):
        assert failed.value.__cause__ is error
        assert "'ball' failed with ValueError" in str(failed.value)
    assert observer.errors == [failed.value]
    assert not session.busy
    assert state_of(session) == before
    assert session.redo() == "add point+"
    np.testing.assert_array_equal(session.mask_kji, ball(A, B, radius_mm=5))
    predictor.error = None
    session.add(C)
    assert session.wait(10)


def test_a_failed_removal_leaves_prompts_and_mask(any_executor):
    predictor = BallPredictor()
    session = Session(VOLUME, predictor, executor=any_executor)
    for prompt in (A, B):
        session.add(prompt)
        session.wait(10)
    before = state_of(session)
    predictor.error = ValueError("no")
    with pytest.raises(PredictionError):
        done(session.remove, A)
    assert state_of(session) == before


def test_a_failure_does_not_change_which_target_is_selected():
    gate = threading.Event()
    session = Session(VOLUME, BallPredictor(gate=gate, error=ValueError("no")), executor=ThreadExecutor())
    session.add(A)
    session.add_target("liver")
    gate.set()
    with pytest.raises(PredictionError):
        session.wait(10)
    assert session.target == "liver"
    session.close()


def test_a_store_that_refuses_ends_the_prediction_and_leaves_the_session_as_before(any_executor):
    class Refusing(EditableMaskStore):
        refuses = False

        def write(self, key, patch):
            if self.refuses and key != "id-segment":
                raise GeometryError("the segmentation is under a nonlinear transform")
            return super().write(key, patch)

    store = Refusing(VOLUME.grid.shape_kji)
    session = Session(VOLUME, BallAndShellPredictor(), executor=any_executor, store=store)
    session.add(A)
    session.wait(10)
    before = state_of(session)
    store.refuses = True
    with pytest.raises(GeometryError, match="nonlinear transform"):
        done(session.add, B)
    assert not session.busy
    assert state_of(session) == before


def test_an_answer_for_a_target_that_was_removed_is_dropped():
    gate = threading.Event()
    store = EditableMaskStore(VOLUME.grid.shape_kji)
    session = Session(VOLUME, BallPredictor(gate=gate), executor=ThreadExecutor(), store=store)
    liver = session.add_target("liver")
    session.add(A)
    store.remove(liver)
    gate.set()
    assert session.wait(10)
    assert session.targets == ("id-segment",)
    assert not session.mask("id-segment").any()
    session.close()


# While a prediction runs


@pytest.fixture
def gate():
    return threading.Event()


@pytest.fixture
def threaded(gate):
    session = Session(VOLUME, BallPredictor(gate=gate), executor=ThreadExecutor(), observer=RecordingObserver())
    yield session
    session.close()


def test_a_newer_prompt_takes_the_place_of_an_older_one(threaded, gate):
    threaded.add(A)
    older = threaded._running.run
    threaded.add(B)
    gate.set()
    assert older.job.token.cancelled
    assert threaded.wait(10)
    np.testing.assert_array_equal(threaded.mask_kji, ball(A, B))
    assert len(threaded.observer.boxes) == 1
    assert threaded.undo() == "add point+"
    assert not threaded.mask_kji.any()
    assert threaded.prompts() == (A,)


def test_an_answer_that_came_before_but_is_delivered_after_a_newer_prompt_never_lands(threaded, gate):
    gate.set()
    threaded.add(A)
    wait_until(lambda: threaded._running.executor._deliveries.qsize() == 3)
    gate.clear()
    threaded.add(B)
    threaded.poll()
    assert threaded.busy
    assert not threaded.mask_kji.any()
    gate.set()
    assert threaded.wait(10)
    np.testing.assert_array_equal(threaded.mask_kji, ball(A, B))


def test_cancelling_keeps_the_prompts_and_the_mask(threaded, gate):
    gate.set()
    threaded.add(A)
    threaded.wait(10)
    gate.clear()
    threaded.add(B)
    assert threaded.busy
    threaded.cancel()
    assert not threaded.busy
    assert threaded.prompts() == (A, B)
    np.testing.assert_array_equal(threaded.mask_kji, ball(A))
    gate.set()
    threaded.poll(0.1)
    np.testing.assert_array_equal(threaded.mask_kji, ball(A))
    threaded.predict()
    threaded.wait(10)
    np.testing.assert_array_equal(threaded.mask_kji, ball(A, B))


def test_a_prediction_at_once_is_cancelled_from_its_progress():
    class Impatient(RecordingObserver):
        def progress(self, fraction, what):
            session.cancel()

    session = Session(VOLUME, BallPredictor(gate=threading.Event()), observer=Impatient())
    session.add(A)
    assert not session.busy
    assert session.prompts() == (A,)
    assert not session.mask_kji.any()


@pytest.mark.parametrize(
    "interrupt",
    [
        lambda session: session.undo(),
        lambda session: session.set_mask(ball(C)),
        lambda session: session.reset(),
        lambda session: session.image_changed(),
        lambda session: session.use(BallPredictor()),
    ],
    ids=["undo", "set_mask", "reset", "image_changed", "use"],
)
def test_what_changes_the_question_cancels_the_running_answer(threaded, gate, interrupt):
    threaded.add(A)
    interrupt(threaded)
    assert not threaded.busy
    gate.set()
    threaded.poll(0.1)
    assert not (threaded.mask_kji & ball(A)).any()


def test_waiting_gives_up_after_its_time(threaded, gate):
    threaded.add(A)
    assert threaded.wait(0.05) is False
    assert threaded.busy
    gate.set()
    assert threaded.wait(10) is True


def test_voxels_that_changed_are_encoded_anew():
    predictor = BallPredictor()
    session = Session(VOLUME, predictor)
    session.add(A)
    session.image_changed()
    session.add(B)
    assert predictor.encoded == 2


def test_two_sessions_share_an_executor_and_closing_it_ends_both():
    gate = threading.Event()
    executor = ThreadExecutor()
    first, second = (Session(VOLUME, BallPredictor(gate=gate), executor=executor) for _ in range(2))
    first.add(A)
    second.add(B)
    first.close()
    assert not first.busy
    assert not second.busy
    assert second.wait(1)
    gate.set()
    second.predict()
    second.wait(10)
    np.testing.assert_array_equal(second.mask_kji, ball(B))
    second.close()


# Edits by somebody else


@pytest.fixture
def store():
    return EditableMaskStore(VOLUME.grid.shape_kji)


BRUSHED = Extent((10, 10, 10), (13, 13, 13))


def brush(store, key="id-segment"):
    store.edit(key, BRUSHED, np.ones(BRUSHED.shape_kji, dtype=bool))


def test_an_edit_by_hand_is_a_step_of_its_own(store):
    predictor = BallPredictor()
    session = Session(VOLUME, predictor, store=store)
    session.add(A)
    brush(store)
    session.add(B)
    edited = ball(A)
    edited[BRUSHED.slices] = True
    np.testing.assert_array_equal(predictor.states[1].mask.read(), edited)
    assert predictor.states[1].feedback is None
    assert [session.undo() for _ in range(4)] == ["add point+", "edit", "add point+", None]
    assert not session.mask_kji.any()
    assert [session.redo() for _ in range(3)] == ["add point+", "edit", "add point+"]
    np.testing.assert_array_equal(session.mask_kji, ball(A, B, onto=edited))


def test_undo_right_after_an_edit_takes_the_edit_back(store):
    session = Session(VOLUME, BallPredictor(), store=store)
    session.add(A)
    brush(store)
    assert session.undo() == "edit"
    np.testing.assert_array_equal(session.mask_kji, ball(A))


def test_redo_right_after_an_edit_does_nothing(store):
    session = Session(VOLUME, BallPredictor(), store=store)
    session.add(A)
    session.undo()
    brush(store)
    assert session.redo() is None
    assert session.mask_kji.sum() == BRUSHED.size


def test_an_edit_survives_a_reset(store):
    session = Session(VOLUME, BallPredictor(), store=store)
    session.add(A)
    brush(store)
    session.add(B)
    session.reset()
    edited = ball(A)
    edited[BRUSHED.slices] = True
    np.testing.assert_array_equal(session.mask_kji, edited)


def test_an_edit_made_while_a_prediction_ran_is_not_wiped_out(store, gate):
    predictor = BallPredictor(gate=gate)
    session = Session(VOLUME, predictor, store=store, executor=ThreadExecutor())
    session.add(A)
    brush(store)
    session.add_target("liver")
    gate.set()
    assert session.wait(10)
    edited = np.zeros(VOLUME.grid.shape_kji, dtype=bool)
    edited[BRUSHED.slices] = True
    np.testing.assert_array_equal(session.mask("id-segment"), ball(A, onto=edited))
    np.testing.assert_array_equal(predictor.states[1].mask.read(), edited)
    assert not session.mask("id-liver").any()
    assert [session.undo() for _ in range(3)] == ["predict", "edit", "add point+"]
    session.close()


def test_an_edit_of_another_target_does_not_disturb_a_running_prediction(store, gate):
    predictor = BallPredictor(gate=gate)
    session = Session(VOLUME, predictor, store=store, executor=ThreadExecutor())
    liver = session.add_target("liver")
    session.select("id-segment")
    session.add(A)
    brush(store, liver)
    gate.set()
    assert session.wait(10)
    assert len(predictor.states) == 1
    np.testing.assert_array_equal(session.mask_kji, ball(A))
    assert session.mask(liver).sum() == BRUSHED.size
    session.close()


def test_a_store_decides_what_a_write_changes():
    class Masked(EditableMaskStore):
        """Lets only the lower half be changed."""

        def write(self, key, patch):
            mask = self.read(key, patch.extent)
            lower = max(0, min(8, patch.extent.stop_kji[0]) - patch.extent.start_kji[0])
            mask[:lower] = patch.mask_kji[:lower]
            return super().write(key, Patch(patch.extent, mask))

    session = Session(VOLUME, BallPredictor(), store=Masked(VOLUME.grid.shape_kji))
    session.add(C)
    expected = ball(C)
    expected[8:] = False
    np.testing.assert_array_equal(session.mask_kji, expected)
    assert session.prediction.changed_voxels == expected.sum()
    session.undo()
    assert not session.mask_kji.any()


def test_a_prediction_without_patches_changes_nothing():
    class Silent(BallPredictor):
        def answers(self, image, state):
            yield Prediction({}, note="nothing found")

    session = Session(VOLUME, Silent())
    session.add(A)
    assert session.prediction.extent is None
    assert session.prediction.note == "nothing found"
    assert session.prompts() == (A,)
