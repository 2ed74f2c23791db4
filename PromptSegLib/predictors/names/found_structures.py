"""What a predictor of names has found in an image: a structure is looked for once, however its part is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from PromptSegLib.bitmask import BitMask, MaskDelta, Patch
from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import Grid
from PromptSegLib.predictors.names.named_places import NOWHERE, part_at
from PromptSegLib.prompts import ClassPrompt, Prompt, TextPrompt

_BUDGET_BYTES = 64 * 2**20


class FoundStructures:
    """Masks on `grid` by the names that were asked for, packed; the oldest go when all take more than a budget.

    What the newest question asks for stays, however much that is.
    """

    def __init__(self, grid: Grid, budget_bytes: int = _BUDGET_BYTES) -> None:
        self._grid = grid
        self._budget_bytes = budget_bytes
        self._packed: dict[str, MaskDelta | None] = {}
        self._asked: frozenset[str] = frozenset()

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return which of `names` are yet to be found, each once."""
        wanted = list(dict.fromkeys(names))
        self._asked = frozenset(wanted)
        known = {name: self._packed.pop(name) for name in wanted if name in self._packed}
        self._packed.update(known)  # the newest are last
        return [name for name in wanted if name not in known]

    def keep(self, name: str, mask: BitMask | Patch) -> None:
        """Take note of what was found, all over the image."""
        if isinstance(mask, BitMask):
            box = mask.bounds()
            mask = NOWHERE if box is None else Patch(box, mask.read(box))
        self._packed[name] = MaskDelta.between(mask.extent, np.zeros_like(mask.mask_kji), mask.mask_kji)
        for old in [old for old in self._packed if old not in self._asked]:
            if sum(packed.nbytes for packed in self._packed.values() if packed) <= self._budget_bytes:
                break
            del self._packed[old]

    def patch(self, names: Sequence[str], places: Sequence[Prompt]) -> Patch:
        """Return the voxels of any of the structures `names`, where `places` want them."""
        found = [packed for name in names if (packed := self._packed[name]) is not None]
        if not found:
            return NOWHERE
        extent = found[0].extent
        for packed in found[1:]:
            extent = extent.union(packed.extent)
        union = np.zeros(extent.shape_kji, dtype=bool)
        for packed in found:
            part = union[packed.extent.slices_within(extent)]
            part[...] = packed.apply(part)
        return part_at(Patch(extent, union), places, self._grid)


def names_asked(asked: Mapping[str, Sequence[Prompt]], who: str) -> dict[str, str]:
    """Return the newest name that each target asks for.

    Raises:
        PromptError: one has none; `who` needs them.
    """
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
