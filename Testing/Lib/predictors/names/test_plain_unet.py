"""The plain U-Net of nnU-Net v1 is built as its plan says."""

from __future__ import annotations

import pytest
import torch

from PromptSegLib.predictors.names.plain_unet import PlainUNet

AUTOPET = {"widths": (32, 64, 128, 256, 512), "strides": [(2, 2, 2)] * 4}


def test_the_autopet_network_halves_its_patch_four_times():
    with torch.device("meta"):
        network = PlainUNet(2, 2, **AUTOPET)
        logits = network(torch.empty(1, 2, 192, 192, 192))
        deepest = network.encode(torch.empty(1, 2, 192, 192, 192))[-1]
    assert logits.shape == (1, 2, 192, 192, 192)
    assert deepest.shape == (1, 512, 12, 12, 12)


def test_the_keys_are_those_of_generic_unet():
    kernels = [(1, 3, 3), (3, 3, 3), (3, 3, 3)]
    network = PlainUNet(2, 3, widths=(2, 4, 4), strides=[(1, 2, 2), (2, 2, 2)], kernels=kernels)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["conv_blocks_context.0.blocks.1.conv.weight"] == (2, 2, 1, 3, 3)
    assert shapes["conv_blocks_context.2.0.blocks.0.conv.weight"] == (4, 4, 3, 3, 3)
    assert shapes["conv_blocks_context.2.1.blocks.0.instnorm.bias"] == (4,)
    assert shapes["conv_blocks_localization.1.0.blocks.0.conv.weight"] == (2, 4, 3, 3, 3)
    assert shapes["tu.1.weight"] == (4, 2, 1, 2, 2)
    assert shapes["seg_outputs.1.weight"] == (3, 2, 1, 1, 1)
    assert "tu.0.bias" not in shapes
    assert "seg_outputs.0.bias" not in shapes


def test_deep_supervision_returns_every_level_finest_first():
    torch.manual_seed(0)
    network = PlainUNet(1, 3, widths=(2, 3, 4), strides=[(1, 2, 2), (2, 2, 2)], convs=3).eval()
    image = torch.randn(1, 1, 4, 8, 8)
    finest = network(image)
    network.deep_supervision = True
    levels = network(image)
    assert [tuple(level.shape[2:]) for level in levels] == [(4, 8, 8), (4, 4, 4)]
    torch.testing.assert_close(levels[0], finest)


def test_a_plan_that_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="3 widths, 3 kernels, 1 strides, 2 convolutions"):
        PlainUNet(1, 2, widths=(2, 3, 4), strides=[(2, 2, 2)])
