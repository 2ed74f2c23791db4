"""An image as its segmentation sees it: in the order of the segmentation's axes, and where its voxels lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import AxisMap, Extent, Grid
from PromptSegLib.volume import Volume


@dataclass(frozen=True, eq=False)
class PlacedImage:
    """Values (k, j, i) in the order of a segmentation's axes. extent: where they lie, in its voxels."""

    values_kji: NDArray[Any]
    extent: Extent

    def within(self, extent: Extent) -> NDArray[Any]:
        """Return the values of a box of the segmentation."""
        return self.values_kji[extent.slices_within(self.extent)]


def placed(volume: Volume, grid: Grid) -> PlacedImage:
    """Return `volume` as a segmentation on `grid` sees it, whose axes may be permuted, flipped or cropped.

    Raises:
        VolumeError: for colour.
        GeometryError: its voxels are not those of `grid`.
    """
    if volume.components > 1:
        raise VolumeError(f"expected an image of one value a voxel to measure, got {volume!r}")
    axis_map = AxisMap.between(volume.grid, grid.ijk_to_ras)
    if axis_map is not None:
        extent = axis_map.extent(volume.grid.extent)
        if extent.contains(grid.extent):
            return PlacedImage(axis_map.from_source(volume.array), extent)
    raise GeometryError(
        f"expected the image that was segmented, on the segmentation's grid, {_described(grid)}, got "
        f"{_described(volume.grid)} in {volume.name or 'the image'}; resample one of them first"
    )


def _described(grid: Grid) -> str:
    spacing = " x ".join(f"{step:.4g}" for step in grid.spacing_mm)
    return f"{grid.shape_kji} (k, j, i), spacing {spacing} mm (i, j, k), at {grid.describe_bounds()}"
