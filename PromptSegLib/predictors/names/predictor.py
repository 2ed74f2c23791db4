"""Base of predictors that find structures by their names by a network of its own plans.

An image is prepared once for each plan. Of a run, the probabilities of the structures asked for alone are kept, slab
by slab.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent
from PromptSegLib.predictors.names.name_predictor import ClassEncoding, NamePredictor
from PromptSegLib.predictors.names.plan import Plan
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from torch import Tensor, nn

    from PromptSegLib.predictors.names.model import ClassModel, PlannedImage


class ClassPredictor(NamePredictor["ClassModel"]):
    """Finds the structures of `plans` by their names; members differ in their network and their plans.

    step, mirror, gaussian: see `Inference` in `names.model`. The other arguments are `WeightedPredictor`'s.
    """

    plans: tuple[Plan, ...]

    def __init__(
        self,
        network: nn.Module | None = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        checkpoint: Path | str | None = None,
        step: float = 0.5,
        mirror: bool = False,
        gaussian: bool = True,
    ) -> None:
        super().__init__(network, device=device, weights=weights, checkpoint=checkpoint)
        self._inference = (step, mirror, gaussian)

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network of the published weights, without numbers: it is built on the device "meta"."""

    def published(self) -> nn.Module:
        from PromptSegLib.predictors.published import with_weights

        return with_weights(self.build, self.state_dict())

    def model_of(self, network: nn.Module) -> ClassModel:
        from PromptSegLib.predictors.names.model import ClassModel, Inference

        return ClassModel(network, self._device, Inference(*self._inference))

    def logits(self, plan: Plan, network: nn.Module, tile: Tensor) -> Tensor:
        """Return the network's logits : (1, class, *tile) for a tile : (1, channel, *tile)."""
        answer: Tensor = network(tile)
        return answer

    def _prepared(self, encoding: ClassEncoding, plan: Plan, cancel: CancelToken, progress: Progress) -> PlannedImage:
        from PromptSegLib.predictors.names.model import PlannedImage

        prepared = encoding.prepared
        if not isinstance(prepared, PlannedImage) or prepared.plan is not plan:
            volumes = plan.volumes(encoding.image, self.capabilities.name)
            prepared = encoding.prepared = None  # its memory goes first
            progress(0.0, "preparing the image")
            prepared = encoding.prepared = PlannedImage(volumes, plan, cancel)
        return prepared

    def prepare(self, encoding: ClassEncoding, cancel: CancelToken, progress: Progress) -> None:
        if len(self.plans) == 1:
            self._prepared(encoding, self.plans[0], cancel, progress)

    def find(
        self, encoding: ClassEncoding, names: Sequence[str], box: Extent | None, cancel: CancelToken, progress: Progress
    ) -> Iterator[tuple[str, Patch]]:
        model = self.loaded(progress)
        plans = [plan for plan in self.plans if not set(plan.classes).isdisjoint(names)]
        for number, plan in enumerate(plans):
            prepared = self._prepared(encoding, plan, cancel, progress)
            mine = [name for name in names if name in plan.classes]
            patches = model.find(
                prepared,
                [1 + plan.classes.index(name) for name in mine],
                box,
                partial(self.logits, plan),
                cancel,
                partial(_part_of_progress, progress, number, len(plans)),
            )
            yield from zip(mine, patches, strict=True)


def _part_of_progress(progress: Progress, number: int, count: int, done: float, what: str) -> None:
    progress((number + done) / count, what)
