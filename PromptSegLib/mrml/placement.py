"""How the voxels of a volume lie among those of a segmentation.

Both are index spaces in the segmentation's own RAS; the volume's is brought there through the parent transforms of
both. `*_v` are indices of the volume's array, `*_s` of the segmentation's lattice.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from PromptSegLib.bitmask import BoolArray, Patch
from PromptSegLib.geometry import AxisMap, Extent, FloatArray, Grid, apply_affine, flip_axes


class Placement(Protocol):
    """Carries boxes of voxels to the segmentation's lattice and back."""

    is_exact: bool
    is_identity: bool
    """Whether both have the very same indices."""
    box_s: Extent
    """Where the volume lies in the lattice: nothing is written outside of it."""

    def to_segmentation(self, patch_v: Patch) -> tuple[Patch, BoolArray]:
        """Return the patch in the lattice, and where in its box it speaks at all, of the same shape."""
        ...

    def to_volume(self, patch_s: Patch) -> Patch:
        """Return the patch on the volume's grid: what lies outside of `patch_s` is not set."""
        ...

    def extent_v(self, extent_s: Extent) -> Extent:
        """Return the box of the volume that `extent_s` can touch."""
        ...

    def extent_s(self, extent_v: Extent) -> Extent:
        """Return the box of the lattice that `extent_v` can touch."""
        ...


def placement_of(placed_grid: Grid, ijk_to_ras_s: FloatArray) -> Placement:
    """Return how `placed_grid`, the volume's grid in the segmentation's RAS, lies in the lattice `ijk_to_ras_s`."""
    axis_map = AxisMap.between(placed_grid, ijk_to_ras_s)
    if axis_map is not None:
        return ExactPlacement(placed_grid, axis_map)
    return NearestPlacement(placed_grid, ijk_to_ras_s)


def carried(patch: Patch, ijk_to_ras: FloatArray, other_ijk_to_ras: FloatArray) -> Patch:
    """Return what is set in `patch`, of the lattice `ijk_to_ras`, in another lattice of the same frame."""
    grid = Grid((1, 1, 1), ijk_to_ras).cropped(patch.extent)
    placement = placement_of(grid, other_ijk_to_ras)
    there, speaks = placement.to_segmentation(Patch(grid.extent, patch.mask_kji))
    return Patch(there.extent, there.mask_kji & speaks)


class ExactPlacement:
    """The lattices coincide: voxel for voxel, axes permuted, flipped or shifted."""

    is_exact = True

    def __init__(self, placed_grid: Grid, axis_map: AxisMap) -> None:
        self._map = axis_map
        self.is_identity = axis_map.is_identity
        self._grid = placed_grid
        self.box_s = axis_map.extent(placed_grid.extent)

    def to_segmentation(self, patch_v: Patch) -> tuple[Patch, BoolArray]:
        mask_s = np.ascontiguousarray(self._map.from_source(patch_v.mask_kji))
        return Patch(self._map.extent(patch_v.extent), mask_s), np.ones(mask_s.shape, dtype=bool)

    def to_volume(self, patch_s: Patch) -> Patch:
        return Patch(self._map.inverse.extent(patch_s.extent), self._map.to_source(patch_s.mask_kji))

    def extent_v(self, extent_s: Extent) -> Extent:
        return self._map.inverse.extent(extent_s).intersection(self._grid.extent)

    def extent_s(self, extent_v: Extent) -> Extent:
        return self._map.extent(extent_v)


class NearestPlacement:
    """The lattices differ: each voxel takes the value of the nearest voxel of the other."""

    is_exact = False
    is_identity = False

    def __init__(self, placed_grid: Grid, ijk_to_ras_s: FloatArray) -> None:
        self._grid = placed_grid
        self._v_from_s = placed_grid.ras_to_ijk @ ijk_to_ras_s
        self._s_from_v = np.asarray(np.linalg.inv(self._v_from_s), dtype=np.float64)
        self.box_s = _carried(placed_grid.extent, self._s_from_v)

    def to_segmentation(self, patch_v: Patch) -> tuple[Patch, BoolArray]:
        extent = self.extent_s(patch_v.extent)
        return _sampled(patch_v, extent, self._v_from_s)

    def to_volume(self, patch_s: Patch) -> Patch:
        return _sampled(patch_s, self.extent_v(patch_s.extent), self._s_from_v)[0]

    def extent_v(self, extent_s: Extent) -> Extent:
        return _carried(extent_s, self._v_from_s).intersection(self._grid.extent)

    def extent_s(self, extent_v: Extent) -> Extent:
        return _carried(extent_v, self._s_from_v)


def _carried(extent: Extent, index_map: FloatArray) -> Extent:
    corners = np.array(np.meshgrid(*zip(extent.start_kji, np.array(extent.stop_kji) - 1, strict=True))).reshape(3, -1)
    return Extent.of_points(apply_affine(index_map, flip_axes(corners.T))).padded(1)


def _sampled(source: Patch, extent: Extent, source_from_target: FloatArray) -> tuple[Patch, BoolArray]:
    """Return what `source` says at the voxels of `extent`, and where it says anything, slice by slice."""
    mask = np.zeros(extent.shape_kji, dtype=bool)
    known = np.zeros(extent.shape_kji, dtype=bool)
    j, i = (np.arange(a, b) for a, b in zip(extent.start_kji[1:], extent.stop_kji[1:], strict=True))
    index_ijk = np.zeros((len(j), len(i), 3))
    index_ijk[..., 0], index_ijk[..., 1] = i, j[:, None]
    for layer, k in enumerate(range(extent.start_kji[0], extent.stop_kji[0])):
        index_ijk[..., 2] = k
        nearest = flip_axes(np.floor(np.round(apply_affine(source_from_target, index_ijk) + 0.5, 6))).astype(np.int64)
        local = nearest - source.extent.start_kji
        inside = ((local >= 0) & (local < source.extent.shape_kji)).all(axis=-1)
        known[layer] = inside
        mask[layer, inside] = source.mask_kji[tuple(local[inside].T)]
    return Patch(extent, mask), known
