"""Slices across any direction: resampled, their masks going back only to the voxels that they show."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.bitmask import BitMask, BoolArray, Patch
from PromptSegLib.geometry import Extent, FloatArray, Grid, IntArray, flip_axes
from PromptSegLib.imaging.planes import pixel_axes_ras, unit
from PromptSegLib.imaging.slices import Slice
from PromptSegLib.volume import Volume

# A plane through a whole-body CT of 0.5 mm would have 4000 rows; no network here sees more than 1024.
MOST_PIXELS = 2048


@dataclass(frozen=True)
class ObliqueSlice(Slice):
    """A plane across any direction, as large as the image seen from there; pixels as small as its smallest spacing.

    A layer of its stack is as thick as a voxel's longest side, seen along the normal: each voxel of the image is
    in exactly one layer, as in `rasterize` of a lasso.

    normal_ras: unit vector, towards growing indices of the array's axis that lies nearest to it; `through` makes it
    so. depth_mm: of the plane along the normal, from RAS' origin.
    """

    normal_ras: tuple[float, float, float]
    depth_mm: float

    @classmethod
    def through(cls, image_grid: Grid, point_ras: ArrayLike, normal_ras: ArrayLike) -> ObliqueSlice:
        """Return the slice through `point_ras` : (3,), mm, across `normal_ras` : (3,), either way round."""
        normal = unit(normal_ras)
        steps_mm = normal @ image_grid.ijk_to_ras[:3, :3]
        if steps_mm[np.abs(steps_mm).argmax()] < 0:
            normal = -normal
        x, y, z = (float(v) for v in normal)
        return cls(image_grid, (x, y, z), float(normal @ np.asarray(point_ras, dtype=np.float64)))

    @property
    def key(self) -> Hashable:
        # In parts of a layer: slices of a microscope are a few 0.001 mm apart.
        return (*(round(v, 6) for v in self.normal_ras), round(self.depth_mm / self.layer_mm, 3))

    @property
    def name(self) -> str:
        return f"oblique slice at {self.depth_mm:.1f} mm"

    @cached_property
    def grid(self) -> Grid:
        right, down = pixel_axes_ras(self._normal)
        ends = np.stack([np.full(3, -0.5), flip_axes(self.image_grid.shape_kji) - 0.5])
        corners = _box_corners(ends, self.image_grid)
        middle = corners.mean(axis=0)
        reach_mm = np.array([np.abs((corners - middle) @ axis).max() for axis in (right, down)])
        pixel_mm = max(float(self.image_grid.spacing_mm.min()), 2 * reach_mm.max() / MOST_PIXELS)
        half_w, half_h = (int(np.ceil(mm / pixel_mm - 0.5 - 1e-6)) for mm in reach_mm)
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([right * pixel_mm, down * pixel_mm, self._normal * self.layer_mm], axis=1)
        first = middle - (half_w * right + half_h * down) * pixel_mm
        matrix[:3, 3] = first + self._normal * (self.depth_mm - self._normal @ first)
        return Grid((1, 2 * half_h + 1, 2 * half_w + 1), matrix)

    @cached_property
    def layer_mm(self) -> float:
        """Thickness of a layer."""
        return float(np.abs(self._steps_mm).max())

    def pixels(self, volume: Volume) -> NDArray[Any]:
        return _linear(volume, self.image_grid.to_ijk(self._centres_ras()))

    def read(self, mask: BitMask) -> BoolArray:
        nearest = np.rint(self.image_grid.to_ijk(self._centres_ras())).astype(np.int64)
        index, inside = self._moved_into_layer(nearest)
        pixels = np.zeros(inside.shape, dtype=bool)
        pixels[inside] = _read_at(mask, flip_axes(index[inside]))
        return pixels

    def patch(self, mask_hw: BoolArray, current: BitMask | None) -> Patch:
        index, yx = self._shown_voxels()
        values = mask_hw[tuple(yx.T)]
        before = _read_at(current, index) if current is not None else np.zeros_like(values)
        changed = index[values != before]
        if len(changed) == 0:
            return Patch(Extent((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), dtype=bool))
        extent = Extent.of_points(flip_axes(changed))
        mask = current.read(extent) if current is not None else np.zeros(extent.shape_kji, dtype=bool)
        mask[tuple((changed - extent.start_kji).T)] ^= True
        return Patch(extent, mask)

    def neighbour(self, layers: int) -> ObliqueSlice | None:
        depth = self.depth_mm + layers * self.layer_mm
        ends = np.stack([np.zeros(3), flip_axes(self.image_grid.shape_kji) - 1])
        depths = _box_corners(ends, self.image_grid) @ self._normal
        inside = depths.min() - self.layer_mm / 2 < depth < depths.max() + self.layer_mm / 2
        return ObliqueSlice(self.image_grid, self.normal_ras, depth) if inside else None

    def layers_to(self, other: Slice) -> float | None:
        if not isinstance(other, ObliqueSlice) or not np.allclose(other.normal_ras, self.normal_ras, atol=1e-6):
            return None
        return (other.depth_mm - self.depth_mm) / self.layer_mm

    @property
    def _normal(self) -> FloatArray:
        return np.array(self.normal_ras)

    @property
    def _steps_mm(self) -> FloatArray:
        """(3,) how deep a step along i, j, k goes."""
        return np.asarray(self._normal @ self.image_grid.ijk_to_ras[:3, :3])

    # What follows takes megabytes: computed when it is needed, as slices are kept for long.

    def _centres_ras(self) -> FloatArray:
        """(h, w, 3) centres of the pixels, mm."""
        _, height, width = self.grid.shape_kji
        points = np.zeros((height, width, 3))
        points[..., 0], points[..., 1] = np.arange(width), np.arange(height)[:, None]
        return self.grid.to_ras(points)

    def _moved_into_layer(self, index_ijk: IntArray) -> tuple[IntArray, BoolArray]:
        """Move each of the voxels (..., 3) along the array's axis nearest to the normal, into the layer.

        Returns them and which of them lie in the image (...). There is one such voxel for each: a layer is as thick
        as a step along that axis.
        """
        steps_mm = self._steps_mm
        along = int(np.abs(steps_mm).argmax())
        moved = index_ijk.copy()
        moved[..., along] = 0
        depth_mm = self._normal @ self.image_grid.ijk_to_ras[:3, 3] - self.depth_mm + moved @ steps_mm
        # Rounded, so that a voxel half a layer away does not change sides by the last bit of its coordinates.
        moved[..., along] = np.floor(np.round(0.5 - depth_mm / steps_mm[along], 6))
        inside = ((moved >= 0) & (moved < flip_axes(self.image_grid.shape_kji))).all(axis=-1)
        return moved, np.asarray(inside)

    def _shown_voxels(self) -> tuple[IntArray, IntArray]:
        """The voxels of the layer, (n, 3) as (k, j, i), and the nearest pixel of each, (n, 2) as (y, x)."""
        along = int(np.abs(self._steps_mm).argmax())
        counts = flip_axes(self.image_grid.shape_kji).copy()
        counts[along] = 1
        columns = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
        index_ijk, inside = self._moved_into_layer(columns)
        index_ijk = index_ijk[inside]
        yx = self.grid.nearest_kji(self.image_grid.to_ras(index_ijk))[:, 1:]
        return flip_axes(index_ijk), np.clip(yx, 0, np.array(self.grid.shape_kji[1:]) - 1)


def _box_corners(ends_ijk: FloatArray, grid: Grid) -> FloatArray:
    """Return the (8, 3) corners in mm of the box between two opposite ones, `ends_ijk` : (2, 3)."""
    return grid.to_ras(np.array(np.meshgrid(*ends_ijk.T)).reshape(3, -1).T)


def _read_at(mask: BitMask, index_kji: IntArray) -> BoolArray:
    """Return what a mask holds at `index_kji` : (n, 3)."""
    if len(index_kji) == 0:
        return np.zeros(0, dtype=bool)
    extent = Extent.of_points(flip_axes(index_kji))
    return np.asarray(mask.read(extent)[tuple((index_kji - extent.start_kji).T)])


def _linear(volume: Volume, points_ijk: FloatArray) -> NDArray[np.float32]:
    """Return a volume's values at `points_ijk` : (h, w, 3), as (h, w[, component]).

    NaN outside of the volume, and wherever a voxel that is not finite has a part in it.
    """
    counts = flip_axes(volume.grid.shape_kji)
    outside = ((points_ijk < -0.5 - 1e-6) | (points_ijk > counts - 0.5 + 1e-6)).any(axis=-1)
    points = np.clip(np.round(points_ijk, 6), 0, counts - 1)
    low = np.minimum(points.astype(np.int64), np.maximum(counts - 2, 0))
    share = points - low
    result = np.zeros((*points.shape[:2], *volume.array.shape[3:]))
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.where(corner, share, 1 - share).prod(axis=-1)
        k, j, i = np.moveaxis(flip_axes(np.minimum(low + corner, counts - 1)), -1, 0)
        values = volume.array[k, j, i].astype(np.float64)
        values[~np.isfinite(values)] = np.nan
        weight = weight.reshape(weight.shape + (1,) * (values.ndim - 2))
        result += np.where(weight > 0, values * weight, 0)
    result[outside] = np.nan
    return result.astype(np.float32)
