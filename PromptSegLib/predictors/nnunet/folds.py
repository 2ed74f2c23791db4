"""Several networks of one kind, whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MeanOfFolds(nn.Module):
    """Answers with the logarithm of the mean of the networks' probabilities, so that its softmax is that mean."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        """Take (batch, channel, z, y, x), return (batch, class, z, y, x)."""
        total: Tensor | None = None
        for network in self.networks:
            found = network(image).float().softmax(dim=1)
            total = found if total is None else total + found
        assert total is not None
        return torch.log((total / len(self.networks)).clamp_min(1e-30))
