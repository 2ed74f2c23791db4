"""The view that a user has of a structure: zoomed so that it fills a third of it."""

from __future__ import annotations

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent, Grid, flip_axes, orthonormal_axes
from PromptSegLib.prompts import Prompt
from PromptSegLib.view import View

STRUCTURE_PART = 1 / 3
"""How much of the view's side the longest side of the structure takes."""


class StructureView:
    """Views of one structure, along the slices of the image in which it lies; the same for all who are compared."""

    def __init__(self, truth_kji: BoolArray, grid: Grid) -> None:
        extent = Extent.of_mask(truth_kji)
        if extent is None:
            raise GeometryError("expected a structure of at least one voxel, got none")
        sides_mm = np.array(extent.shape_kji) * grid.spacing_kji_mm
        self._side_mm = float(sides_mm.max()) / STRUCTURE_PART
        middle_kji = (np.array(extent.start_kji) + extent.stop_kji - 1) / 2
        self._middle_ras = grid.to_ras(flip_axes(middle_kji))
        right, down, _ = orthonormal_axes(grid.directions)
        self._right, self._up = right, -down

    def of(self, prompt: Prompt) -> View:
        """Return the view in which `prompt` is placed: on its slice."""
        normal = np.cross(self._right, self._up)
        position = prompt.positions_ras().mean(axis=0)
        center = self._middle_ras + normal * (normal @ (position - self._middle_ras))
        return View(_triple(center), _triple(self._right), _triple(self._up), (self._side_mm, self._side_mm))


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
