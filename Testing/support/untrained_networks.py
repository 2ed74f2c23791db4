"""The default predictor with small networks that know nothing: what prompts say must hold whatever a network thinks."""

from __future__ import annotations

import torch

from PromptSegLib.networks.prompt_unet import PromptUNet
from PromptSegLib.networks.prompt_unet_numpy import NumpyPromptUNet
from PromptSegLib.predictors.default import DefaultPredictor
from PromptSegLib.predictors.prompt_network import NumpyPromptNetwork


def untrained(dims):
    torch.manual_seed(dims)
    network = PromptUNet(dims, widths=(8, 8)).eval()
    with torch.no_grad():
        network.out.weight.mul_(30)
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    return NumpyPromptNetwork(NumpyPromptUNet(dims, network.widths, weights), side=32, multiple=4)


UNTRAINED = DefaultPredictor({2: untrained(2), 3: untrained(3)})
