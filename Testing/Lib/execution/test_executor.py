"""Where predictions run."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from fakes import BallPredictor, GrowingBallPredictor
from recording import RecordingListener, wait_until

from PromptSegLib.bitmask import Patch
from PromptSegLib.errors import Cancelled, PredictionError
from PromptSegLib.execution.engine import Engine
from PromptSegLib.execution.executor import ImmediateExecutor, ThreadExecutor
from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.co_registration import as_image
from PromptSegLib.predictors.base import Prediction, TargetState
from PromptSegLib.prompts import Point

IMAGE = as_image(np.zeros((20, 20, 20), dtype=np.int16))
CLICK = TargetState("a", (Point((10, 10, 10)),))


@pytest.fixture(params=[ImmediateExecutor, ThreadExecutor])
def executor(request):
    executor = request.param()
    yield executor
    executor.close()


@pytest.fixture
def thread():
    executor = ThreadExecutor()
    yield executor
    executor.close()


def test_a_job_starts_progresses_answers_and_ends(executor):
    listener = RecordingListener()
    job = executor.submit(Engine(BallPredictor(), IMAGE), CLICK, listener)
    assert listener.job is job
    assert listener.wait(executor) is None
    assert listener.progress == [(0.5, "balls")]
    (answer,) = listener.predictions
    assert answer.patches["a"].mask_kji.sum() == 515  # Voxel centres within 5 voxels of one of them.
    assert set(answer.timings_ms) == {"encode", "balls"}


def test_an_image_is_encoded_once_for_all_jobs(executor):
    predictor = BallPredictor()
    engine = Engine(predictor, IMAGE)
    for _ in range(3):
        listener = RecordingListener()
        executor.submit(engine, CLICK, listener)
        listener.wait(executor)
    assert predictor.encoded == 1
    assert listener.predictions[0].timings_ms["encode"] == 0.0


def test_an_image_is_encoded_anew_when_its_voxels_changed(executor):
    predictor = BallPredictor()
    engine = Engine(predictor, IMAGE)
    for _ in range(2):
        listener = RecordingListener()
        executor.submit(engine, CLICK, listener)
        listener.wait(executor)
        engine.drop_encoding()
    assert predictor.encoded == 2


def test_every_prediction_of_a_stream_arrives_in_order(executor):
    listener = RecordingListener()
    executor.submit(Engine(GrowingBallPredictor(), IMAGE), CLICK, listener)
    listener.wait(executor)
    assert [answer.feedback for answer in listener.predictions] == [1, 2, 3]


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), PredictionError("no"), RuntimeError()])
def test_what_a_predictor_raises_ends_the_job(executor, error):
    listener = RecordingListener()
    executor.submit(Engine(BallPredictor(error=error), IMAGE), CLICK, listener)
    assert listener.wait(executor) is error


def test_an_exit_in_a_predictor_ends_its_job_and_not_the_thread(thread):
    failing, fine = RecordingListener(), RecordingListener()
    thread.submit(Engine(BallPredictor(error=SystemExit(3)), IMAGE), CLICK, failing)
    thread.submit(Engine(BallPredictor(), IMAGE), CLICK, fine)
    assert isinstance(failing.wait(thread), SystemExit)
    assert fine.wait(thread) is None


def test_an_answer_outside_of_the_image_is_an_error_that_names_the_predictor(executor):
    class Outside(BallPredictor):
        def answers(self, image, state):
            yield Prediction({"a": Patch(Extent((19, 0, 0), (21, 1, 1)), np.ones((2, 1, 1), dtype=bool))})

    listener = RecordingListener()
    executor.submit(Engine(Outside(), IMAGE), CLICK, listener)
    error = listener.wait(executor)
    assert isinstance(error, PredictionError)
    assert "expected 'ball' to answer inside" in str(error)
    assert not listener.predictions


def test_a_job_cancelled_from_its_own_progress_ends_as_cancelled(executor):
    class Impatient(RecordingListener):
        def on_progress(self, fraction, what):
            self.job.cancel()

    listener = Impatient()
    gate = threading.Event()
    executor.submit(Engine(BallPredictor(gate=gate), IMAGE), CLICK, listener)
    assert isinstance(listener.wait(executor), Cancelled)
    assert not listener.predictions


def test_a_job_cancelled_before_it_ran_never_runs(thread):
    gate = threading.Event()
    running, waiting = RecordingListener(), RecordingListener()
    blocking, other = BallPredictor(gate=gate), BallPredictor()
    thread.submit(Engine(blocking, IMAGE), CLICK, running)
    thread.submit(Engine(other, IMAGE), CLICK, waiting).cancel()
    gate.set()
    assert running.wait(thread) is None
    assert isinstance(waiting.wait(thread), Cancelled)
    assert other.encoded == 0


def test_all_jobs_run_in_one_thread_which_is_not_the_callers(thread):
    threads = set()

    class Telling(BallPredictor):
        def answers(self, image, state):
            threads.add(threading.get_ident())
            return super().answers(image, state)

    engine = Engine(Telling(), IMAGE)
    for _ in range(3):
        listener = RecordingListener()
        thread.submit(engine, CLICK, listener)
        listener.wait(thread)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_listeners_are_told_in_the_thread_that_drains(thread):
    class Telling(RecordingListener):
        def on_prediction(self, prediction):
            threads.add(threading.get_ident())

    threads = set()
    listener = Telling()
    thread.submit(Engine(BallPredictor(), IMAGE), CLICK, listener)
    listener.wait(thread)
    assert threads == {threading.get_ident()}


def test_the_host_is_needed_while_and_only_while_something_is_under_way():
    needs = []
    executor = ThreadExecutor(needs.append)
    gate = threading.Event()
    listeners = [RecordingListener(), RecordingListener()]
    engine = Engine(BallPredictor(gate=gate), IMAGE)
    for listener in listeners:
        executor.submit(engine, CLICK, listener)
    assert needs == [True]
    gate.set()
    listeners[1].wait(executor)
    assert needs == [True, False]
    executor.submit(engine, CLICK, RecordingListener())
    executor.close()
    assert needs == [True, False, True, False]


def test_closing_ends_what_runs_as_cancelled_and_delivers_nothing_after():
    executor = ThreadExecutor()
    gate = threading.Event()
    running, waiting = RecordingListener(), RecordingListener()
    engine = Engine(BallPredictor(gate=gate), IMAGE)
    executor.submit(engine, CLICK, running)
    executor.submit(engine, CLICK, waiting)
    executor.close()
    for listener in (running, waiting):
        (error,) = listener.ends
        assert isinstance(error, Cancelled)
    gate.set()
    executor.drain(0.05)
    assert len(running.ends) == 1


def test_a_closed_executor_starts_again_with_the_next_job():
    executor = ThreadExecutor()
    for _ in range(2):
        listener = RecordingListener()
        executor.submit(Engine(BallPredictor(), IMAGE), CLICK, listener)
        assert listener.wait(executor) is None
        executor.close()
    wait_until(lambda: "PromptSeg predictions" not in {thread.name for thread in threading.enumerate()})


def test_an_encoding_made_while_the_voxels_changed_is_not_kept(thread):
    encoding, go_on = threading.Event(), threading.Event()

    class Slow(BallPredictor):
        def encode(self, image, cancel, progress):
            encoding.set()
            go_on.wait(10)
            return super().encode(image, cancel, progress)

    predictor = Slow()
    engine = Engine(predictor, IMAGE)
    first, second = RecordingListener(), RecordingListener()
    job = thread.submit(engine, CLICK, first)
    encoding.wait(10)
    job.cancel()
    engine.drop_encoding()
    go_on.set()
    thread.submit(engine, CLICK, second)
    assert isinstance(first.wait(thread), Cancelled)
    assert second.wait(thread) is None
    assert predictor.encoded == 2


def test_an_encoding_made_while_a_newer_prompt_came_is_kept(thread):
    encoding, go_on = threading.Event(), threading.Event()

    class Slow(BallPredictor):
        def encode(self, image, cancel, progress):
            encoding.set()
            go_on.wait(10)
            return super().encode(image, cancel, progress)

    predictor = Slow()
    engine = Engine(predictor, IMAGE)
    first, second = RecordingListener(), RecordingListener()
    job = thread.submit(engine, CLICK, first)
    encoding.wait(10)
    job.cancel()
    go_on.set()
    thread.submit(engine, CLICK, second)
    assert isinstance(first.wait(thread), Cancelled)
    assert second.wait(thread) is None
    assert predictor.encoded == 1


def test_the_thread_keeps_nothing_of_a_job_that_ended(thread):
    predictor = BallPredictor(error=ValueError("with its frames"))
    alive = weakref.ref(predictor)
    listener = RecordingListener()
    thread.submit(Engine(predictor, IMAGE), CLICK, listener)
    listener.wait(thread)
    del predictor, listener

    def is_gone():
        gc.collect()
        return alive() is None

    wait_until(is_gone)
