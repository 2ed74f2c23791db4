"""A TorchScript network at work: its structures by their names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.names.plan import Plan
from PromptSegLib.predictors.names.predictor import ClassPredictor

if TYPE_CHECKING:
    from torch import nn


class TorchScript(ClassPredictor):
    """Runs the program in `file`, which answers (1, channel, z, y, x) values with (1, 1 + class, z, y, x) logits.

    plan: what it wants and finds. The other arguments are `ClassPredictor`'s.
    """

    def __init__(
        self, file: Path, plan: Plan, capabilities: Capabilities, *, device: str = "auto", step: float = 0.5
    ) -> None:
        self.capabilities = capabilities
        self.plans = (plan,)
        self._file = file
        super().__init__(device=device, step=step)

    def build(self) -> nn.Module:
        """Return the network with its weights: the file holds both."""
        import torch

        try:
            network: torch.nn.Module = torch.jit.load(str(self._file), map_location="cpu")  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError(f"{self._file.name} is no TorchScript: {str(error)[:200]}") from error
        return torch.nn.Sequential(network)  # a script cannot be told that it is not to be trained

    def published(self) -> nn.Module:
        return self.build()
