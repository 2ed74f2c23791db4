"""The peak of memory is that of the work since it was reset."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from PromptSegLib.evaluation.memory import peak_memory_mib, reset_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")
def test_the_peak_rises_with_what_is_used_and_falls_when_it_is_reset():
    reset_peak_memory()
    before = peak_memory_mib()
    block = np.ones(200 * 2**17)  # 200 MiB
    during = peak_memory_mib()
    assert 150 < during - before < 300
    del block
    assert peak_memory_mib() > during - 10
    reset_peak_memory()
    assert peak_memory_mib() < during - 150
