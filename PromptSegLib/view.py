"""How the user looks at the image when prompting: intensity window and the view that was clicked in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import FloatArray


@dataclass(frozen=True)
class Window:
    """The intensities that matter, in the image's own unit (HU for CT): `low` is black, `high` is white."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise PromptError(f"expected an intensity window from low to high, got {self.low} to {self.high}")

    @classmethod
    def from_level_and_width(cls, level: float, width: float) -> Window:
        """Make the window of `width` around `level`, as radiology names it: level 40, width 400."""
        return cls(level - width / 2, level + width / 2)


@dataclass(frozen=True)
class View:
    """The slice view in which a prompt was placed.

    center_ras: middle of the view, mm. right_ras, up_ras: unit vectors of the screen's axes in RAS.
    size_mm: width and height of what the view shows: its field of view.
    """

    center_ras: tuple[float, float, float]
    right_ras: tuple[float, float, float]
    up_ras: tuple[float, float, float]
    size_mm: tuple[float, float]

    def __post_init__(self) -> None:
        if not (min(self.size_mm) > 0 and np.isfinite([*self.center_ras, *self.size_mm]).all()):
            raise PromptError(f"expected a view of finite size > 0 mm, got {self.size_mm}")

    @property
    def normal_ras(self) -> FloatArray:
        """(3,) unit normal of the slice shown."""
        return np.cross(self.right_ras, self.up_ras)
