"""How far a segment is carried through a volume from the slices that were prompted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from PromptSegLib.errors import PromptError

Position = tuple[float, float, float]


@dataclass(frozen=True)
class Span:
    """The slices that a segment may be carried to; all of the stack, by default: it ends where the structure ends.

    between_ras: two positions, mm: no farther than the slices through them. direction: "forward" is where the index
    of the array's slices grows; what lies between prompted slices is always filled. slices: no farther than so many
    slices from the prompted ones.
    """

    between_ras: tuple[Position, Position] | None = None
    direction: Literal["both", "forward", "backward"] = "both"
    slices: int | None = None

    def __post_init__(self) -> None:
        if self.direction not in ("both", "forward", "backward"):
            raise PromptError(f"expected both, forward or backward as direction, got {self.direction!r}")
        if self.slices is not None and self.slices < 1:
            raise PromptError(f"expected one slice or more as a span, got {self.slices}")
        if self.between_ras is not None:
            array = np.asarray(self.between_ras, dtype=np.float64)
            if array.shape != (2, 3) or not np.isfinite(array).all():
                raise PromptError(f"expected two finite positions as ends of a span, got {self.between_ras!r}")

    @property
    def is_limited(self) -> bool:
        """Whether it may end before the stack of slices does."""
        return self.between_ras is not None or self.slices is not None
