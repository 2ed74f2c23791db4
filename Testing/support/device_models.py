"""One model of each kind on any device, at full size or nearly, with weights made from key names: see `MODELS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from tiny_class_networks import load_key_made
from tiny_sam3 import tiny_concepts
from tiny_sat import VOCABULARY, WORDS
from torch import nn

from PromptSegLib.predictors.default.network import load_network
from PromptSegLib.predictors.default.predictor import DefaultPredictor
from PromptSegLib.predictors.sam.network import sam_med2d, sam_vit_b
from PromptSegLib.predictors.sam.predictor import SamMed2D, SamVitB
from PromptSegLib.predictors.sam2.network import Sam2, sam2_video
from PromptSegLib.predictors.sam2.predictor import Sam2Tiny
from PromptSegLib.predictors.sam3.concepts import Sam3Concepts
from PromptSegLib.predictors.sam3.network import Sam3, sam3_tracker
from PromptSegLib.predictors.sam3.predictor import Sam3Predictor
from PromptSegLib.predictors.sam_med3d.network import SAMMed3D
from PromptSegLib.predictors.sam_med3d.predictor import SamMed3D
from PromptSegLib.predictors.sam_unet.network import SamUNet
from PromptSegLib.predictors.sam_unet.predictor import SamUNet34
from PromptSegLib.predictors.sat.model import SatModel
from PromptSegLib.predictors.sat.network import SAT
from PromptSegLib.predictors.sat.predictor import SatNano
from PromptSegLib.predictors.sat.text_network import TextEncoder
from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet
from PromptSegLib.predictors.scribbleprompt.predictor import ScribblePromptPredictor
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.stu_net.network import STUNet
from PromptSegLib.predictors.stu_net.predictor import StuNetS
from PromptSegLib.predictors.uniseg.network import UniSeg
from PromptSegLib.predictors.uniseg.predictor import UniSegPredictor

# Names are looked for in a grid of which a network's tile sees all: the CPU is slow.
SLICE, VOLUME, PART = ((1, 192, 192), (1.9, 1.9, 3.0)), ((64, 96, 96), (3.8, 3.8, 3.8)), ((32, 64, 64), (2.0, 2.0, 3.0))
UNISEG_TILE, SAT_TILE = (64, 96, 96), (128, 128, 32)

Made = tuple[Any, nn.Module]


class SmallUniSeg(UniSegPredictor):
    plans = tuple(replace(plan, tile=UNISEG_TILE) for plan in UniSegPredictor.plans)


class CentredSat(SAT):
    """With weights made from keys, all voxels would be in every structure."""

    def decode(self, *asked: Any) -> torch.Tensor:
        return super().decode(*asked) - 4.5


@cache
def key_made(kind: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return load_key_made(kind(**options))


def default(dims: int, device: str) -> Made:
    network = load_network(dims, device)
    return DefaultPredictor({dims: network}), network._network


def given(kind: Any, network: nn.Module, device: str, **options: Any) -> Made:
    return kind(network, device=device, **options), network


def scribbleprompt(device: str) -> Made:
    return given(ScribblePromptPredictor, key_made(ScribblePromptUNet), device)


def sam_of_full_size(device: str) -> Made:
    return given(SamVitB, key_made(sam_vit_b), device, cache=EmbeddingCache())


def sam_med2d_of_four_blocks(device: str) -> Made:
    network = key_made(sam_med2d, depth=4, global_blocks=(1, 3))
    return given(SamMed2D, network, device, cache=EmbeddingCache())


def sam2_tiny(device: str) -> Made:
    return given(Sam2Tiny, Sam2(key_made(sam2_video)), device, cache=EmbeddingCache())


def sam_unet(device: str) -> Made:
    return given(SamUNet34, key_made(SamUNet, depth=34), device, cache=EmbeddingCache())


def sam3_of_depth(blocks: int) -> nn.Module:
    network: nn.Module = sam3_tracker(backbone={"num_hidden_layers": blocks, "global_attn_indexes": [3, 7]})
    return network


def sam3_of_eight_blocks(device: str) -> Made:
    """Of a quarter of its depth: all of it takes a CPU half a minute for a slice."""
    video = key_made(sam3_of_depth, blocks=8)
    return given(Sam3Predictor, Sam3(video), device, cache=EmbeddingCache())


def sam3_words(device: str) -> Made:
    """Of the size of the tests: with key-made weights a text means nothing, in whatever depth."""
    model = tiny_concepts(device)
    return Sam3Concepts(model), model._network.dot_product_scoring


def sam_med3d(device: str) -> Made:
    return given(SamMed3D, key_made(SAMMed3D), device, most_grown=0)


def stu_net(device: str) -> Made:
    return given(StuNetS, key_made(STUNet.of_size, size="small"), device)


def uniseg(device: str) -> Made:
    return given(SmallUniSeg, key_made(UniSeg, patch=UNISEG_TILE), device)


def sat(device: str) -> Made:
    network, texts = key_made(CentredSat.of_size, size="nano"), key_made(TextEncoder, vocabulary=len(WORDS), layers=1)
    return SatNano(SatModel(network, texts, VOCABULARY, device, SAT_TILE)), network


@dataclass(frozen=True)
class Model:
    """make: of a device, a predictor on it and its network, whose method `answer` gives logits.

    grid: what a phantom for it is made with: shape (k, j, i) and spacing in mm.
    logits, voxels: how far answers on two devices may be apart, in parts of the logits' range and of the masks' union.
    names: to ask for, where it takes no clicks.
    """

    make: Callable[[str], Made]
    grid: tuple[tuple[int, int, int], tuple[float, float, float]]
    logits: float
    voxels: float
    answer: str = "forward"
    names: tuple[str, ...] = ()


# Expected is about four times what was measured with CUDA's precisions imitated on a CPU: convolutions of 10 bits of
# mantissa for all, bfloat16 for those that run in half precision. The classes of a random network are near each other.
MODELS = {
    "default-2d": Model(partial(default, 2), SLICE, 0.002, 0.01),
    "default-3d": Model(partial(default, 3), VOLUME, 0.002, 0.01),
    "scribbleprompt": Model(scribbleprompt, SLICE, 0.006, 0.006),
    "sam-vit-b": Model(sam_of_full_size, SLICE, 0.04, 0.04, "decode"),
    "sam-med2d": Model(sam_med2d_of_four_blocks, SLICE, 0.02, 0.02, "decode"),
    "sam-unet": Model(sam_unet, SLICE, 0.04, 0.04, "decode"),
    "sam2.1-tiny": Model(sam2_tiny, SLICE, 0.04, 0.02, "decode"),
    "sam3": Model(sam3_of_eight_blocks, SLICE, 0.04, 0.03, "decode"),
    "sam3-text": Model(sam3_words, SLICE, 0.04, 0.04, names=("liver", "spleen")),
    "sam-med3d": Model(sam_med3d, VOLUME, 0.02, 0.03, "predict"),
    "stu-net-s": Model(stu_net, PART, 0.04, 0.2, names=("right atrium", "T11 vertebra")),
    "uniseg": Model(uniseg, PART, 0.07, 0.1, names=("liver", "pancreas")),
    "sat-nano": Model(sat, PART, 0.04, 0.07, "decode", names=("liver", "spleen")),
}
