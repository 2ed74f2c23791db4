"""A structure to be written to a file: its mask, and what it is called and shown as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.structures.names import find_structure
from PromptSegLib.structures.terminology import terminology_entry

# Told apart by people with any colour vision, on grey (Okabe & Ito, Color Universal Design, 2008).
COLOURS = (
    (0.0, 0.62, 0.45),
    (0.9, 0.62, 0.0),
    (0.34, 0.71, 0.91),
    (0.84, 0.37, 0.0),
    (0.94, 0.89, 0.26),
    (0.8, 0.47, 0.65),
    (0.0, 0.45, 0.7),
)


@dataclass(frozen=True, eq=False)
class Segment:
    """A structure to be written.

    mask_kji: (k, j, i), bool. value: its number in labelmaps, 1 to 65535. colour: red, green, blue, 0 to 1; when
    None, that of the structure it is named after, or one of `COLOURS` after its number.
    """

    name: str
    mask_kji: BoolArray
    value: int = 1
    colour: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.value <= 65535:
            raise VolumeError(f"expected a label value from 1 to 65535 for {self.name!r}, got {self.value}")

    @property
    def rgb(self) -> tuple[float, float, float]:
        """The colour to show it in."""
        if self.colour is None and (structure := find_structure(self.name)) is not None:
            return structure.colour
        return self.colour or COLOURS[(self.value - 1) % len(COLOURS)]

    @property
    def terminology(self) -> str:
        """DICOM's codes of it, in Slicer's form, when its name is a known structure's; else nothing."""
        known = find_structure(self.name)
        return terminology_entry(known) if known else ""

    def size_on(self, grid: Grid) -> str:
        """Say how large it is on `grid`, for people: in mL, or in pixels when that is a single slice."""
        voxels = int(np.count_nonzero(self.mask_kji))
        return f"{voxels} pixels" if grid.is_single_slice else f"{voxels * grid.voxel_mm3 / 1000:.1f} mL"
