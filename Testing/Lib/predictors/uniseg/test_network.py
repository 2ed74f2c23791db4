"""UniSeg gives the numbers of its official implementation."""

from __future__ import annotations

import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import ELSEWHERE, FOLDERS, needs_all_references
from volume_references import VolumeReference

from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.uniseg.network import UniSeg
from PromptSegLib.predictors.uniseg.tasks import TASKS

pytestmark = pytest.mark.usefixtures("inference")

TINY = {"patch": (32, 64, 64), "widths": (8, 16, 32, 48, 48, 48)}
TASKS_BY_CHANNELS = {1: (0, 7), 2: (10,), 4: (9,)}


@pytest.fixture
def inference():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_small_network_answers_as_the_official_one(folder):
    reference = VolumeReference(folder, "uniseg_tiny")
    network = UniSeg(**TINY, deep_supervision=True).eval()
    network.load_state_dict(state_dict_from_keys(folder / "uniseg_tiny_keys.json"))
    for channels, tasks in TASKS_BY_CHANNELS.items():
        if f"c{channels}_input" not in reference:
            continue
        image = reference.tensor(f"c{channels}_input")
        prompts = network.task_prompts(network.encode(image)[-1])
        reference.assert_met(f"c{channels}_dynamic_prompt", prompts)
        for task in tasks:
            levels = network(image, task)
            case = f"c{channels}_task{task}"
            reference.assert_met(f"{case}_logits", levels[0])
            reference.assert_met(f"{case}_ds2", levels[2])
            reference.assert_met(f"{case}_ds4", levels[4])
            if f"{case}_argmax" in reference:
                reference.assert_strongest_met(f"{case}_argmax", levels[0])
    assert not {name for name in reference.unused if not name.startswith("tiled")}


@needs_all_references
def test_the_published_size_answers_as_the_official_one():
    with torch.device("meta"):
        network = UniSeg(deep_supervision=True).eval()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "uniseg_full_keys.json"), assign=True)
    reference = VolumeReference(ELSEWHERE, "uniseg_full")
    levels = network(reference.input("input_i8"), task=1)
    reference.assert_met("task1_logits", levels[0])
    reference.assert_met("task1_ds3", levels[3])
    reference.assert_strongest_met("task1_argmax", levels[0])
    assert reference.unused == set()


@pytest.fixture
def small() -> UniSeg:
    torch.manual_seed(0)
    kernels = [(1, 3, 3), (3, 3, 3), (3, 3, 3)]
    return UniSeg(patch=(4, 8, 8), widths=(4, 6, 8), strides=[(1, 2, 2), (2, 2, 2)], kernels=kernels).eval()


def test_every_task_takes_its_number_of_channels(small):
    for number, task in enumerate(TASKS):
        logits = small(torch.randn(1, len(task.channels), 4, 8, 8), number)
        assert logits.shape == (1, 4, 4, 8, 8)
        assert 1 + len(task.classes) <= 4


def test_tasks_give_different_answers_for_the_same_image(small):
    image = torch.randn(1, 1, 4, 8, 8)
    assert (small(image, 0) - small(image, 1)).abs().max() > 1e-4


def test_an_image_must_be_exactly_one_patch(small):
    with pytest.raises(VolumeError, match=r"one patch \(4, 8, 8\), got \(4, 8, 16\)"):
        small(torch.zeros(1, 1, 4, 8, 16), 0)


def test_three_channels_are_refused(small):
    with pytest.raises(VolumeError, match="1, 2 or 4 channels, got 3"):
        small(torch.zeros(1, 3, 4, 8, 8), 0)
