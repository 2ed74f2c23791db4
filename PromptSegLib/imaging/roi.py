"""A region of interest: a box of an image, worked on at a coarser or finer grid, and the way back.

The working grid shares the axes of the image, so nothing is rotated and flips cancel out: an image and its mirror
give mirrored regions. Voxels are read and written slab by slab, within the box only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from PromptSegLib.bitmask import BitMask, BoolArray, Patch
from PromptSegLib.geometry import Extent, Float32Array, FloatArray, Grid, IntArray, flip_axes
from PromptSegLib.volume import Volume

Triple = tuple[float, float, float]

# Larger magnitudes are clipped, so that their squares still are float32.
_LARGEST = 1e18
# Voxels converted to float32 at a time: 4 MiB, and as much again to order them along an axis.
_SLAB_VOXELS = 2**20


@dataclass(frozen=True, eq=False)
class Roi:
    """A box of `source` and a working grid over it.

    source: grid of the image. low_kji: the box's lower face in index coordinates of the source along its array axes:
    -0.5 is the outer face of the first voxel; the box may reach beyond the image. step_kji: size of a working voxel
    in source voxels. shape_kji: of the working grid.
    """

    source: Grid
    low_kji: Triple
    step_kji: Triple
    shape_kji: tuple[int, int, int]

    @classmethod
    def covering(cls, source: Grid, extent: Extent, spacing_mm: float) -> Roi:
        """Return the region of exactly the voxels of `extent`, worked on at `spacing_mm`.

        Along axes on which the image itself is coarser, its own spacing stays: nothing is made up.
        """
        lengths = np.array(extent.shape_kji)
        counts = np.clip(np.ceil(lengths * source.spacing_kji_mm / spacing_mm - 1e-6), 1, lengths).astype(int)
        low = np.array(extent.start_kji) - 0.5
        return cls(source, _floats(low), _floats(lengths / counts), _ints(counts))

    @classmethod
    def around(cls, source: Grid, bounds: Extent, side_mm: float, most_voxels: int) -> Roi:
        """Return the region that reaches `side_mm` / 2 beyond the middle of `bounds`, and holds all of them.

        It ends where the image does, and is worked on at no more than `most_voxels` along its longest side.
        """
        spacing = source.spacing_kji_mm
        middle = (np.array(bounds.start_kji) + bounds.stop_kji) / 2
        half = np.maximum(side_mm / 2 / spacing, np.array(bounds.shape_kji) * 0.75 + 2)
        extent = Extent(_ints(np.floor(middle - half)), _ints(np.ceil(middle + half))).intersection(source.extent)
        longest_mm = float((np.array(extent.shape_kji) * spacing).max())
        return cls.covering(source, extent, max(longest_mm / most_voxels, float(spacing.min())))

    @classmethod
    def centred(cls, source: Grid, center_ras: ArrayLike, spacing_mm: ArrayLike, shape_kji: ArrayLike) -> Roi:
        """Return a region of `shape_kji` voxels of `spacing_mm` (one value, or three along k, j, i) each.

        Its middle is at `center_ras` : (3,), mm, wherever the image ends.
        """
        counts = np.array(shape_kji, dtype=int)
        step = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3) / source.spacing_kji_mm
        low = flip_axes(source.to_ijk(center_ras)) - step * counts / 2
        return cls(source, _floats(low), _floats(step), _ints(counts))

    @cached_property
    def grid(self) -> Grid:
        """The working grid."""
        matrix = self.source.ijk_to_ras.copy()
        first = np.array(self.low_kji) + np.array(self.step_kji) / 2
        matrix[:3, 3] = self.source.to_ras(flip_axes(first))
        matrix[:3, :3] *= flip_axes(self.step_kji)
        return Grid(self.shape_kji, matrix)

    @cached_property
    def extent(self) -> Extent:
        """The voxels of the image whose centres are in the box."""
        low = np.ceil(np.array(self.low_kji) - 1e-6)
        high = np.ceil(self._high_kji - 1e-6)
        return Extent(_ints(low), _ints(high)).intersection(self.source.extent)

    @property
    def _high_kji(self) -> FloatArray:
        return np.asarray(np.array(self.low_kji) + np.array(self.step_kji) * self.shape_kji)

    @property
    def cut_faces(self) -> NDArray[np.bool_]:
        """(3, 2) bool: whether the image goes on beyond the lower and the upper face of each array axis."""
        low, high = np.array(self.low_kji), self._high_kji
        return np.stack([low > -0.5 + 1e-6, high < np.array(self.source.shape_kji) - 0.5 - 1e-6], axis=1)

    def touched_faces(self, working: Extent) -> NDArray[np.bool_]:
        """(3, 2) bool: which `cut_faces` the box `working` of the working grid touches: the image has more there."""
        at_face = np.stack([np.array(working.start_kji) <= 0, np.array(working.stop_kji) >= self.shape_kji], axis=1)
        return np.asarray(at_face & self.cut_faces)

    # Into the region

    def read(self, volume: Volume, antialias: bool = True) -> Float32Array:
        """Return the image on the working grid: (k, j, i), or (k, j, i, component), float32.

        Linear interpolation; where the working grid is coarser, averaged over its voxels against aliasing. Beyond the
        image its outermost voxels are repeated. Voxels that are no finite numbers become the smallest finite value
        around, 0 when there is none.
        """
        axes = self._reductions(antialias)
        clean = _finite_floats if volume.array.dtype.kind == "f" else _floats32
        lowest = 0.0
        if volume.array.dtype.kind == "f":
            lowest = min((_lowest_finite(slab) for slab in _slabs(volume.array, axes)), default=np.inf)
            lowest = lowest if np.isfinite(lowest) else 0.0
        return _reduced(lambda slab: clean(volume.array[slab], lowest), axes, volume.array.shape[3:])

    def read_mask(self, mask: BitMask) -> Float32Array:
        """Return how much of each working voxel `mask` fills: (k, j, i), float32, 0 to 1."""
        axes = self._reductions(antialias=True)
        if not mask.any():
            return np.zeros(self.shape_kji, dtype=np.float32)
        return _reduced(lambda slab: _mask_slab(mask, slab), axes, ())

    def mark(self, indices_kji: ArrayLike) -> BoolArray:
        """Return the working voxels that hold any of the image's voxels `indices_kji` : (n, 3): (k, j, i), bool."""
        marked = np.zeros(self.shape_kji, dtype=bool)
        index = self._working_index(indices_kji)
        inside = ((index >= 0) & (index < np.array(self.shape_kji))).all(axis=-1)
        marked[tuple(index[inside].T)] = True
        return marked

    def box(self, extent: Extent) -> BoolArray:
        """Return the working voxels that hold any part of the image's voxels of `extent`: (k, j, i), bool."""
        low = (np.array(extent.start_kji) - 0.5 - self.low_kji) / self.step_kji
        high = (np.array(extent.stop_kji) - 0.5 - self.low_kji) / self.step_kji
        start, stop = np.maximum(np.floor(low), 0).astype(int), np.maximum(np.ceil(high), 0).astype(int)
        inside = np.zeros(self.shape_kji, dtype=bool)
        inside[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
        return inside

    def _working_index(self, indices_kji: ArrayLike) -> IntArray:
        offset = np.asarray(indices_kji, dtype=np.float64).reshape(-1, 3) - self.low_kji
        return np.asarray(np.floor(offset / self.step_kji), dtype=np.int64)

    # Back to the image

    def to_source(self, field_kji: Float32Array, extent: Extent | None = None) -> Float32Array:
        """Return `field_kji`, on the working grid, at the image's voxels of `extent` (all of the box, by default).

        Linear interpolation; beyond the working grid's outermost voxel centres their values are repeated.
        """
        extent = extent or self.extent
        result = np.empty(extent.shape_kji, dtype=np.float32)
        for part, values in self._interpolated(field_kji, extent):
            result[part] = values
        return result

    def above(self, field_kji: Float32Array, level: float = 0.0) -> Patch:
        """Return the image's voxels at which `field_kji`, interpolated, is above `level`, in a box around them all.

        Empty where the field nowhere is.
        """
        hits = Extent.of_mask(field_kji > level)
        if hits is None:
            return Patch(Extent((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), dtype=bool))
        extent = self.source_extent(hits.padded(1))
        mask = np.empty(extent.shape_kji, dtype=bool)
        for part, values in self._interpolated(field_kji, extent):
            mask[part] = values > level
        return Patch(extent, mask)

    def source_extent(self, working: Extent) -> Extent:
        """Return the image's voxels whose centres are in the box `working` of the working grid."""
        low, step = np.array(self.low_kji), np.array(self.step_kji)
        start, stop = low + step * working.start_kji, low + step * working.stop_kji
        return Extent(_ints(np.ceil(start - 1e-6)), _ints(np.ceil(stop - 1e-6))).intersection(self.extent)

    def carried(self, field_kji: Float32Array, other: Roi) -> Float32Array:
        """Return `field_kji`, on the working grid, on that of another region of the same image; 0 beyond this one."""
        result = field_kji
        for axis in range(3):
            centres = other.low_kji[axis] + other.step_kji[axis] * (np.arange(other.shape_kji[axis]) + 0.5)
            low, high = self.low_kji[axis], self._high_kji[axis]
            weights = _interpolation(self.shape_kji[axis], low, self.step_kji[axis], centres)
            weights[(centres < low) | (centres > high)] = 0
            result = _weighed(csr_array(weights), result, axis)
        return result

    def _interpolated(self, field: Float32Array, extent: Extent) -> Iterator[tuple[slice, Float32Array]]:
        along_k, along_j, along_i = (
            csr_array(_interpolation(count, low, step, np.arange(start, stop)))
            for count, low, step, start, stop in zip(
                self.shape_kji, self.low_kji, self.step_kji, extent.start_kji, extent.stop_kji, strict=True
            )
        )
        rows = max(1, _SLAB_VOXELS // max(1, extent.shape_kji[1] * extent.shape_kji[2]))
        for first in range(0, extent.shape_kji[0], rows):
            part = slice(first, min(first + rows, extent.shape_kji[0]))
            slab = _weighed(along_k[part], field, 0)  # (part, nj, ni)
            slab = _weighed(along_i, slab, 2)  # (part, nj, i)
            yield part, _weighed(along_j, slab, 1)  # (part, j, i)

    def _reductions(self, antialias: bool) -> list[_Reduction]:
        return [
            _reduction(length, low, step, count, antialias)
            for length, low, step, count in zip(
                self.source.shape_kji, self.low_kji, self.step_kji, self.shape_kji, strict=True
            )
        ]


@dataclass(frozen=True, eq=False)
class _Reduction:
    """Along one axis: which voxels of the image are read, and their weights in each working voxel.

    used: start, stop and stride. weights: (working, used), rows sum to 1.
    """

    used: slice
    weights: csr_array


def _reduction(length: int, low: float, step: float, count: int, antialias: bool) -> _Reduction:
    """Weigh source voxels by a triangle as wide as a working voxel, and no narrower than a source voxel."""
    scale = max(1.0, step) if antialias else 1.0
    centres = np.clip(low + step * (np.arange(count) + 0.5), 0, length - 1)
    first = max(0, int(np.ceil(centres[0] - scale + 1e-6)))
    last = min(length - 1, int(np.floor(centres[-1] + scale - 1e-6)))
    # Two or three samples along each axis average noise well enough (8 to 27 in 3D), and reading 1 of 3
    # voxels along each axis is 10 times as fast. An odd stride can be centred, so that a flip changes nothing.
    stride = max(1, (int(scale / 1.2) - 1) // 2 * 2 + 1) if antialias else 1
    samples = (last - first) // stride
    if (last - first - samples * stride) % 2:
        samples -= 1
    if samples < 0:  # an even number of voxels, fewer than the stride: none of them is in the middle
        stride, samples = 1, last - first
    first += (last - first - samples * stride) // 2
    used = first + stride * np.arange(samples + 1)
    weights = np.maximum(0, 1 - np.abs(used - centres[:, None]) / max(scale, stride))
    weights /= weights.sum(axis=1, keepdims=True)
    return _Reduction(slice(first, int(used[-1]) + 1, stride), csr_array(weights.astype(np.float32)))


def _interpolation(count: int, low: float, step: float, positions: NDArray[Any]) -> Float32Array:
    """Return the weights (positions, working) of linear interpolation between working voxels."""
    at = np.clip((positions - low) / step - 0.5, 0, count - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count)))
    return np.asarray(weights, dtype=np.float32)


def _reduced(
    read: Callable[[tuple[slice, slice, slice]], Float32Array], axes: list[_Reduction], rest: tuple[int, ...]
) -> Float32Array:
    along_k, along_j, along_i = (axis.weights for axis in axes)
    result = np.zeros((along_k.shape[0], along_j.shape[0], along_i.shape[0], *rest), dtype=np.float32)
    for rows, slab in _slab_slices(axes):
        values = read(slab)  # (rows, j, i[, c])
        values = _weighed(along_i, values, 2)  # (rows, j, ni[, c])
        values = _weighed(along_j, values, 1)  # (rows, nj, ni[, c])
        result += _weighed(along_k[:, rows], values, 0)  # (nk, nj, ni[, c])
    return result


def _weighed(weights: csr_array, values: Float32Array, axis: int) -> Float32Array:
    """Return `values` with `axis` multiplied by `weights` : (new, old).

    Sparse: few weights are not 0. And by one thread: those of a BLAS, once used, keep on asking for work for 0.1 s,
    which on two cores made the network, whose turn is next, a third slower.
    """
    moved = np.moveaxis(values, axis, 0)
    flat = weights @ moved.reshape(len(moved), -1)
    return np.moveaxis(flat.reshape(len(flat), *moved.shape[1:]), 0, axis)


def _slab_slices(axes: list[_Reduction]) -> Iterator[tuple[slice, tuple[slice, slice, slice]]]:
    """Yield which of the used k there are in a slab, and where the slab is in the image."""
    used_k, used_j, used_i = (axis.used for axis in axes)
    ks = np.arange(used_k.start, used_k.stop, used_k.step)
    in_slice = max(1, axes[1].weights.shape[1] * axes[2].weights.shape[1])
    rows = max(1, _SLAB_VOXELS // in_slice)
    for first in range(0, len(ks), rows):
        part = ks[first : first + rows]
        yield slice(first, first + len(part)), (slice(int(part[0]), int(part[-1]) + 1, used_k.step), used_j, used_i)


def _slabs(array: NDArray[Any], axes: list[_Reduction]) -> Iterator[NDArray[Any]]:
    for _, slab in _slab_slices(axes):
        yield array[slab]


def _floats32(values: NDArray[Any], lowest: float) -> Float32Array:
    return values.astype(np.float32)


def _finite_floats(values: NDArray[Any], lowest: float) -> Float32Array:
    kept = np.where(np.isfinite(values), values, values.dtype.type(lowest))
    largest = min(_LARGEST, float(np.finfo(values.dtype).max))
    return np.clip(kept, -largest, largest).astype(np.float32)


def _lowest_finite(values: NDArray[Any]) -> float:
    return float(np.min(values, where=np.isfinite(values), initial=np.inf))


def _mask_slab(mask: BitMask, slab: tuple[slice, slice, slice]) -> Float32Array:
    k, j, i = slab
    extent = Extent((k.start, j.start, i.start), (k.stop, j.stop, i.stop))
    return mask.read(extent)[:: k.step, :: j.step, :: i.step].astype(np.float32)


def _floats(values: ArrayLike) -> Triple:
    k, j, i = (float(v) for v in np.asarray(values))
    return k, j, i


def _ints(values: ArrayLike) -> tuple[int, int, int]:
    k, j, i = (int(v) for v in np.asarray(values))
    return k, j, i
