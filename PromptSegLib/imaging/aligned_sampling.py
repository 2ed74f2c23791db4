"""Sampling of images on grids whose axes run along theirs: turned to RAS order, rescaled and cropped in one step.

Networks that were trained on arrays indexed (x, y, z), towards Right, Anterior and Superior, get them from here.
As where they were trained, an oblique image is not rotated: its axes are put in the order and direction nearest to
RAS. Such a grid has a shape and an affine of its own, so prompts are mapped to it as to any other grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.geometry import FloatArray, Grid, flip_axes, transpose_kji_to_ijk

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class AlignedSampling:
    """A grid (x, y, z) whose voxels lie at `offset` + `scale` * index, along one axis each, of an image.

    image: the image's grid. axes: which of its axes i, j, k (0, 1, 2) runs along x, y, z.
    scale, offset: (3,) for each of these axes, in voxels of the image; a negative scale runs backwards.
    shape: voxels along x, y, z.
    """

    image: Grid
    axes: tuple[int, ...]
    scale: FloatArray
    offset: FloatArray
    shape: tuple[int, ...]

    @classmethod
    def in_ras_order(cls, image: Grid) -> AlignedSampling:
        """The voxels of the image themselves, x running towards the Right, y Anterior, z Superior."""
        axes = nearest_axes(image.directions)
        scale = np.where(image.directions[range(3), axes] < 0, -1.0, 1.0)
        shape = flip_axes(image.shape_kji)[list(axes)]
        return cls(image, axes, scale, np.where(scale < 0, shape - 1.0, 0.0), tuple(shape.tolist()))

    @property
    def spacing_mm(self) -> FloatArray:
        """(3,) distance of voxels along x, y, z."""
        return self.image.spacing_mm[list(self.axes)] * np.abs(self.scale)

    @property
    def grid(self) -> Grid:
        """Where the sampled voxels lie; its i, j, k are x, y, z."""
        to_image = np.zeros((4, 4))
        to_image[self.axes, range(3)] = self.scale
        to_image[self.axes, 3] = self.offset
        to_image[3, 3] = 1
        x, y, z = self.shape
        return Grid((z, y, x), self.image.ijk_to_ras @ to_image)

    def resized(self, shape: Sequence[int], scale: ArrayLike, offset: ArrayLike) -> AlignedSampling:
        """A grid of `shape` whose voxel n lies at `offset` + `scale` * n of this one, (3,) each along x, y, z."""
        return replace(
            self,
            scale=self.scale * np.asarray(scale),
            offset=self.offset + self.scale * np.asarray(offset),
            shape=tuple(int(n) for n in shape),
        )

    def linear(self, array_kji: Array, *, beyond: float | None) -> Array:
        """Sample an image : (k, j, i) linearly; returns (x, y, z) float32.

        beyond: the value outside of the image's outermost faces; that of the nearest voxel where None.
        """
        return sample_linear(self._in_order(array_kji), self._positions(), beyond)

    def nearest(self, array_kji: Array) -> Array:
        """Sample labels of the image : (k, j, i) by the nearest voxel, 0 outside; returns (x, y, z)."""
        return sample_nearest(self._in_order(array_kji), self._positions())

    def _in_order(self, array_kji: Array) -> Array:
        return transpose_kji_to_ijk(array_kji).transpose(self.axes)

    def _positions(self) -> list[FloatArray]:
        """Indices in the image of this grid's voxels, along x, y, z."""
        return [o + s * np.arange(n) for n, s, o in zip(self.shape, self.scale, self.offset, strict=True)]

    def to_kji(self, array_xyz: Array) -> Array:
        """View an array (x, y, z) in the order of the image's axes, (k, j, i)."""
        return transpose_kji_to_ijk(array_xyz.transpose(np.argsort(self.axes)))

    def positions_back(self) -> list[FloatArray]:
        """Indices in this grid of the image's voxels, along x, y, z."""
        shape = flip_axes(self.image.shape_kji)[list(self.axes)]
        return [(np.arange(n) - o) / s for n, s, o in zip(shape, self.scale, self.offset, strict=True)]


def nearest_axes(directions: FloatArray) -> tuple[int, ...]:
    """Which of the axes i, j, k (0, 1, 2) runs most along R, along A and along S; each is given once.

    directions: (3, 3), unit vectors of i, j, k as columns. Axes are given away in the order of how well they fit.
    """
    fit = np.abs(directions).astype(np.float64)  # (ras, ijk)
    axes = [0, 0, 0]
    for _ in range(3):
        ras, axis = np.unravel_index(int(fit.argmax()), fit.shape)
        axes[int(ras)] = int(axis)
        fit[ras, :] = fit[:, axis] = -1
    return tuple(axes)


def sample_linear(values: Array, positions: Sequence[FloatArray], beyond: float | None) -> Array:
    """Interpolate `values` : (a, b, c) linearly at the grid of `positions` along its axes; returns float32.

    Half a voxel around the outermost centres belongs to the outermost voxels. Outside of that, `beyond`; where it
    is None, the outermost voxels go on for ever.
    """
    lengths = values.shape
    # The axis that shrinks most goes first: it leaves the least to do.
    for axis in sorted(range(3), key=lambda a: len(positions[a]) / lengths[a]):
        at = positions[axis]
        inside = np.clip(at, 0, lengths[axis] - 1)
        lower = np.floor(inside).astype(np.int64)
        weight = (inside - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        below = values.take(lower, axis).astype(np.float32)
        values = below + weight * (values.take(np.minimum(lower + 1, lengths[axis] - 1), axis) - below)
    if beyond is not None:
        for axis, at in enumerate(positions):
            np.moveaxis(values, axis, 0)[~within(at, lengths[axis])] = beyond
    return values


def sample_nearest(values: Array, positions: Sequence[FloatArray]) -> Array:
    """Take `values` : (a, b, c) at the voxels nearest to the grid of `positions` along its axes, 0 outside."""
    inside = [within(at, n) for at, n in zip(positions, values.shape, strict=True)]
    index = [np.floor(_steady(at)[ok] + 0.5).astype(np.int64) for at, ok in zip(positions, inside, strict=True)]
    result = np.zeros([len(at) for at in positions], values.dtype)
    result[np.ix_(*inside)] = values[np.ix_(*index)]
    return result


def within(positions: FloatArray, length: int) -> NDArray[np.bool_]:
    """Tell which positions lie in a voxel of a line of that length."""
    at = _steady(positions)
    return (at >= -0.5) & (at < length - 0.5)


def _steady(positions: FloatArray) -> FloatArray:
    """Rounded, lest the last bit of a position decides on which side of a face it lies."""
    return np.round(positions, 6)
