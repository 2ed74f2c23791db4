"""Where predictors run: asked for by name, told back with each answer."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from fakes import BallPredictor
from worker_fakes import MOVABLE

from PromptSegLib.errors import PredictionError
from PromptSegLib.predictors.devices import check_device_name, cuda_devices, devices_here
from PromptSegLib.predictors.registry import capabilities_of, create_predictor, entry_of, predictor_names
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume


@pytest.fixture
def a_volume():
    return Volume(np.zeros((10, 20, 20), dtype=np.int16))


@pytest.mark.parametrize("name", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
def test_names_of_devices_are_taken(name):
    check_device_name(name)


@pytest.mark.parametrize("name", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cpu:0", "cuda:0 "])
def test_what_is_no_devices_name_is_refused_before_anything_is_made(name):
    with pytest.raises(PredictionError, match="expected a device: auto, cpu"):
        create_predictor("classical", name)


def test_the_device_is_passed_on_to_the_classes_that_take_one():
    assert create_predictor(MOVABLE, "cuda:1").device == "cuda:1"
    assert create_predictor(MOVABLE).device == "auto"
    assert type(create_predictor("fakes:BallPredictor", "cuda:1")) is BallPredictor


def test_every_predictor_that_names_several_devices_can_be_told_which_to_take():

    for name in predictor_names():
        assert entry_of(name).takes_device == (len(capabilities_of(name).devices) > 1), name


def test_an_answer_says_where_it_was_made_though_the_predictor_does_not(a_volume):
    session = Session(a_volume, BallPredictor(), device="cuda:3")
    session.add(Point((5.0, 5.0, 5.0)))
    assert session.prediction.device == "cpu"


def test_a_session_goes_on_elsewhere_and_comes_back(a_volume):
    session = Session(a_volume, MOVABLE, device="cuda:1")
    session.add(Point((5.0, 5.0, 5.0)))
    assert session.prediction.device == "cuda:1"
    session.use(MOVABLE, "cpu")
    assert len(session.prompts()) == 1
    session.predict()
    assert session.prediction.device == "cpu"
    session.use(MOVABLE)
    session.predict()
    assert session.prediction.device == "cpu"


def test_a_wrong_device_leaves_the_session_as_it_was(a_volume):
    session = Session(a_volume, MOVABLE, device="cuda:1")
    with pytest.raises(PredictionError, match="'gpu'"):
        session.use(MOVABLE, "gpu")
    session.add(Point((5.0, 5.0, 5.0)))
    assert session.prediction.device == "cuda:1"


def test_the_devices_here_begin_with_the_automatic_choice_and_end_with_the_cpu():
    torch = pytest.importorskip("torch")
    found = devices_here()
    assert found[0] == "auto"
    assert found[-1] == "cpu"
    assert sum(name.startswith("cuda:") for name in found) == torch.cuda.device_count()


def test_listing_the_devices_does_not_load_torch():
    code = (
        "import sys; from PromptSegLib.predictors.devices import devices_here; devices_here(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Driver:
    """A CUDA driver that is set up (status 0) or not, and counts."""

    def __init__(self, status: int, count: int) -> None:
        self.cuInit = lambda flags: status
        self.cuDeviceGetCount = lambda pointer: self._count(pointer, count)

    def _count(self, pointer, count: int) -> int:
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = count
        return 0


@pytest.mark.skipif(sys.platform == "darwin", reason="no CUDA there")
def test_the_driver_is_asked_how_many_gpus_there_are():
    def no_driver(name: str) -> None:
        raise OSError(name)

    assert cuda_devices(no_driver) == 0
    assert cuda_devices(lambda name: Driver(0, 2)) == 2
    assert cuda_devices(lambda name: Driver(100, 2)) == 0
