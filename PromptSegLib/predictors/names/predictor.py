"""Base of predictors that find structures by their names: a network's answer for the whole image, or a part of it.

An image is prepared once for each plan. A run answers for all targets asked, whose structures' probabilities alone
are kept, slab by slab; a click or a box on a structure found before moves no window.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent
from PromptSegLib.predictors.base import Prediction, TargetState
from PromptSegLib.predictors.names.plan import Plan
from PromptSegLib.predictors.naming import class_named
from PromptSegLib.predictors.weighted import WeightedPredictor
from PromptSegLib.prompts import Box, Point, Prompt
from PromptSegLib.volume import Image
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from torch import Tensor, nn

    from PromptSegLib.predictors.names.found_structures import FoundStructures
    from PromptSegLib.predictors.names.model import ClassModel, PlannedImage

PROMPTS = frozenset({"class", "point+", "box3d+"})


@dataclass(eq=False)
class ClassEncoding:
    """What is kept of an image: as the newest plan wants it, and the structures found."""

    image: Image
    found: FoundStructures
    prepared: PlannedImage | None = None


class ClassPredictor(WeightedPredictor["ClassModel"]):
    """Finds the structures of `plans` by their names; members differ in their network and their plans.

    step, mirror, gaussian: see `Inference` in `names.model`. The other arguments are `WeightedPredictor`'s.
    """

    plans: ClassVar[tuple[Plan, ...]]

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

    def logits(self, plan: Plan, network: nn.Module, window: Tensor) -> Tensor:
        """Return the network's logits : (1, class, *window) for a window : (1, channel, *window)."""
        answer: Tensor = network(window)
        return answer

    # The predictor's protocol

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> ClassEncoding:
        from PromptSegLib.predictors.names.found_structures import FoundStructures

        self.loaded(progress)
        encoding = ClassEncoding(image, FoundStructures(image.grid))
        if len(self.plans) == 1:
            self._prepared(encoding, self.plans[0], cancel, progress)
        return encoding

    def predict(
        self, encoding: ClassEncoding, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        from PromptSegLib.predictors.names.found_structures import names_asked
        from PromptSegLib.predictors.names.named_places import part_at

        started = time.perf_counter()
        who = self.capabilities.name
        names = {target: class_named(self.capabilities, name) for target, name in names_asked(state.asked, who).items()}
        missing = encoding.found.missing(names.values())
        # All of them again where one is missing: of each, the strongest of the others decides.
        box = _box_around(state.asked.values(), encoding.image)
        wanted = list(dict.fromkeys(names.values())) if missing else []
        found: dict[str, Patch] = {}
        for name, patch in self._find(encoding, wanted, box, cancel, progress):
            if box is None:
                encoding.found.keep(name, patch)  # packed: a hundred masks take as many volumes otherwise
            else:
                found[name] = patch
        timings = {"windows": 1000 * (time.perf_counter() - started)}
        model = self.loaded(progress)
        for target, prompts in state.asked.items():
            cancel.check()
            name = names[target]
            everywhere = found[name] if name in found else encoding.found.patch([name], ())
            part = part_at(everywhere, prompts, encoding.image.grid)
            notes = [model.on_device.note, "" if part.mask_kji.size else _nothing_found(name, everywhere, prompts)]
            note = "; ".join(note for note in notes if note)
            yield Prediction({target: part}, None, timings, note, device=str(model.on_device.device), replaces=True)
            timings = {}

    # Within

    def _prepared(self, encoding: ClassEncoding, plan: Plan, cancel: CancelToken, progress: Progress) -> PlannedImage:
        from PromptSegLib.predictors.names.model import PlannedImage

        if encoding.prepared is None or encoding.prepared.plan is not plan:
            volumes = plan.volumes(encoding.image, self.capabilities.name)
            encoding.prepared = None  # its memory goes first
            progress(0.0, "preparing the image")
            encoding.prepared = PlannedImage(volumes, plan, cancel)
        return encoding.prepared

    def _find(
        self, encoding: ClassEncoding, names: Sequence[str], box: Extent | None, cancel: CancelToken, progress: Progress
    ) -> Iterator[tuple[str, Patch]]:
        """Yield where each of the structures `names` is, within `box` at least."""
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


def _box_around(prompts_of_targets: Iterable[Sequence[Prompt]], image: Image) -> Extent | None:
    """Return the voxels that hold all boxes; None when a target is wanted everywhere, or where it is clicked."""
    from PromptSegLib.imaging.rasterize import rasterize

    around: Extent | None = None
    for prompts in prompts_of_targets:
        boxes = [prompt for prompt in prompts if isinstance(prompt, Box)]
        if not boxes:
            return None
        for box in boxes:
            around = rasterize(box, image.grid).extent.union(around)
    return around if around is not None and around.size else None


def _nothing_found(name: str, found: Patch, prompts: Sequence[Prompt]) -> str:
    if not found.mask_kji.size:
        return f"no {name} was found"
    where = "under the click" if any(isinstance(prompt, Point) for prompt in prompts) else "in the box"
    return f"no {name} was found {where}"
