"""The real sizes of the 3D networks load the official keys and shapes strictly; none takes memory."""

from __future__ import annotations

import pytest
import torch
from key_made_weights import shapes_and_aliases
from references import KEPT_HERE

from PromptSegLib.predictors.sam_med3d.network import SAMMed3D
from PromptSegLib.predictors.sat.network import SAT
from PromptSegLib.predictors.sat.text_network import TextEncoder
from PromptSegLib.predictors.stu_net.network import STUNet
from PromptSegLib.predictors.uniseg.network import UniSeg

NETWORKS = {
    "stu_net_small": (lambda: STUNet.of_size("small"), 14.60),
    "stu_net_base": (lambda: STUNet.of_size("base"), 58.26),
    "stu_net_large": (lambda: STUNet.of_size("large"), 440.30),
    "stu_net_huge": (lambda: STUNet.of_size("huge"), 1457.33),
    "sam_med3d_vit_b_ori": (SAMMed3D, 100.51),
    "uniseg_full": (UniSeg, 32.11),
    "sat_unet_deepsup": (lambda: SAT.of_size("nano", deep_supervision=True), 110.28),
    "sat_unet_l_deepsup": (lambda: SAT.of_size("pro", deep_supervision=True), 477.09),
    "sat_text": (TextEncoder, 110.67),
}


def meta_state_dict(name: str) -> dict[str, torch.Tensor]:
    shapes, _ = shapes_and_aliases(KEPT_HERE / f"{name}_keys.json")
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in shapes.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_official_keys_load_strictly(name):
    build, millions = NETWORKS[name]
    with torch.device("meta"):
        network = build()
    network.load_state_dict(meta_state_dict(name), strict=True, assign=True)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(("size", "name"), [("nano", "sat_unet_deepsup"), ("pro", "sat_unet_l_deepsup")])
def test_sat_without_deep_supervision_loads_what_is_left_of_its_keys(size, name):
    with torch.device("meta"):
        network = SAT.of_size(size)
    state_dict = meta_state_dict(name)
    network.load_state_dict({key: value for key, value in state_dict.items() if not key.startswith("mid_")})


def test_a_missing_key_is_refused():
    state_dict = meta_state_dict("uniseg_full")
    del state_dict["intermedia_prompt"]
    with torch.device("meta"):
        network = UniSeg()
    with pytest.raises(RuntimeError, match="intermedia_prompt"):
        network.load_state_dict(state_dict)
