"""STU-Net gives the numbers of its official implementation."""

from __future__ import annotations

import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import FOLDERS
from volume_references import VolumeReference

from PromptSegLib.predictors.stu_net.network import STUNet

pytestmark = pytest.mark.usefixtures("inference")

SMALL = {"widths": (8, 16, 32, 64, 64, 64), "depths": (1, 1, 1, 1, 1, 1)}
TWO_BLOCKS = {"widths": (4, 8, 8, 16, 16, 16), "depths": (2, 2, 2, 2, 2, 2)}


@pytest.fixture
def inference():
    with torch.inference_mode():
        yield


def small_network(folder, **options) -> STUNet:
    network = STUNet(1, 7, **SMALL, **options).eval()
    network.load_state_dict(state_dict_from_keys(folder / "stu_net_tiny_keys.json", "A"))
    return network


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_level_answers_as_the_official_one(folder):
    reference = VolumeReference(folder, "stu_net_tiny")
    network = small_network(folder, strides=[(2, 2, 2)] * 5, deep_supervision=True)
    logits = network(reference.tensor("input"))
    reference.assert_met("A_logits", logits[0])
    for level in range(1, 5):
        reference.assert_met(f"A_ds{level}", logits[level])
    if "A_argmax" in reference:
        reference.assert_strongest_met("A_argmax", logits[0])


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_published_strides_are_the_default(folder):
    reference = VolumeReference(folder, "stu_net_tiny")
    logits = small_network(folder)(reference.tensor("input"))
    reference.assert_met("plan_logits", logits)


@pytest.mark.parametrize("folder", FOLDERS)
def test_several_blocks_a_stage_answer_as_the_official_ones(folder):
    reference = VolumeReference(folder, "stu_net_tiny")
    network = STUNet(1, 7, **TWO_BLOCKS).eval()
    network.load_state_dict(state_dict_from_keys(folder / "stu_net_tiny_keys.json", "depth2"))
    logits = network(reference.tensor("input")[..., 8:40, 8:40, 8:40])
    reference.assert_met("depth2_logits", logits)


def test_without_deep_supervision_the_finest_level_alone_is_returned():
    torch.manual_seed(0)
    network = STUNet(2, 3, widths=(2, 3, 4), depths=(1, 1, 1), strides=[(2, 2, 2), (1, 2, 1)]).eval()
    image = torch.randn(2, 2, 4, 8, 6)
    finest = network(image)
    network.deep_supervision = True
    levels = network(image)
    assert [tuple(level.shape) for level in levels] == [(2, 3, 4, 8, 6), (2, 3, 2, 4, 3)]
    torch.testing.assert_close(levels[0], finest)


def test_widths_depths_and_strides_must_fit_together():
    with pytest.raises(ValueError, match="3 widths, 2 depths, 2 strides"):
        STUNet(widths=(2, 3, 4), depths=(1, 1), strides=[(2, 2, 2)] * 2)
