"""The default model's networks in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from PromptSegLib.predictors.default.prompt_maps import PromptMaps
from PromptSegLib.predictors.default.prompt_unet import PromptUNet
from PromptSegLib.predictors.torch_device import OnDevice
from PromptSegLib.weights.readers import check_state_dict


class TorchPromptNetwork:
    """A `PromptNetwork`.

    Raises:
        WeightsError: `weights` are not exactly those of the network.
    """

    def __init__(
        self, dims: int, widths: Sequence[int], weights: Mapping[str, NDArray[Any]], side: int, device: str = "auto"
    ) -> None:
        network = PromptUNet(dims, widths)
        state_dict = {key: torch.from_numpy(value).float() for key, value in weights.items()}
        check_state_dict({key: value.shape for key, value in network.state_dict().items()}, state_dict)
        network.load_state_dict(state_dict)
        # In this order of the weights' axes a click on a CPU takes a tenth less.
        network.to(memory_format=torch.channels_last if dims == 2 else torch.channels_last_3d)  # type: ignore[call-overload]
        self._network = network
        self._on_device = OnDevice(network, device)
        self.side = side
        self.multiple = network.multiple

    @property
    def device(self) -> str:
        return str(self._on_device.device)

    @property
    def note(self) -> str:
        return self._on_device.note

    def logits(self, maps: PromptMaps) -> NDArray[np.float32]:
        def ask() -> NDArray[np.float32]:
            tensors = [torch.from_numpy(values)[None, None].to(self._on_device.device) for values in maps]
            result: NDArray[np.float32] = self._network.logits(*tensors)[0, 0].cpu().numpy()
            return result

        return self._on_device.run(ask)
