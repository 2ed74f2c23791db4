"""Masks of one time point as first prompts of the next: each counts once a click on it said that it is still there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import FloatArray, checked_affine
from PromptSegLib.measurement.parts import parts_of
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.prompts import MaskPrompt, Point, Prompt

NEAR_MM = 5.0
"""How far beside a mask a click may be to confirm it: lesions shrink and move."""


class CarryOver:
    """What a case's segmentation says of the next time point, until clicks confirm it.

    from_before: 4x4 from the earlier RAS to that of the next image. pending: masks by name that wait for a click,
    "name", or "name 2" and so on where a segment has several parts; confirmed: what clicks made of others, the mask and
    the click, ready to be the prompts of a segment.
    """

    def __init__(
        self, before: Segmentation, from_before: FloatArray | None = None, names: Iterable[str] | None = None
    ) -> None:
        matrix = checked_affine(np.eye(4) if from_before is None else from_before)
        self._pending: dict[str, MaskPrompt] = {}
        self._confirmed: dict[str, tuple[Prompt, ...]] = {}
        for name in before.names if names is None else names:
            patch = before.patch(name)
            for number, part in enumerate(parts_of(patch) if patch else (), start=1):
                placed = matrix @ before.grid.cropped(part.extent).ijk_to_ras
                called = name if number == 1 else f"{name} {number}"
                self._pending[called] = MaskPrompt(part.mask_kji, placed)

    @property
    def pending(self) -> Mapping[str, MaskPrompt]:
        return MappingProxyType(self._pending)

    @property
    def confirmed(self) -> Mapping[str, tuple[Prompt, ...]]:
        return MappingProxyType(self._confirmed)

    def waiting_at(self, click: Point, near_mm: float = 0.0) -> str | None:
        """Return which mask a click is on, or the nearest one no farther than `near_mm`; None when there is none."""
        distances = {name: _distance_mm(mask, click) for name, mask in self._pending.items()}
        name = min(distances, key=lambda one: distances[one], default=None)
        return name if name is not None and distances[name] <= near_mm else None

    def confirm(self, click: Point) -> str:
        """Take a click for one of the masks: the nearest one that it is in, or no more than `NEAR_MM` beside.

        Returns its name.

        Raises:
            PromptError: there is none; nothing is confirmed then.
        """
        name = self.waiting_at(click, NEAR_MM)
        if name is None:
            waiting = ", ".join(self._pending) or "none"
            position = ", ".join(f"{value:g}" for value in click.position_ras)
            raise PromptError(f"expected a click on a mask that waits ({waiting}), got ({position}), on none of them")
        self._confirmed[name] = (self._pending.pop(name), click)
        return name

    def drop(self, name: str) -> None:
        """Let go of a mask that waits: it is no longer there."""
        if name not in self._pending:
            raise PromptError(f"expected a mask that waits, out of {', '.join(self._pending) or 'none'}, got {name!r}")
        del self._pending[name]


def _distance_mm(mask: MaskPrompt, click: Point) -> float:
    """Return how far a click is from the nearest voxel of a mask, 0 within."""
    grid = mask.grid
    if grid.contains(click.position_ras) and mask.mask_kji[tuple(grid.nearest_kji(click.position_ras))]:
        return 0.0
    centres = mask.positions_ras()
    return float(np.linalg.norm(centres - np.asarray(click.position_ras), axis=1).min())
