"""An image as nnInteractive was trained to see it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import AxisMap, Extent, Grid
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.volume import Volume


@dataclass(frozen=True, eq=False)
class OrientedImage:
    """The image's own voxels, k, j, i towards Superior, Anterior, Right; nothing is resampled.

    grid: where they lie. axes: from the source's axes to these. voxels: (k, j, i), a view of the source's array.
    An oblique image is not rotated: its axes are put in the order and direction nearest to RAS.
    """

    source: Volume
    grid: Grid
    axes: AxisMap
    voxels: NDArray[Any]

    @classmethod
    def of(cls, volume: Volume) -> OrientedImage:
        """Return `volume` in that order. What is not finite gets the lowest finite value.

        Raises:
            VolumeError: for colour, and for an image in which nothing can be seen.
        """
        if volume.components > 1:
            raise VolumeError(f"expected an image of one value in each voxel, got {volume!r}")
        low, _ = volume.finite_range
        array = volume.array
        if array.dtype.kind == "f" and not all(np.isfinite(layer).all() for layer in array):
            volume = replace(volume, array=np.where(np.isfinite(array), array, np.asarray(low, array.dtype)))
        _check_contrast(volume)
        grid = AlignedSampling.in_ras_order(volume.grid).grid
        axes = AxisMap.between(volume.grid, grid.ijk_to_ras)
        assert axes is not None, "axes were put in another order, which is exact"
        return cls(volume, grid, axes, axes.from_source(volume.array))


def _check_contrast(volume: Volume) -> None:
    """Refuse an image that is the same all over the box around what is not 0, over which it is normalised."""
    box = Extent.of_mask(volume.array)
    region = volume.array[box.slices] if box is not None else volume.array[:1, :1, :1]
    if region.min() == region.max():
        raise VolumeError(f"expected an image whose voxels differ, got {region.flat[0]} all over {volume!r}")
