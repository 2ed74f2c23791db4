"""Volume and mean of a segment that is being worked on: kept up to date by the boxes that changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BitMask, Patch
from PromptSegLib.geometry import Extent, Grid


class Tally:
    """Counts the voxels of a mask on `grid` and sums up the values of an image there.

    values_kji: the image, on the same grid; None where only the volume is wanted, as of colour.
    """

    def __init__(self, grid: Grid, values_kji: NDArray[Any] | None = None) -> None:
        self._grid = grid
        self._values = values_kji
        self._bits = BitMask(grid.shape_kji)
        self.voxels = 0
        self._at_border = 0
        self._finite = 0
        self._sums = np.zeros(2)
        # Sums of squares around a value of the segment lose no digits to a mean far from 0.
        self._origin: float | None = None

    def update(self, patch: Patch) -> None:
        """Take what the mask is now within a box."""
        before = self._bits.read(patch.extent)
        changed = Extent.of_mask(before ^ patch.mask_kji)
        if changed is None:
            return
        was, now = before[changed.slices], patch.mask_kji[changed.slices]
        extent = changed.shifted(patch.extent.start_kji)
        self.voxels += int(np.count_nonzero(now)) - int(np.count_nonzero(was))
        self._at_border += self._count_at_border(extent, now) - self._count_at_border(extent, was)
        if self._values is not None:
            values = self._values[extent.slices]
            self._sum(values[now & ~was], 1)
            self._sum(values[was & ~now], -1)
        self._bits.write(extent, now)

    @property
    def volume_ml(self) -> float:
        return self.voxels * self._grid.voxel_mm3 / 1000

    @property
    def touches_border(self) -> bool:
        return self._at_border > 0

    @property
    def mean(self) -> float | None:
        """Mean of the finite values, None without any."""
        if not self._finite or self._origin is None:
            return None
        return float(self._origin + self._sums[0] / self._finite)

    @property
    def sd(self) -> float | None:
        """Standard deviation of the sample, None below two values."""
        if self._finite < 2:
            return None
        about_mean = self._sums[1] - self._sums[0] ** 2 / self._finite
        return math.sqrt(max(0.0, float(about_mean)) / (self._finite - 1))

    def _sum(self, values: NDArray[Any], sign: int) -> None:
        numbers = values.astype(np.float64)
        if values.dtype.kind == "f":
            numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            return
        if self._origin is None:
            self._origin = float(numbers.mean())
        numbers -= self._origin
        self._finite += sign * numbers.size
        self._sums += sign * np.array([numbers.sum(), numbers @ numbers])

    def _count_at_border(self, extent: Extent, mask_kji: NDArray[np.bool_]) -> int:
        """Count voxels in the outermost layers; those on edges more than once, which does no harm."""
        count = 0
        for axis, length in enumerate(self._grid.shape_kji):
            for layer in {0, length - 1} if length > 1 else ():
                inside = layer - extent.start_kji[axis]
                if 0 <= inside < mask_kji.shape[axis]:
                    count += int(np.count_nonzero(np.take(mask_kji, inside, axis)))
        return count
