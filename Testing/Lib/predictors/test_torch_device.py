"""Networks run where it is fastest, and on the CPU once a GPU's memory ran out."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import tiny_sam

from PromptSegLib.errors import PredictionError
from PromptSegLib.predictors.torch_device import OUT_OF_MEMORY_NOTE, OnDevice

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


class Wanderer(torch.nn.Module):
    """Notes where it is sent, and stays."""

    def __init__(self):
        super().__init__()
        self.sent_to = []

    def to(self, device):
        self.sent_to.append(device.type)
        return self


def on_a_gpu_that_is_not_here():
    place = OnDevice(Wanderer(), "cpu")
    place.device = torch.device("cuda")
    return place


def test_a_network_is_moved_once_and_runs_without_gradients():
    place = OnDevice(Wanderer(), "cpu")
    assert place.run(torch.is_inference_mode_enabled)
    place.run(lambda: None)
    assert place.network.sent_to == ["cpu"]
    assert place.half is None
    assert place.note == ""


def test_when_the_gpu_s_memory_runs_out_the_cpu_goes_on_and_says_so():
    place = on_a_gpu_that_is_not_here()

    def work():
        if place.device.type == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return 42

    assert place.run(work) == 42
    assert place.network.sent_to == ["cuda", "cpu"]
    assert place.note == OUT_OF_MEMORY_NOTE
    assert place.run(work) == 42


def test_other_errors_are_not_mistaken_for_it():
    place = on_a_gpu_that_is_not_here()

    def work():
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        place.run(work)
    assert place.note == ""


@pytest.mark.parametrize("name", ["cuda:17", "toaster"])
def test_a_device_that_is_not_here_is_refused_by_name(name):
    with pytest.raises(PredictionError, match=f"expected a device that is here, got '{name}'"):
        OnDevice(Wanderer(), name)


@needs_cuda
def test_half_precision_on_a_gpu_gives_nearly_the_same_embedding():
    network = tiny_sam()
    image = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        exact = network.encode(image)
    place = OnDevice(network, "cuda")
    with place.autocast():
        half = place.run(lambda: network.encode(image.cuda())).float().cpu()
    assert (half - exact).norm() < 0.02 * exact.norm()
