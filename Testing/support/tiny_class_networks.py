"""Small networks of named structures: with weights made from their keys, biased to one class, or with known answers."""

from __future__ import annotations

from dataclasses import replace

import torch
from key_made_weights import tensor_from_key
from torch import nn

from PromptSegLib.predictors.autopet.predictor import AutoPet2022
from PromptSegLib.predictors.names.plain_unet import PlainUNet
from PromptSegLib.predictors.stu_net.network import STUNet
from PromptSegLib.predictors.stu_net.predictor import StuNetB, StuNetS
from PromptSegLib.predictors.uniseg.network import UniSeg
from PromptSegLib.predictors.uniseg.predictor import UniSegPredictor

STRIDES = [(2, 2, 2), (2, 2, 2)]
TILE = (16, 16, 16)


class TinyStuNet(StuNetB):
    """As the published one, but for its widths and its tile."""

    plans = tuple(replace(plan, tile=TILE) for plan in StuNetB.plans)

    def build(self):
        return STUNet(widths=(4, 6, 8), depths=(1, 1, 1), strides=STRIDES)


class TinyStuNetS(StuNetS):
    """The same network in the place of the smallest published one; see `save_tiny_stu_net`."""

    plans = tuple(replace(plan, tile=(32, 32, 32)) for plan in StuNetS.plans)
    build = TinyStuNet.build


class TinyUniSeg(UniSegPredictor):
    plans = tuple(replace(plan, tile=TILE) for plan in UniSegPredictor.plans)

    def build(self):
        return UniSeg(patch=TILE, widths=(4, 6, 8), strides=STRIDES, kernels=[(3, 3, 3)] * 3)


class TinyAutoPet(AutoPet2022):
    plans = tuple(replace(plan, tile=TILE) for plan in AutoPet2022.plans)

    def build(self):
        return PlainUNet(2, 2, widths=(4, 6, 8), strides=STRIDES)


def key_made_network(kind):
    """Return the network of a predictor's class with weights made from its keys."""
    network = kind.build(None)
    return load_key_made(network)


def load_key_made(network):
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    network.load_state_dict({key: tensor_from_key(key, shape) for key, shape in shapes.items()})
    return network.eval()


def checkpoint_of(network):
    """Return what nnU-Net's first version saves."""
    return {"epoch": 4000, "state_dict": network.state_dict(), "optimizer_state_dict": None, "plot_stuff": ([1.0], [])}


def save_tiny_stu_net(folder):
    """Put a checkpoint of `TinyStuNetS` into an offline folder of weights."""
    path = folder / "stu-net-s" / "small_ep4k.model"
    path.parent.mkdir(parents=True)
    torch.save(checkpoint_of(key_made_network(TinyStuNetS)), path)


def biased_to(network, channel):
    """Make an output channel the likeliest everywhere, by the bias of the head, or what comes before it."""
    head = network.seg_outputs[-1]
    with torch.no_grad():
        if head.bias is not None:
            head.bias[channel] += 100.0
            return network
        norm = [
            module for module in network.conv_blocks_localization[-1].modules() if isinstance(module, nn.InstanceNorm3d)
        ]
        norm[-1].weight.zero_()
        norm[-1].bias.fill_(1.0)
        head.weight.zero_()
        head.weight[channel] = 10.0
    return network


class BrightIs(nn.Module):
    """Says that what is above 0 in the first channel it sees is class `channel` of `classes`."""

    def __init__(self, channel, classes):
        super().__init__()
        self.channel, self.classes = channel, classes
        self.seen = []

    def forward(self, tile, task=0):
        self.seen.append(tile)
        logits = tile.new_zeros((1, self.classes, *tile.shape[2:]))
        logits[:, self.channel] = 20 * tile[:, 0]
        return logits
