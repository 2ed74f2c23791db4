"""One lifecycle of everything that has weights: where they are, for which device, and a model that is loaded once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from PromptSegLib.cancel import Progress, no_progress
from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from torch import Tensor

Model = TypeVar("Model")


class WeightedPredictor(ABC, Generic[Model]):
    """Base of the predictors whose network has weights. Members say what they are by `published` and `model_of`.

    Args:
        network: one to use in place of that with the published weights.
        device: "auto" for the best there is, or a name such as "cpu".
        weights: where weights are; by default the user's store.
        checkpoint: a file of weights to use in place of the published ones, for the same network: a fine-tuned one.
            It is read as any other, nothing in it is executed.

    Raises:
        WeightsError: the weights are not here; says how to get them.
    """

    capabilities: Capabilities

    def __init__(
        self,
        network: Any = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        checkpoint: Path | str | None = None,
    ) -> None:
        self._network = network
        self._device = device
        self._weights = weights or WeightsStore()
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._model: Model | None = None
        if self._checkpoint is not None and not self._checkpoint.is_file():
            raise WeightsError(f"expected a file of weights for {self.capabilities.name!r}, got {self._checkpoint}")
        if network is None and self._checkpoint is None and self.capabilities.weights:
            self._weights.require(self.weights_name)

    @property
    def weights_name(self) -> str:
        """The catalogue's name of its weights."""
        return type(self).capabilities.weights[0]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights by the network's own names.

        Raises:
            WeightsError: the weights are missing, damaged or do not fit.
        """
        if self._checkpoint is None:
            return self._weights.state_dict(self.weights_name)
        from PromptSegLib.weights.layout import Layout
        from PromptSegLib.weights.readers import read_state_dict

        published = self._weights.checkpoint(self.weights_name).file().layout
        return read_state_dict(self._checkpoint, Layout(drop=published.drop, drop_ends=published.drop_ends))

    @abstractmethod
    def published(self) -> Any:
        """Return the network with the weights of `state_dict`.

        Raises:
            WeightsError: they do not fit it.
        """

    @abstractmethod
    def model_of(self, network: Any) -> Model:
        """Return `network` ready to run on the device that was asked for."""

    def loaded(self, progress: Progress = no_progress) -> Model:
        """Return the model, made at the first call.

        Raises:
            WeightsError: the weights are missing, damaged or do not fit.
        """
        if self._model is None:
            progress(0.0, "loading the weights")
            self._model = self.model_of(self.published() if self._network is None else self._network)
        return self._model
