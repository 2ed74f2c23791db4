"""Predictions in a process of their own, and what becomes of them when it ends."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import psutil
import pytest
import strategies
from fakes import BallPredictor, ball_patch
from recording import RecordingListener, RecordingObserver, wait_until
from worker_fakes import KEYED, LARGE_BALL, MOVABLE, OBEDIENT

from PromptSegLib.errors import Cancelled, PredictionError, UnknownPredictorError, WeightsError
from PromptSegLib.execution.engine import Engine
from PromptSegLib.execution.executor import ImmediateExecutor
from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.execution.process.shared_block import PREFIX
from PromptSegLib.geometry import affine_from_parts
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.predictors.registry import Recipe, create_predictor, recipe_of
from PromptSegLib.prompts import Box, Lasso, MaskPrompt, Point, Scribble, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image, Volume

SUPPORT = Path(__file__).parents[3] / "support"
ENVIRONMENT = {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
OBLIQUE = affine_from_parts((1.0, 1.5, 2.0), strategies.rotation(4), (-30.0, 40.0, 50.0))
ARRAY = np.random.default_rng(1).integers(-1000, 1000, (16, 20, 24), dtype=np.int16)
VOLUME = Volume(ARRAY, OBLIQUE, "CT")
A, B, C = (Point(VOLUME.grid.to_ras(ijk)) for ijk in [(6, 5, 4), (15, 12, 10), (9, 15, 8)])
NOT_B = Point(B.position_ras, positive=False)

has_signals = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals on POSIX only")


def blocks():
    return {path.name for path in Path("/dev/shm").glob(f"{PREFIX}*")}


@pytest.fixture(autouse=True)
def no_block_is_left_behind():
    before = blocks()
    yield
    # Tests in other processes may share voxels just now.
    wait_until(lambda: blocks() <= before, 5)


@pytest.fixture
def executor():
    executor = ProcessExecutor(environment=ENVIRONMENT)
    yield executor
    pid = executor.pid
    executor.close()
    assert pid is None or is_gone(pid)


@pytest.fixture(scope="module")
def shared():
    """One process for the tests that end none."""
    executor = ProcessExecutor(environment=ENVIRONMENT)
    yield executor
    executor.close()


@pytest.fixture
def session(executor):
    return Session(VOLUME, OBEDIENT, executor=executor, observer=RecordingObserver())


def is_gone(pid):
    """Tell whether a child process has ended, all of its threads: until then its parent cannot know."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:  # reaped already, or the child of a child
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def done(session, prompt, view=None):
    """Add `prompt`, wait for the answer and return what the predictor saw."""
    session.add(prompt, view)
    assert session.wait(20)
    return json.loads(session.prediction.note)


def ball_count(*prompts):
    return ball_patch(VOLUME.grid, prompts, 5.0).mask_kji.sum()


def state_of(session):
    return {key: (session.prompts(key), session.mask(key).tobytes()) for key in session.targets}


# The same answers


def test_answers_are_those_of_the_immediate_executor(shared):
    observer = RecordingObserver()
    there = Session(VOLUME, OBEDIENT, executor=shared, observer=observer, window=Window(-160, 240))
    here = Session(VOLUME, OBEDIENT, executor=ImmediateExecutor(), window=Window(-160, 240))
    mask = np.random.default_rng(0).random(ARRAY.shape) < 0.2
    view = View(A.position_ras, (1, 0, 0), (0, 1, 0), (200, 100))
    square = VOLUME.grid.to_ras([[2, 2, 5], [9, 2, 5], [9, 9, 5], [2, 9, 5]])
    steps = [
        lambda s: s.add(A, view),
        lambda s: s.add(NOT_B),
        lambda s: s.add(MaskPrompt(mask, OBLIQUE)),
        lambda s: s.add(Lasso(square)),
        lambda s: s.add(Scribble(square, 2.0, positive=False)),
        lambda s: s.remove(A),
        lambda s: s.undo(),
        lambda s: s.add_target("other"),
        lambda s: s.add(C),
        lambda s: s.set_mask(mask),
        lambda s: s.add(Box(C.position_ras, (5, 5, 0))),
        lambda s: s.select("segment"),
        lambda s: s.add(A),
        lambda s: s.reset(),
        lambda s: s.add(B),
    ]
    for step in steps:
        for session in (there, here):
            step(session)
            assert session.wait(20)
        assert state_of(there) == state_of(here)
        ours, theirs = here.prediction, there.prediction
        if ours is not None:
            assert (theirs.extent, theirs.changed_voxels, theirs.score) == (
                ours.extent,
                ours.changed_voxels,
                ours.score,
            )
            seen_there, seen_here = json.loads(theirs.note), json.loads(ours.note)
            assert seen_there.pop("pid") != seen_here.pop("pid")
            assert seen_there == seen_here
            assert set(theirs.timings_ms) == {"encode", "balls", "write", "total"}
    assert observer.progresses[0] == (0.5, "balls")


@pytest.mark.parametrize(
    "array",
    [
        ARRAY.astype(bool),
        ARRAY.astype(np.float16),
        ARRAY.astype(">i2"),
        ARRAY.astype(np.int64).T,
        ARRAY[::-2, 3:, ::3],
        np.stack([ARRAY.astype(np.uint8)] * 3, axis=-1),
    ],
    ids=["bool", "float16", "big-endian", "transposed", "strided", "rgb"],
)
def test_voxels_of_every_type_and_order_arrive_as_they_are(shared, array):
    image = Image({"ct": Volume(array, OBLIQUE), "pet": Volume(array.copy(), OBLIQUE)})
    session = Session(image, OBEDIENT, executor=shared)
    point = Point(image.grid.to_ras((3, 4, 5)))
    assert done(session, point)["voxels"] == dict.fromkeys(("ct", "pet"), array[5, 4, 3].tolist())


def test_an_image_is_encoded_once_for_all_prompts(shared):
    session = Session(VOLUME, OBEDIENT, executor=shared)
    assert [done(session, prompt)["encoded"] for prompt in (A, B, C)] == [1, 1, 1]


def test_voxels_that_changed_are_shared_and_encoded_anew(shared):
    array = ARRAY.copy()
    session = Session(Volume(array, OBLIQUE), OBEDIENT, executor=shared)
    assert done(session, A)["voxels"] == {"image": int(ARRAY[4, 5, 6])}
    array[4, 5, 6] = 3000
    array[10, 12, 15] = 4000
    session.image_changed()
    seen = done(session, B)
    assert seen["encoded"] == 2
    assert seen["voxels"] == {"image": 4000}
    session.image_changed(Volume(array + 1, OBLIQUE))
    seen = done(session, A)
    assert seen["encoded"] == 3
    assert seen["voxels"] == {"image": 3001}
    assert seen["prompts"] == ["point+", "point+", "point+"]
    assert seen["mask"][0] == ball_count(A, B)


def test_two_sessions_on_one_executor_do_not_disturb_each_other(shared):
    first, second = (Session(VOLUME, OBEDIENT, executor=shared) for _ in range(2))
    pids = set()
    for prompt in (A, NOT_B, C):
        first.add(prompt)
        second.add(Point(prompt.position_ras))
        assert first.wait(20)
        assert second.wait(20)
        pids |= {json.loads(session.prediction.note)["pid"] for session in (first, second)}
    assert len(pids) == 1
    for session in (first, second):
        alone = Session(VOLUME, "worker_fakes:ObedientPredictor")
        for prompt in session.prompts():
            alone.add(prompt)
        np.testing.assert_array_equal(session.mask_kji, alone.mask_kji)


def test_what_is_printed_there_disturbs_nothing(shared):
    session = Session(VOLUME, OBEDIENT, executor=shared)
    session.add(TextPrompt("print"))
    assert session.wait(20)
    assert done(session, A)["prompts"] == ["text", "point+"]


# Errors


def test_an_exception_crosses_with_its_text_and_where_it_was_raised(shared):
    session = Session(VOLUME, OBEDIENT, executor=shared)
    done(session, A)
    before = state_of(session)
    session.add(TextPrompt("raise"))
    with pytest.raises(PredictionError, match="'obedient' failed with ValueError: no such layer: größer") as failed:
        session.wait(20)
    assert "worker_fakes.py" in str(failed.value.__cause__)
    assert state_of(session) == before
    assert done(session, B)["prompts"] == ["point+", "point+"]


def test_an_error_of_promptseg_crosses_as_itself(shared):
    session = Session(VOLUME, OBEDIENT, executor=shared)
    session.add(TextPrompt("weights"))
    with pytest.raises(WeightsError, match="expected weights, got none"):
        session.wait(20)


def test_a_predictor_given_as_an_object_is_refused_saying_what_to_do(executor):
    session = Session(VOLUME, BallPredictor(), executor=executor)
    session.add(A)
    with pytest.raises(PredictionError, match=r"by name, 'default' or .*got a BallPredictor object"):
        session.wait(20)
    assert session.prompts() == ()
    assert executor.pid is None


def test_options_reach_the_predictor_there_and_nobody_else(executor, caplog):
    caplog.set_level("DEBUG")
    made = create_predictor(KEYED, api_key="sesame", radius_mm=5.0)
    session = Session(VOLUME, made, executor=executor)
    session.add(A)
    assert session.wait(20)
    assert session.prediction.note == f"key {hashlib.sha256(b'sesame').hexdigest()}"
    process = psutil.Process(executor.pid)
    told = repr((process.cmdline(), process.environ(), recipe_of(made), caplog.text))
    assert "sesame" not in told
    assert "keyed" in told.lower()
    session.use(Recipe(KEYED, options={"api_key": "open"}))
    session.predict()
    assert session.wait(20)
    assert session.prediction.note == f"key {hashlib.sha256(b'open').hexdigest()}"


def test_a_recipe_that_is_used_again_finds_what_was_encoded(executor):
    session = Session(VOLUME, Recipe(KEYED, options={"api_key": "open"}), executor=executor)
    before = session.predictor
    session.use(OBEDIENT)
    session.use(Recipe(KEYED, options={"api_key": "open"}))
    assert session.predictor is before
    session.use(Recipe(KEYED, options={"api_key": "sesame"}))
    assert session.predictor is not before


def test_an_option_that_cannot_be_sent_is_named(executor):
    session = Session(VOLUME, create_predictor(KEYED, api_key=threading.Lock()), executor=executor)
    session.add(A)
    with pytest.raises(PredictionError, match=r"options that can be sent to another process, got api_key, .* a lock"):
        session.wait(20)
    assert session.prompts() == ()
    assert executor.pid is None


def test_a_predictor_that_is_not_there_in_the_other_process_is_named():
    executor = ProcessExecutor()
    listener = RecordingListener()
    engine = Engine(create_predictor(OBEDIENT), Image(VOLUME))
    executor.submit(engine, TargetState("a", (A,)), listener)
    error = listener.wait(executor)
    executor.close()
    assert isinstance(error, UnknownPredictorError)
    assert OBEDIENT in str(error)


def test_an_interpreter_that_cannot_be_started_is_an_error_of_the_prediction():
    session = Session(VOLUME, OBEDIENT, executor=ProcessExecutor(python="/nowhere/python"))
    session.add(A)
    with pytest.raises(PredictionError, match=r"a process for 'obedient', got none: .*/nowhere/python"):
        session.wait(20)
    assert session.prompts() == ()


def test_an_interpreter_that_ends_at_once_is_an_error_with_what_it_printed(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('this is no numpy')")
    executor = ProcessExecutor(environment={"PYTHONPATH": str(tmp_path)})
    session = Session(VOLUME, OBEDIENT, executor=executor)
    for _ in range(2):
        session.add(A)
        with pytest.raises(PredictionError, match=r"(?s)ended with status 1\nThe last it .*this is no numpy"):
            session.wait(20)
    session.close()


# The end of the process


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("exit", "ended with status 3"),
        pytest.param("kill", "was killed by SIGKILL", marks=has_signals),
        pytest.param("crash", "was killed by SIGABRT", marks=has_signals),
    ],
)
def test_a_crash_is_an_error_message_and_the_next_prompt_starts_anew(session, text, how):
    first = done(session, A)["pid"]
    before = state_of(session)
    session.add(TextPrompt(text))
    with pytest.raises(PredictionError, match=f"the process of 'obedient' {how}") as failed:
        session.wait(20)
    if text == "crash":
        assert "obey" in str(failed.value), "where it crashed is in the message"
    assert not session.busy
    assert session.observer.errors == [failed.value]
    assert state_of(session) == before
    seen = done(session, B)
    assert seen["pid"] != first
    assert seen["encoded"] == 1
    assert seen["prompts"] == ["point+", "point+"]
    assert seen["mask"] is not None
    assert seen["feedback"] is None, "it is gone with the process that made it"


@has_signals
def test_a_process_killed_from_outside_in_the_middle_of_a_prediction_is_an_error(session, executor):
    session.add(TextPrompt("sleep"))
    wait_until(lambda: session.observer.progresses, drain=executor.drain)
    os.kill(executor.pid, signal.SIGKILL)
    with pytest.raises(PredictionError, match="killed by SIGKILL"):
        session.wait(20)
    assert session.prompts() == ()


@has_signals
def test_a_process_killed_while_nothing_runs_is_not_noticed(session, executor):
    first = done(session, A)["pid"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: is_gone(first))
    assert done(session, B)["pid"] != first
    assert session.observer.errors == []


def test_those_that_wait_go_on_in_a_new_process(executor):
    first, second = (Session(VOLUME, OBEDIENT, executor=executor) for _ in range(2))
    done(second, A)
    first.add(TextPrompt("exit"))
    second.add(B)
    assert second.wait(20)
    assert json.loads(second.prediction.note)["prompts"] == ["point+", "point+"]
    assert isinstance(first.error, PredictionError)


def test_closing_ends_the_process_and_what_ran_in_it(executor):
    listener = RecordingListener()
    engine = Engine(create_predictor(OBEDIENT), Image(VOLUME))
    executor.submit(engine, TargetState("a", (TextPrompt("deaf"),)), listener)
    wait_until(lambda: listener.progress, drain=executor.drain)
    pid = executor.pid
    started = time.monotonic()
    executor.close()
    assert time.monotonic() - started < 2
    assert is_gone(pid)
    assert executor.pid is None
    assert isinstance(listener.ends[0], Cancelled)
    again = RecordingListener()
    executor.submit(engine, TargetState("a", (A,)), again)
    assert again.wait(executor) is None


PARENT = f"""
import sys, time
sys.path[:0] = {[str(SUPPORT), str(SUPPORT.parents[1])]!r}
from recording import RecordingListener
from PromptSegLib.execution.engine import Engine
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.predictors.registry import Recipe, create_predictor, recipe_of
from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.prompts import TextPrompt
from PromptSegLib.imaging.co_registration import as_image

executor = ProcessExecutor(environment={ENVIRONMENT!r})
listener = RecordingListener()
engine = Engine(create_predictor({OBEDIENT!r}), as_image([[[0, 1]]]))
executor.submit(engine, TargetState("a", (TextPrompt("deaf"),)), listener)
while not listener.progress:
    executor.drain(0.01)
print(executor.pid, flush=True)
if "leave" not in sys.argv:
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["is killed", "leave"])
def test_the_process_ends_when_the_one_that_started_it_does(how):
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PARENT, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        if how == "is killed":
            parent.kill()
        _, printed = parent.communicate(timeout=20)
    assert printed == ""
    wait_until(lambda: is_gone(pid), 5)


# Cancelling


def test_a_cancelled_prediction_stops_and_its_process_goes_on(session, executor):
    pid = done(session, A)["pid"]
    session.add(TextPrompt("sleep"))
    session.poll(0.05)
    session.cancel()
    assert not session.busy
    wait_until(lambda: not executor._unfinished, drain=executor.drain)
    assert done(session, B)["pid"] == pid
    assert session.prompts() == (A, TextPrompt("sleep"), B)


def test_a_newer_prompt_takes_the_place_of_an_older_one(session):
    session.add(TextPrompt("sleep"))
    session.add(A)
    assert session.wait(20)
    assert len(session.observer.boxes) == 1
    assert json.loads(session.prediction.note)["prompts"] == ["text", "point+"]
    assert session.undo() == "add point+"
    assert not session.mask_kji.any()


def test_a_prediction_that_does_not_hear_is_killed_after_its_grace_and_the_next_one_runs():
    executor = ProcessExecutor(environment=ENVIRONMENT, cancel_grace_s=0.3)
    session = Session(VOLUME, OBEDIENT, executor=executor, observer=RecordingObserver())
    first = done(session, A)["pid"]
    session.add(TextPrompt("deaf"))
    session.poll(0.1)
    started = time.monotonic()
    seen = done(session, B)
    assert 0.3 < time.monotonic() - started < 5
    assert seen["pid"] != first
    assert seen["prompts"] == ["point+", "text", "point+"]
    assert session.observer.errors == []
    session.close()


def test_the_host_is_needed_while_and_only_while_something_is_under_way():
    needs = []
    executor = ProcessExecutor(needs.append, environment=ENVIRONMENT)
    session = Session(VOLUME, OBEDIENT, executor=executor)
    done(session, A)
    assert needs == [True, False]
    session.add(TextPrompt("exit"))
    assert needs == [True, False, True]
    with pytest.raises(PredictionError):
        session.wait(20)
    assert needs == [True, False, True, False]
    session.close()


# What crosses


def test_what_nobody_refers_to_is_forgotten_there(executor):
    session = Session(VOLUME, OBEDIENT, executor=executor)
    assert done(session, A)["feedback"] is None
    assert done(session, B)["feedback"] == [1, 1]
    assert executor._memory.forgotten() == [], "what the history holds is kept"
    session.accept()
    session.ledger.history.clear()
    assert [forgotten.kind for forgotten in executor._memory.forgotten()] == ["feedback", "feedback"]
    session.image_changed(Volume(ARRAY, OBLIQUE))
    del session
    gc.collect()
    assert {forgotten.kind for forgotten in executor._memory.forgotten()} == {"image", "engine"}


def test_a_click_sends_what_changed_and_no_more():
    volume = Volume(np.zeros((256, 256, 256), dtype=np.int16))
    executor = ProcessExecutor(environment=ENVIRONMENT)
    there = Session(volume, LARGE_BALL, executor=executor)
    here = Session(volume, LARGE_BALL)
    clicks = [Point((100.0 + 8 * n, 120.0, 130.0), positive=n % 3 != 2) for n in range(8)]
    crossed, seconds = [], {there: [], here: []}
    for click in clicks:
        bytes_before = sum(executor.bytes_crossed)
        for session in (there, here):
            started = time.perf_counter()
            session.add(click)
            session.wait(20)
            seconds[session].append(time.perf_counter() - started)
        crossed.append(sum(executor.bytes_crossed) - bytes_before)
    there.close()
    overhead_ms = 1000 * (np.median(seconds[there][1:]) - np.median(seconds[here][1:]))
    print(
        f"256x256x256, balls: {max(crossed[1:]) / 1000:.1f} kB a click at most, overhead {overhead_ms:.1f} ms "
        f"a click, first click {1000 * seconds[there][0]:.0f} ms with the start of the process"
    )
    assert max(crossed) < 100_000
    assert there.prediction.extent.size > 40**3


def test_the_predictor_is_made_for_the_device_asked_for_and_the_answer_says_where(shared):
    session = Session(VOLUME, MOVABLE, device="cuda:1", executor=shared)
    session.add(A)
    assert session.wait(20)
    assert session.prediction.device == "cuda:1"
    session.use(MOVABLE, "cpu")
    session.predict()
    assert session.wait(20)
    assert session.prediction.device == "cpu"


def test_several_structures_are_answered_in_one_run_there(shared):
    array = np.zeros((16, 20, 24), dtype=np.int16)
    array[2:9, 3:12, 4:11], array[2:9, 3:12, 13:20] = 1, 2
    session = Session(Volume(array, OBLIQUE), "fakes:ValuePredictor", executor=shared)
    session.add_target("liver")
    session.set_mask(np.ones(array.shape))
    session.add_classes(["liver", "spleen"])
    assert session.wait(20)
    np.testing.assert_array_equal(session.mask("liver"), array == 1)
    np.testing.assert_array_equal(session.mask("spleen"), array == 2)
    session.undo()
    assert session.mask("liver").all()
    assert not session.mask("spleen").any()


# A worker that stands still, or that prints without end


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops a process as on POSIX")
def test_a_worker_that_stands_still_keeps_neither_prompts_nor_cancelling_nor_closing_waiting():
    executor = ProcessExecutor(environment=ENVIRONMENT, cancel_grace_s=60)
    session = Session(Volume(np.zeros((100, 120, 120), np.int16)), OBEDIENT, executor=executor)
    done(session, Point((30.0, 30.0, 20.0)))
    os.kill(executor.pid, signal.SIGSTOP)
    session.set_mask(np.random.default_rng(1).random((100, 120, 120)) < 0.5)  # larger than a pipe takes
    begun = time.monotonic()
    session.add(Point((20.0, 20.0, 20.0)))
    session.cancel()
    executor.drain()
    session.add(Point((25.0, 20.0, 20.0)))
    assert time.monotonic() - begun < 3
    begun = time.monotonic()
    executor.close()
    assert time.monotonic() - begun < 5


def test_what_a_dying_worker_printed_takes_little_memory(session):
    tracemalloc.start()
    try:
        session.add(TextPrompt("flood"))
        with pytest.raises(PredictionError, match="ended with status 3") as failed:
            session.wait(60)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert str(failed.value).endswith("the end")
    assert len(str(failed.value)) < 2500
