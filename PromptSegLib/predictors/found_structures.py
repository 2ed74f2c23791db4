"""What a predictor of names has found in an image: a structure is looked for once, however its part is chosen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from PromptSegLib.bitmask import BitMask, Patch
from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.imaging.named_places import NOWHERE, part_at
from PromptSegLib.prompts import ClassPrompt, Prompt, TextPrompt

_KEPT = 24  # 20 MB each in 512 x 512 x 600 voxels


class FoundStructures:
    """Masks on `grid` by the names that were asked for; the newest are kept."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._masks: OrderedDict[str, BitMask] = OrderedDict()

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return which of `names` are yet to be found, each once."""
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name in self._masks:
                self._masks.move_to_end(name)
        return [name for name in wanted if name not in self._masks]

    def keep(self, name: str, mask: BitMask) -> None:
        """Take note of what was found."""
        self._masks[name] = mask
        while len(self._masks) > _KEPT:
            self._masks.popitem(last=False)

    def patch(self, names: Sequence[str], places: Sequence[Prompt]) -> Patch:
        """Return the voxels of any of the structures `names`, where `places` want them."""
        masks = [self._masks[name] for name in names]
        bounds = [box for mask in masks if (box := mask.bounds()) is not None]
        if not bounds:
            return NOWHERE
        extent = bounds[0]
        for box in bounds[1:]:
            extent = extent.union(box)
        return part_at(Patch(extent, _union(masks, extent)), places, self._grid)


def names_asked(asked: Mapping[str, Sequence[Prompt]], who: str) -> dict[str, str]:
    """Return the newest name that each target asks for. Raises PromptError when one has none; `who` needs them."""
    names: dict[str, str] = {}
    for target, prompts in asked.items():
        for prompt in prompts:
            if isinstance(prompt, TextPrompt | ClassPrompt):
                names[target] = prompt.text if isinstance(prompt, TextPrompt) else prompt.name
    if without := [target for target in asked if target not in names]:
        raise PromptError(f"expected the name of a structure for {', '.join(without)}, got none: {who!r} needs one")
    return names


def places_in(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Return what is no name among `prompts`."""
    return tuple(prompt for prompt in prompts if not isinstance(prompt, TextPrompt | ClassPrompt))


def _union(masks: Sequence[BitMask], extent: Extent) -> np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]:
    union = np.zeros(extent.shape_kji, dtype=bool)
    for mask in masks:
        union |= mask.read(extent)
    return union
