"""Base of predictors that find structures by their names, all over an image, and say which part of each is meant.

A run answers for all targets asked; a click or a box on a structure found before starts none.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent
from PromptSegLib.predictors.base import Prediction, TargetState
from PromptSegLib.predictors.naming import class_named
from PromptSegLib.predictors.weighted import WeightedPredictor
from PromptSegLib.prompts import Box, Point, Prompt
from PromptSegLib.volume import Image

if TYPE_CHECKING:
    from PromptSegLib.predictors.names.found_structures import FoundStructures
    from PromptSegLib.predictors.torch_device import OnDevice

PROMPTS = frozenset({"class", "point+", "box3d+"})


class RunsOnDevice(Protocol):
    """A model whose networks run on a device."""

    @property
    def on_device(self) -> OnDevice: ...


Model = TypeVar("Model", bound=RunsOnDevice)


@dataclass(eq=False)
class ClassEncoding:
    """What is kept of an image: as the network wants it, by whatever the predictor needs, and the structures found."""

    image: Image
    found: FoundStructures
    prepared: Any = None


class NamePredictor(WeightedPredictor[Model], Generic[Model]):
    """Answers names by way of `find`, see there. Arguments are `WeightedPredictor`'s."""

    @abstractmethod
    def prepare(self, encoding: ClassEncoding, cancel: CancelToken, progress: Progress) -> None:
        """Do once for the image what can be done before it is known what is asked for."""

    @abstractmethod
    def find(
        self, encoding: ClassEncoding, names: Sequence[str], box: Extent | None, cancel: CancelToken, progress: Progress
    ) -> Iterator[tuple[str, Patch]]:
        """Yield where each of the structures `names` is, within `box` at least."""

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> ClassEncoding:
        from PromptSegLib.predictors.names.found_structures import FoundStructures

        self.loaded(progress)
        encoding = ClassEncoding(image, FoundStructures(image.grid))
        self.prepare(encoding, cancel, progress)
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
        for name, patch in self.find(encoding, wanted, box, cancel, progress):
            if box is None:
                encoding.found.keep(name, patch)  # packed: a hundred masks take as many volumes otherwise
            else:
                found[name] = patch
        timings = {"tiles": 1000 * (time.perf_counter() - started)}
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
