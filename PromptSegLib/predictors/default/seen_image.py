"""What is known of an image before anybody clicks, and the regions of it that the network is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from PromptSegLib.geometry import Extent, Float32Array, FloatArray, Grid, flip_axes
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.predictors.default.network import PromptNetwork
from PromptSegLib.predictors.default.prompt_maps import PromptMaps
from PromptSegLib.predictors.default.tuning import TUNED
from PromptSegLib.volume import Image


@dataclass(frozen=True, eq=False)
class SeenImage:
    """An image with the network for it. dims: of the network, 2 for an image of one slice."""

    image: Image
    network: PromptNetwork
    dims: int
    is_ct: bool

    @property
    def grid(self) -> Grid:
        return self.image.grid

    @property
    def longest_mm(self) -> float:
        return float((np.array(self.grid.shape_kji) * self.grid.spacing_kji_mm).max())

    def side_mm(self, bounds: Extent, finest: float = TUNED.finest) -> float:
        """Return the side of a region in which what is in `bounds` has the room that the network is used to."""
        longest_mm = float((np.array(bounds.shape_kji) * self.grid.spacing_kji_mm).max())
        finest_mm = finest * self.network.side * float(self.grid.spacing_mm.min())
        return max(TUNED.margin * longest_mm, finest_mm)

    def region(self, middle_kji: FloatArray, side_mm: float, side: int) -> Roi:
        """Return a region of cubic voxels, `side` at most along each axis, within the image where that is larger."""
        spacing, shape = self.grid.spacing_kji_mm, np.array(self.grid.shape_kji)
        step_mm, multiple = side_mm / side, self.network.multiple
        thin = self._thin_axis
        counts, steps = np.full(3, side), np.full(3, step_mm)
        needed = multiple * np.ceil(shape * spacing / step_mm / multiple - 1e-6).astype(int)
        counts = np.minimum(counts, needed)
        if thin is not None:
            counts[thin], steps[thin] = 1, spacing[thin]
        half = counts * steps / spacing / 2
        low, high = np.minimum(half - 0.5, (shape - 1) / 2), np.maximum(shape - 0.5 - half, (shape - 1) / 2)
        return Roi.centred(self.grid, self.grid.to_ras(flip_axes(np.clip(middle_kji, low, high))), steps, counts)

    def logits(self, maps: PromptMaps) -> Float32Array:
        thin = self._thin_axis
        if thin is None:
            return self.network.logits(maps)
        return np.expand_dims(self.network.logits(maps.squeezed(thin)), thin)

    def sides_mm(self, shape_kji: ArrayLike) -> FloatArray:
        """Return the sides, two in an image of one slice, of a box of so many voxels, or parts of one."""
        sides_mm = np.array(shape_kji) * self.grid.spacing_kji_mm
        return sides_mm if self._thin_axis is None else np.delete(sides_mm, self._thin_axis)

    @property
    def _thin_axis(self) -> int | None:
        return self.grid.shape_kji.index(1) if self.dims == 2 else None
