"""How long a click takes outside of the model, printed, and held to what a user does not notice."""

import time

import numpy as np
import pytest
from scenes import add_volume

SHAPE = (160, 256, 256)
CLICKS = 12


@pytest.fixture
def large(user, scene):
    node = add_volume(scene, np.random.default_rng(3).integers(0, 200, SHAPE).astype(np.int16), np.eye(4))
    user.show(node)
    user.press("addSegment")
    user.tool("pointPlus")
    return node


def click_and_time(user, model, point_ijk):
    """Return milliseconds from click to worker, from worker to pixels, and the longest that the thread was held."""
    view = user.views["Red"]
    xy = user.go_to(point_ijk)
    before = len(model.started)
    clicked = time.perf_counter()
    view.click(xy)
    while len(model.started) == before:
        user.app.processEvents()
        time.sleep(0)
    started = time.perf_counter()
    longest = started - clicked
    while user.widget.logic.isBusy:
        turn = time.perf_counter()
        user.app.processEvents()
        longest = max(longest, time.perf_counter() - turn)
    user.app.processEvents()
    view.render()
    return 1000 * np.array([started - clicked, time.perf_counter() - started, longest])


def slowdown():
    """Return how many times longer than alone on a core this thread takes now, because others want the core, too."""
    started, used = time.perf_counter(), time.thread_time()
    while time.thread_time() - used < 0.02:
        pass
    return (time.perf_counter() - started) / 0.02


def test_a_click_is_answered_before_one_notices(user, large, model, capsys):
    slower, times = [], []
    for n in range(CLICKS):
        slower.append(slowdown())
        times.append(click_and_time(user, model, (40 + 14 * n, 128, 80)))
    to_worker, to_pixels, held = np.median(times[2:], axis=0)
    factor = max(1.0, float(np.median(slower)))
    with capsys.disabled():
        print(
            f"\nclick to worker {to_worker:.1f} ms, worker to pixels {to_pixels:.1f} ms, "
            f"main thread held {held:.1f} ms at most (medians of {CLICKS - 2} clicks, volume {SHAPE}), "
            f"on a machine that others slow down by {factor:.1f}"
        )
    # Three times the targets of 30, 60 and 50 ms: what others take of the cores comes in bursts.
    assert to_worker < 90 * factor
    assert to_pixels < 180 * factor
    assert held < 150 * factor
