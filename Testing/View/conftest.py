"""A fresh scene for each test of the views."""

import numpy as np
import pytest

from PromptSegLib.mrml.boot import start_scene


@pytest.fixture
def host():
    with start_scene() as started:
        yield started


@pytest.fixture
def scene(host):
    return host.scene


@pytest.fixture
def ball_kji():
    """A ball off the middle of (24, 40, 50) voxels."""
    k, j, i = np.mgrid[:24, :40, :50]
    return (i - 28) ** 2 + (j - 18) ** 2 + (k - 11) ** 2 < 9**2
