"""The real sizes load the official keys and shapes strictly; on the meta device, so that none takes memory."""

from __future__ import annotations

import pytest
import torch
from key_made_weights import shapes_and_aliases
from references import KEPT_HERE

from PromptSegLib.predictors.sam.network import medsam, sam_med2d, sam_vit_b, sam_vit_h, sam_vit_l, without_adapters
from PromptSegLib.predictors.sam_unet.network import SamUNet
from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet

NETWORKS = {
    "sam_vit_b": (sam_vit_b, 93_735_472),
    "sam_vit_l": (sam_vit_l, 312_342_832),
    "sam_vit_h": (sam_vit_h, 641_090_608),
    "sam_med2d_vit_b": (sam_med2d, 271_241_776),
    "sam_unet_res34": (lambda: SamUNet(34), None),
    "sam_unet_res50": (lambda: SamUNet(50), None),
    "scribbleprompt_unet": (ScribblePromptUNet, 3_991_882),
}


def meta_state_dict(name: str) -> dict[str, torch.Tensor]:
    shapes, _ = shapes_and_aliases(KEPT_HERE / f"{name}_keys.json")
    return {
        key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, (shape, dtype) in shapes.items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_the_official_keys_load_strictly(name):
    build, parameters = NETWORKS[name]
    with torch.device("meta"):
        network = build()
    state_dict = meta_state_dict(name)
    network.load_state_dict(state_dict, strict=True)
    assert {key: value.dtype for key, value in network.state_dict().items()} == {
        key: value.dtype for key, value in state_dict.items()
    }
    if parameters:
        assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_medsam_has_the_keys_of_sam_vit_b():
    with torch.device("meta"):
        network = medsam()
    network.load_state_dict(meta_state_dict("sam_vit_b"), strict=True)


def test_sam_med2d_without_adapters_loads_what_is_left_of_its_keys():
    with torch.device("meta"):
        network = sam_med2d(adapters=False)
    network.load_state_dict(without_adapters(meta_state_dict("sam_med2d_vit_b")), strict=True)


def test_a_missing_key_is_refused():
    state_dict = meta_state_dict("scribbleprompt_unet")
    del state_dict["bottleneck.conv.1.weight"]
    with torch.device("meta"):
        network = ScribblePromptUNet()
    with pytest.raises(RuntimeError, match=r"bottleneck\.conv\.1\.weight"):
        network.load_state_dict(state_dict)
