"""What a session on a large volume costs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from fakes import BallPredictor

from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

MIB = 2**20
VOLUME = Volume(np.zeros((300, 512, 512), dtype=np.int16), np.diag([0.8, 0.8, 1.5, 1.0]))


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_a_target_adds_less_than_a_fifth_of_the_volume_and_a_click_copies_no_whole_volume():
    before, _ = tracemalloc.get_traced_memory()
    session = Session(VOLUME, BallPredictor(radius_mm=25.0))
    kept, peaks = [], []
    for target in range(3):
        if target:
            session.add_target()
        for click in range(5):
            tracemalloc.reset_peak()
            start, _ = tracemalloc.get_traced_memory()
            session.add(Point((200.0 + 5 * click, 150.0 + 40 * target, 200.0), positive=click % 2 == 0))
            _, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - start)
        # The fake predictor keeps the states it was asked, to be looked at; a real one does not.
        session.predictor.states.clear()
        kept.append(tracemalloc.get_traced_memory()[0] - before)
    volume_size = VOLUME.array.nbytes
    per_target = max(np.diff([0, *kept]))
    box = session.prediction.extent.size
    print(
        f"512x512x300 int16: {volume_size / MIB:.0f} MiB; kept per target {per_target / MIB:.1f} MiB "
        f"({per_target / volume_size:.3f}), highest during a click {max(peaks) / MIB:.1f} MiB with a changed box "
        f"of {box / 1e6:.1f} million voxels; history {session.history_nbytes / 1024:.0f} KiB"
    )
    assert per_target < 0.2 * volume_size
    assert max(peaks) < 0.2 * volume_size


@pytest.mark.usefixtures("traced")
def test_a_small_click_takes_no_more_than_the_bits_of_its_target():
    session = Session(VOLUME, BallPredictor(radius_mm=4.0))
    session.add(Point((200.0, 200.0, 200.0)))
    tracemalloc.reset_peak()
    start, _ = tracemalloc.get_traced_memory()
    session.add(Point((202.0, 200.0, 200.0)))
    _, peak = tracemalloc.get_traced_memory()
    print(f"highest during a click of 10 mm: {(peak - start) / MIB:.1f} MiB of {VOLUME.array.nbytes / MIB:.0f} MiB")
    assert peak - start < 1.2 * VOLUME.array.size / 8
