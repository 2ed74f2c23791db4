"""Cubic voxels laid over an image, of which cubes are read and to which fields are written back.

The lattice begins at the first face of the image *in RAS order*, whatever order the image is stored in: so a
flipped or permuted copy of an image gives the flipped or permuted mask, to the voxel. An oblique image is not
rotated; its axes are put in the order and direction nearest to RAS. Only the voxels of a cube are ever touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.bitmask import BitMask, Patch
from PromptSegLib.geometry import (
    AxisMap,
    Extent,
    Float32Array,
    FloatArray,
    Grid,
    IntArray,
    flip_axes,
    transpose_kji_to_ijk,
)
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.imaging.roi import Roi

Convert = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class CubicLattice:
    """Voxels (x, y, z) of `spacing_mm`, x towards the Right, y Anterior, z Superior; (0, 0, 0) is the image's first.

    Cubes are given by `start_xyz`, their first voxel, and may leave the image.
    """

    image: Grid
    spacing_mm: float

    @cached_property
    def ordered(self) -> Grid:
        """The image's voxels in RAS order."""
        return AlignedSampling.in_ras_order(self.image).grid

    @cached_property
    def _order(self) -> AxisMap:
        found = AxisMap.between(self.image, self.ordered.ijk_to_ras)
        assert found is not None
        return found

    @cached_property
    def step_xyz(self) -> FloatArray:
        """(3,) size of a lattice voxel in voxels of the image, in RAS order."""
        # Rounded as files in NIfTI format hold it, and as SAM-Med3D's own script reads it: of integers that are
        # truncated, the last bit of a position would otherwise change 1 in 100.
        rounded = self.ordered.ijk_to_ras.astype(np.float32).astype(np.float64)
        return np.asarray(self.spacing_mm / np.linalg.norm(rounded[:3, :3], axis=0))

    def in_order(self, array_kji: NDArray[Any]) -> NDArray[Any]:
        """View an array (k, j, i) on the image in RAS order, (z, y, x)."""
        return self._order.from_source(array_kji)

    @property
    def faces(self) -> tuple[FloatArray, FloatArray]:
        """First and last face of the image, (3,) each, in lattice voxels; the first voxel goes from 0 to 1."""
        return np.zeros(3), np.asarray(flip_axes(self.ordered.shape_kji) / self.step_xyz)

    def positions(self, points_ras: ArrayLike) -> FloatArray:
        """Map `points_ras` : (..., 3), mm, to continuous lattice coordinates; integers are voxel centres."""
        return np.asarray((self.ordered.to_ijk(points_ras) + 0.5) / self.step_xyz - 0.5)

    def nearest(self, points_ras: ArrayLike) -> IntArray:
        """Return the lattice voxel (..., 3), x, y, z, that holds each of `points_ras` : (..., 3)."""
        # Rounded: in an image of 3 mm each centre lies between two voxels of 1.5 mm, and no last digit must decide.
        return np.floor(np.round(self.positions(points_ras) + 0.5, 3)).astype(np.int64)

    # Into a cube

    def read(
        self, array_kji: NDArray[Any], start_xyz: ArrayLike, size: int, convert: Convert | None = None
    ) -> Float32Array:
        """Return the image within a cube: (x, y, z), float32; 0 beyond the image and where it is no number.

        Linear interpolation. Integers are truncated after it, as SAM-Med3D's were before it was trained.
        convert: what to do with the image's values before.
        """
        ordered = self.in_order(array_kji)
        low = (np.asarray(start_xyz) + 0.5) * self.step_xyz - 0.5
        high = low + (size - 1) * self.step_xyz
        first = np.maximum(np.floor(low) - 1, 0).astype(int)
        stop = np.minimum(np.ceil(high) + 2, flip_axes(ordered.shape)).astype(int)
        cube = np.zeros((size, size, size), dtype=np.float32)
        if (stop <= first).any():
            return cube
        x, y, z = (slice(a, b) for a, b in zip(first, stop, strict=True))
        part = _itk_image(convert(ordered[z, y, x]) if convert else ordered[z, y, x])
        # In voxels of the image: no position in the patient, whose rounding would differ from copy to copy.
        sampled = sitk.Resample(
            part,
            [size] * 3,
            sitk.Transform(),
            sitk.sitkLinear,
            (low - first).tolist(),
            self.step_xyz.tolist(),
            np.eye(3).ravel().tolist(),
        )
        cube[...] = transpose_kji_to_ijk(sitk.GetArrayViewFromImage(sampled))
        return cube

    def read_mask(self, mask: BitMask, start_xyz: ArrayLike, size: int, coarse: int) -> Float32Array:
        """Return how much of each coarse voxel of a cube `mask`, on the image, fills: (x, y, z), 0 to 1.

        Of voxels that leave the image the part inside counts.

        coarse: lattice voxels along a side of a coarse one. size: of the cube, in coarse voxels.
        """
        step = coarse * self.step_xyz
        low = np.asarray(start_xyz) * self.step_xyz
        start, stop = np.floor(low).astype(int), np.ceil(low + size * step).astype(int)
        box = Extent(_kji(start), _kji(stop)).intersection(self.ordered.extent)
        if box.size == 0 or not (values := self._ordered_mask(mask, box)).any():
            return np.zeros((size, size, size), dtype=np.float32)
        filled = transpose_kji_to_ijk(values.astype(np.float32))
        for axis, first in enumerate(flip_axes(box.start_kji)):
            shares = _shares(low[axis] - first, step[axis], size, filled.shape[axis])
            filled = np.moveaxis(np.tensordot(shares, filled, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(filled)

    def bounds(self, mask: BitMask) -> tuple[FloatArray, FloatArray] | None:
        """Return the lowest and highest face of what is set in `mask`, as `faces`; None for an empty one."""
        found = mask.bounds()
        if found is None:
            return None
        box = self._order.extent(found)
        return np.asarray(flip_axes(box.start_kji) / self.step_xyz), np.asarray(flip_axes(box.stop_kji) / self.step_xyz)

    def _ordered_mask(self, mask: BitMask, box: Extent) -> NDArray[np.bool_]:
        return self.in_order(mask.read(self._order.inverse.extent(box)))

    # Back to the image

    def change(self, field_xyz: Float32Array, start_xyz: ArrayLike, level: float, mask: BitMask) -> Patch:
        """Return what makes `mask` follow a cube: set where its field, interpolated, is above `level`, else clear.

        field_xyz: (x, y, z). The patch is on the image, and no larger than what changes; it may be empty.
        """
        low = np.asarray(start_xyz) * self.step_xyz - 0.5
        field = np.ascontiguousarray(transpose_kji_to_ijk(field_xyz))
        k, j, i = field.shape
        roi = Roi(self.ordered, _triple(flip_axes(low)), _triple(flip_axes(self.step_xyz)), (k, j, i))
        new = roi.above(field, level)
        present = mask.bounds()
        box = new.extent
        if present is not None:
            box = self._order.extent(present).intersection(roi.extent).union(box)
        if box.size == 0:
            return Patch(Extent((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), dtype=bool))
        wanted = np.zeros(box.shape_kji, dtype=bool)
        if new.extent.size:
            wanted[new.extent.slices_within(box)] = new.mask_kji
        changed = Extent.of_mask(wanted != self._ordered_mask(mask, box))
        if changed is None:
            return Patch(Extent((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), dtype=bool))
        extent = self._order.inverse.extent(changed.shifted(box.start_kji))
        return Patch(extent, np.ascontiguousarray(self._order.to_source(wanted[changed.slices])))


def _itk_image(array_kji: NDArray[Any]) -> sitk.Image:
    """An ITK image whose frame is that of its indices. Values that are no finite numbers become 0."""
    if array_kji.dtype.kind == "f":
        array_kji = np.nan_to_num(array_kji.astype(np.float32), posinf=0, neginf=0)
    elif array_kji.dtype.kind == "b":
        array_kji = array_kji.astype(np.uint8)
    return sitk.GetImageFromArray(np.ascontiguousarray(array_kji))


def _shares(low: float, step: float, count: int, length: int) -> Float32Array:
    """Return (count, length): what part of a coarse voxel each of `length` voxels is, along one axis; rows sum to 1.

    low: first face of the first coarse voxel, counted from that of the first voxel. step: of a coarse voxel.
    """
    faces = low + step * np.arange(count)[:, None]
    voxels = np.arange(length)
    overlap = np.clip(np.minimum(faces + step, voxels + 1) - np.maximum(faces, voxels), 0, None)
    total = overlap.sum(axis=1, keepdims=True)
    return np.asarray(overlap / np.where(total > 1e-9, total, 1), dtype=np.float32)


def _kji(values_xyz: IntArray) -> tuple[int, int, int]:
    k, j, i = (int(v) for v in flip_axes(values_xyz))
    return k, j, i


def _triple(values: ArrayLike) -> tuple[float, float, float]:
    k, j, i = (float(v) for v in np.asarray(values))
    return k, j, i
