"""Work in the background: its host is needed while it lasts, and hears of it in its own thread."""

import threading
import time

import pytest

from PromptSegLib.errors import Cancelled
from PromptSegLib.execution.background import Background


@pytest.fixture
def needed():
    return []


@pytest.fixture
def background(needed):
    return Background(needed.append)


def drain(background):
    deadline = time.monotonic() + 5
    while background.busy:
        assert time.monotonic() < deadline
        background.drain()
        time.sleep(0.001)


def test_progress_and_result_come_in_the_draining_thread(background, needed):
    told = []

    def work(progress, cancel):
        progress(0.5, f"in {threading.current_thread().name}")
        return 42

    def tell(*what):
        told.append((threading.current_thread() is threading.main_thread(), *what))

    background.start(work, tell, tell)
    drain(background)
    assert told == [(True, 0.5, "in PromptSeg background"), (True, 42, None)]
    assert needed == [True, False]


def test_an_error_is_handed_over(background):
    ends = []
    background.start(lambda progress, cancel: 1 / 0, lambda *_: None, lambda *end: ends.append(end))
    drain(background)
    ((result, error),) = ends
    assert result is None
    assert isinstance(error, ZeroDivisionError)


def test_cancelled_work_ends_as_cancelled(background):
    ends = []

    def work(progress, cancel):
        while True:
            cancel.check()

    background.start(work, lambda *_: None, lambda *end: ends.append(end))
    background.cancel()
    drain(background)
    assert isinstance(ends[0][1], Cancelled)


def test_nothing_is_heard_after_it_was_closed(background, needed):
    gate, ends = threading.Event(), []
    background.start(lambda progress, cancel: gate.wait(5), lambda *_: None, lambda *end: ends.append(end))
    background.close()
    gate.set()
    time.sleep(0.02)
    background.drain()
    assert ends == []
    assert needed == [True, False]


def test_only_one_piece_of_work_at_a_time(background):
    gate = threading.Event()
    background.start(lambda progress, cancel: gate.wait(5), lambda *_: None, lambda *_: None)
    with pytest.raises(RuntimeError, match="got more of it"):
        background.start(lambda progress, cancel: None, lambda *_: None, lambda *_: None)
    gate.set()
    drain(background)
