"""Slices: planes of pixels through an image, along its array's axes or oblique, and masks on them.

Pixels are named (x, y): x to the right along a row, y down; integers are pixel *centres*. Arrays of pixels are
(h, w), or (h, w, component) for colour. A slice has a `Grid` of one layer, so whatever works on a grid, such as
`rasterize`, works on a slice.

Slices lie as radiologists look at them, however the array is stored: axial with the patient's left on the right and
posterior at the bottom, coronal and sagittal with inferior at the bottom. An array without a geometry, whose affine
is the identity, has rows and columns as they are stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.bitmask import BitMask, BoolArray, Patch
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import AxisMap, Extent, FloatArray, Grid, flip_axes
from PromptSegLib.imaging.planes import pixel_axes_ras
from PromptSegLib.volume import Volume


@dataclass(frozen=True)
class Slice(ABC):
    """A plane of pixels through the image on `image_grid`, one of a stack of parallel ones."""

    image_grid: Grid

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """Shape (1, h, w); pixel (x, y) is the voxel (x, y, 0), the next slice of the stack the next layer."""

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """Equal for equal slices of one image."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in messages."""

    @abstractmethod
    def pixels(self, volume: Volume) -> NDArray[Any]:
        """Return the pixels (h, w[, component]) of a volume on the image's grid; NaN where there is no voxel."""

    @abstractmethod
    def read(self, mask: BitMask) -> BoolArray:
        """Return the pixels (h, w) of a mask on the image's grid."""

    @abstractmethod
    def patch(self, mask_hw: BoolArray, current: BitMask | None) -> Patch:
        """Return what lays `mask_hw` : (h, w) over `current`; only voxels that the slice shows change."""

    @abstractmethod
    def neighbour(self, layers: int) -> Slice | None:
        """Return the slice that many layers on in the stack, None where that is outside of the image."""

    @abstractmethod
    def layers_to(self, other: Slice) -> float | None:
        """Return how many layers of the stack it is to a parallel slice, None when `other` is none."""

    @property
    def shape_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.grid.shape_kji[1], self.grid.shape_kji[2]

    def points(self, points_ras: ArrayLike) -> FloatArray:
        """Return `points_ras` : (n, 3), mm, as pixels (n, 2) as (x, y), along the stack's direction."""
        return self.grid.to_ijk(points_ras)[..., :2]

    def points_ras(self, points_xy: ArrayLike) -> FloatArray:
        """Return pixels (n, 2) as (x, y) as positions (n, 3) in mm."""
        xy = np.asarray(points_xy, dtype=np.float64)
        return self.grid.to_ras(np.concatenate([xy, np.zeros_like(xy[..., :1])], axis=-1))

    def holds(self, points_ras: ArrayLike) -> bool:
        """Tell whether all of `points_ras` : (n, 3), mm, lie within half a layer of the slice."""
        return bool((np.abs(self.grid.to_ijk(points_ras)[..., 2]) <= 0.5 + 1e-6).all())


@dataclass(frozen=True)
class ArraySlice(Slice):
    """A slice of the array itself: its pixels are voxels, nothing is interpolated.

    axis: across which it lies, 0 for i, 1 for j, 2 for k. index: of the slice along that axis.

    Raises:
        GeometryError: there is no such slice.
    """

    axis: int
    index: int

    def __post_init__(self) -> None:
        count = int(flip_axes(self.image_grid.shape_kji)[self.axis])
        if not 0 <= self.index < count:
            raise GeometryError(f"expected a slice 0 to {count - 1} along {'ijk'[self.axis]}, got {self.index}")

    @property
    def key(self) -> Hashable:
        return "ijk"[self.axis], self.index

    @property
    def name(self) -> str:
        return f"slice {self.index} along {'ijk'[self.axis]}"

    @cached_property
    def grid(self) -> Grid:
        counts = flip_axes(self.image_grid.shape_kji)
        start_ijk = np.zeros(3)
        start_ijk[self.axis] = self.index
        matrix = np.eye(4)
        matrix[:3, 2] = self.image_grid.ijk_to_ras[:3, self.axis]
        axes = _in_plane_axes(self.image_grid, self.axis)
        for column, (axis, sign) in enumerate(axes):
            matrix[:3, column] = sign * self.image_grid.ijk_to_ras[:3, axis]
            start_ijk[axis] = 0 if sign > 0 else counts[axis] - 1
        matrix[:3, 3] = self.image_grid.to_ras(start_ijk)
        (x_axis, _), (y_axis, _) = axes
        return Grid((1, int(counts[y_axis]), int(counts[x_axis])), matrix)

    def pixels(self, volume: Volume) -> NDArray[Any]:
        voxels = volume.array[self._extent.slices]
        if voxels.ndim == 3:
            return np.asarray(self._map.to_source(voxels)[0])
        components = [self._map.to_source(voxels[..., c])[0] for c in range(voxels.shape[3])]
        return np.stack(components, axis=-1)

    def read(self, mask: BitMask) -> BoolArray:
        # A flipped view has negative strides, which torch does not take.
        return np.ascontiguousarray(self._map.to_source(mask.read(self._extent))[0])

    def patch(self, mask_hw: BoolArray, current: BitMask | None) -> Patch:
        return Patch(self._extent, np.ascontiguousarray(self._map.from_source(mask_hw[None])))

    def neighbour(self, layers: int) -> ArraySlice | None:
        index = self.index + layers
        inside = 0 <= index < flip_axes(self.image_grid.shape_kji)[self.axis]
        return ArraySlice(self.image_grid, self.axis, index) if inside else None

    def layers_to(self, other: Slice) -> float | None:
        if not isinstance(other, ArraySlice) or other.axis != self.axis:
            return None
        return float(other.index - self.index)

    @cached_property
    def _map(self) -> AxisMap:
        """From pixels, as voxels (0, y, x), to voxels."""
        found = AxisMap.between(self.grid, self.image_grid.ijk_to_ras)
        if found is None:
            raise GeometryError(f"expected an affine that can be inverted, got\n{self.image_grid.ijk_to_ras}")
        return found

    @cached_property
    def _extent(self) -> Extent:
        return self._map.extent(self.grid.extent)


def _in_plane_axes(grid: Grid, axis: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (axis, sign) of the array's axes along which x and y of a slice across `axis` run."""
    fast, slow = [a for a in range(3) if a != axis]
    if np.array_equal(grid.ijk_to_ras, np.eye(4)):
        return (fast, 1), (slow, 1)
    right, down = pixel_axes_ras(np.cross(grid.directions[:, fast], grid.directions[:, slow]))
    to_right, to_bottom = right @ grid.directions, down @ grid.directions
    if abs(to_right[slow]) + abs(to_bottom[fast]) > abs(to_right[fast]) + abs(to_bottom[slow]):
        fast, slow = slow, fast
    return (fast, 1 if to_right[fast] >= 0 else -1), (slow, 1 if to_bottom[slow] >= 0 else -1)
