"""Networks with their published weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from PromptSegLib.weights.readers import check_state_dict

Network = TypeVar("Network", bound=nn.Module)


def with_weights(make: Callable[[], Network], state_dict: Mapping[str, Tensor]) -> Network:
    """Return the network that `make` builds, its weights being the tensors of `state_dict` themselves.

    It is built on the device "meta", so all that it holds must be in the state dict; see `filled` where it is not.

    Raises:
        WeightsError: these are not exactly the network's; names the keys.
    """
    with torch.device("meta"):
        network = make()
    return filled(network, state_dict)


def with_weights_of_transformers(make: Callable[[], Network], state_dict: Mapping[str, Tensor]) -> Network:
    """Return the network that `make` builds of transformers' classes, its weights being those of `state_dict`.

    What these compute when they are made, such as positional encodings, is in no checkpoint, so they are not built on
    the device "meta". No weight is drawn in vain, either: SAM 3's tracker took 7.3 s of a CPU and 1.8 GB for that, and
    takes 0.1 s and 15 MB.

    Raises:
        PromptSegError: as `with_weights`.
    """
    from transformers.initialization import no_init_weights

    with no_init_weights():
        network = make()
    return filled(network, state_dict)


def filled(network: Network, state_dict: Mapping[str, Tensor]) -> Network:
    """Return `network`, its weights being the tensors of `state_dict` from now on.

    Raises:
        PromptSegError: as `with_weights`.
    """
    check_state_dict({key: value.shape for key, value in network.state_dict().items()}, state_dict)
    network.load_state_dict(state_dict, assign=True)
    return network
