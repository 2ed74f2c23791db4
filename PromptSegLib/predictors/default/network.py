"""The default model's networks, ready to be asked: in torch where it is there, else in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.default.prompt_maps import PromptMaps
from PromptSegLib.predictors.default.prompt_unet_numpy import NumpyPromptUNet, weight_shapes
from PromptSegLib.predictors.devices import torch_works
from PromptSegLib.weights.readers import check_state_dict
from PromptSegLib.weights.shipped import read_shipped, shipped_path


class PromptNetwork(Protocol):
    """side: voxels of the grids that it is best at. Each side of a grid has to be a multiple of `multiple`."""

    @property
    def side(self) -> int: ...

    @property
    def multiple(self) -> int: ...

    @property
    def device(self) -> str: ...

    @property
    def note(self) -> str:
        """What the user should know, such as a fall-back to the CPU."""
        ...

    def logits(self, maps: PromptMaps) -> NDArray[np.float32]:
        """Return logits, the mask where > 0, on the grid of `maps`: 2D or 3D, as the network is."""
        ...


def load_network(dims: int, device: str = "auto", path: Path | None = None) -> PromptNetwork:
    """Return the network for slices (2) or volumes (3).

    device: "auto", or a name such as "cpu"; without torch it is the CPU. path: of other weights than those shipped.

    Raises:
        WeightsError: the weights are damaged or not those of the network.
        PredictionError: for a device that is not here.
    """
    path = path or shipped_path(dims)
    configuration, weights = read_shipped(path)
    if configuration["dims"] != dims:
        raise WeightsError(f"expected weights for {dims}D in {path}, got {configuration['dims']}D")
    widths, side = configuration["widths"], int(configuration["sizes"][-1])
    if not torch_works():
        check_state_dict(weight_shapes(dims, widths), weights)
        return NumpyPromptNetwork(NumpyPromptUNet(dims, widths, weights), side, 2 ** len(widths))
    from PromptSegLib.predictors.default.network_torch import TorchPromptNetwork

    return TorchPromptNetwork(dims, widths, weights, side, device)


class NumpyPromptNetwork:
    """A `PromptNetwork` without torch."""

    device = "cpu"
    note = ""

    def __init__(self, network: NumpyPromptUNet, side: int, multiple: int) -> None:
        self.side = side
        self.multiple = multiple
        self._network = network

    def logits(self, maps: PromptMaps) -> NDArray[np.float32]:
        return self._network.logits(*maps)
