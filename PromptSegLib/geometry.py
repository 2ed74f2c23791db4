"""Frames, axes and boxes: the only place where axes are flipped and frames converted.

Vocabulary, used everywhere:

- **RAS**: patient space in mm, x to the Right, y Anterior, z Superior; Slicer's and NIfTI's frame. Points are
  `(..., 3)` float64 arrays named `*_ras`. **LPS** is DICOM's and ITK's frame: x and y negated.
- **IJK**: continuous voxel coordinates, i fastest; integers are voxel *centres*. Points are named `*_ijk`.
- **KJI**: axis order of numpy arrays of voxels, slowest first. Arrays, shapes and extents are named `*_kji`.
- **ijk_to_ras**: 4x4 float64 affine from IJK to RAS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.errors import GeometryError

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

LPS_FROM_RAS: FloatArray = np.diag([-1.0, -1.0, 1.0, 1.0])
LPS_FROM_RAS.setflags(write=False)

SMALLEST_MM, LARGEST_MM = 1e-12, 1e12
"""Spacings below, and numbers above, describe no image, and the products of computing with them overflow."""


def flip_axes(triples: ArrayLike) -> NDArray[Any]:
    """Reverse the last axis of `triples` : (..., 3): IJK order to KJI order, and back."""
    return np.asarray(triples)[..., ::-1]


def transpose_kji_to_ijk(array: NDArray[Any]) -> NDArray[Any]:
    """View a (k, j, i) array as (i, j, k), and an (i, j, k) array as (k, j, i); no copy."""
    return array.transpose(2, 1, 0)


def apply_affine(matrix: ArrayLike, points: ArrayLike) -> FloatArray:
    """Map `points` : (..., 3) by the 4x4 affine `matrix`."""
    affine = np.asarray(matrix, dtype=np.float64)
    result: FloatArray = np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]
    return result


def lps_from_ras(triples: ArrayLike) -> FloatArray:
    """Convert `triples` : (..., 3) positions in mm between RAS and LPS; the conversion is its own inverse."""
    return np.asarray(triples, dtype=np.float64) * (-1.0, -1.0, 1.0)


def affine_from_parts(spacing_mm: ArrayLike, directions: ArrayLike, origin: ArrayLike) -> FloatArray:
    """Build the 4x4 index-to-frame affine.

    spacing_mm: (3,) along i, j, k. directions: (3, 3), columns are the unit vectors of i, j, k.
    origin: (3,) position of voxel (0, 0, 0). The result is in the frame of `directions` and `origin`.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(directions, dtype=np.float64).reshape(3, 3) * np.asarray(spacing_mm, np.float64)
    matrix[:3, 3] = np.asarray(origin, dtype=np.float64)
    return matrix


def checked_affine(matrix: ArrayLike) -> FloatArray:
    """Return `matrix` as a read-only 4x4 float64 affine.

    Raises:
        GeometryError: it is not 4x4, not finite, not affine, or maps space onto a plane.
    """
    try:
        affine = np.array(matrix, dtype=np.float64) + 0.0  # makes -0.0 to 0.0: equal affines hash alike
    except (TypeError, ValueError, OverflowError) as error:
        raise GeometryError(
            f"expected a 4x4 affine from IJK to RAS, got what is no array of numbers: {error}"
        ) from error
    if affine.shape != (4, 4):
        raise GeometryError(f"expected a 4x4 affine from IJK to RAS, got an array of shape {affine.shape}")
    if not np.isfinite(affine).all():
        raise GeometryError(f"expected a finite affine from IJK to RAS, got {affine.tolist()}")
    if not np.allclose(affine[3], [0.0, 0.0, 0.0, 1.0], rtol=0, atol=1e-9):  # an inverse may be off by the last bits
        raise GeometryError(f"expected [0, 0, 0, 1] as the last row of the affine, got {affine[3].tolist()}")
    if np.abs(affine).max() > LARGEST_MM:
        raise GeometryError(f"expected an affine of numbers up to {LARGEST_MM:.0e} mm, got {affine.tolist()}")
    affine[3] = [0.0, 0.0, 0.0, 1.0]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths < SMALLEST_MM).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise GeometryError(f"expected three independent axes of non-zero spacing, got the affine {affine.tolist()}")
    affine.setflags(write=False)
    return affine


def orthonormal_axes(directions: ArrayLike) -> FloatArray:
    """Return the right angles nearest to `directions` : (3, 3), columns; unit vectors as rows: (3, 3)."""
    left, _, right = np.linalg.svd(np.asarray(directions, dtype=np.float64))
    return np.asarray((left @ right).T, dtype=np.float64)


@dataclass(frozen=True)
class Extent:
    """A box of voxels, half open: `start_kji` inside, `stop_kji` just outside."""

    start_kji: tuple[int, int, int]
    stop_kji: tuple[int, int, int]

    @classmethod
    def of_shape(cls, shape_kji: Sequence[int]) -> Extent:
        """Return the whole of an array of `shape_kji`."""
        return cls((0, 0, 0), _triple(shape_kji))

    @classmethod
    def of_mask(cls, mask_kji: NDArray[Any]) -> Extent | None:
        """Return the bounding box of what is not zero in `mask_kji` : (k, j, i), or None when all of it is zero."""
        bounds = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hits = np.asarray(mask_kji.any(axis=others))
            if not hits.any():
                return None
            low, high = int(hits.argmax()), len(hits) - int(hits[::-1].argmax())
            bounds.append((low, high))
            # The next axis only has to look where this one found something: a third of the time for a small box.
            mask_kji = mask_kji[(slice(None),) * axis + (slice(low, high),)]
        return cls(_triple([low for low, _ in bounds]), _triple([high for _, high in bounds]))

    @classmethod
    def of_points(cls, points_ijk: ArrayLike) -> Extent:
        """Return the smallest box that holds the voxels nearest to `points_ijk` : (n, 3)."""
        nearest = flip_axes(np.floor(np.asarray(points_ijk, dtype=np.float64).reshape(-1, 3) + 0.5))
        return cls(_triple(nearest.min(axis=0)), _triple(nearest.max(axis=0) + 1))

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        return _triple([max(0, b - a) for a, b in zip(self.start_kji, self.stop_kji, strict=True)])

    @property
    def size(self) -> int:
        """Number of voxels."""
        k, j, i = self.shape_kji
        return k * j * i

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of this box in an array (k, j, i)."""
        k, j, i = (slice(a, b) for a, b in zip(self.start_kji, self.stop_kji, strict=True))
        return k, j, i

    def slices_within(self, outer: Extent) -> tuple[slice, slice, slice]:
        """Index of this box in an array that holds the voxels of `outer` only."""
        return self.shifted([-start for start in outer.start_kji]).slices

    def shifted(self, offset_kji: Sequence[int]) -> Extent:
        return Extent(
            _triple([a + o for a, o in zip(self.start_kji, offset_kji, strict=True)]),
            _triple([b + o for b, o in zip(self.stop_kji, offset_kji, strict=True)]),
        )

    def padded(self, margin_kji: Sequence[int] | int) -> Extent:
        margins = [margin_kji] * 3 if isinstance(margin_kji, int) else margin_kji
        return Extent(
            _triple([a - m for a, m in zip(self.start_kji, margins, strict=True)]),
            _triple([b + m for b, m in zip(self.stop_kji, margins, strict=True)]),
        )

    def union(self, other: Extent | None) -> Extent:
        """Return the smallest box that holds both; an empty box adds nothing."""
        if other is None or other.size == 0:
            return self
        if self.size == 0:
            return other
        return Extent(
            _triple([min(a, b) for a, b in zip(self.start_kji, other.start_kji, strict=True)]),
            _triple([max(a, b) for a, b in zip(self.stop_kji, other.stop_kji, strict=True)]),
        )

    def intersection(self, other: Extent) -> Extent:
        """Return what both hold; its size is 0 when they do not meet."""
        start = [max(a, b) for a, b in zip(self.start_kji, other.start_kji, strict=True)]
        stop = [min(a, b) for a, b in zip(self.stop_kji, other.stop_kji, strict=True)]
        return Extent(_triple(start), _triple([max(a, b) for a, b in zip(start, stop, strict=True)]))

    def contains(self, other: Extent) -> bool:
        return self.intersection(other) == other


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie: a shape and an affine, no values."""

    shape_kji: tuple[int, int, int]
    ijk_to_ras: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape_kji)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"expected a shape (k, j, i) of at least one voxel each, got {shape}")
        object.__setattr__(self, "shape_kji", shape)
        object.__setattr__(self, "ijk_to_ras", checked_affine(self.ijk_to_ras))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Grid)
            and self.shape_kji == other.shape_kji
            and np.array_equal(self.ijk_to_ras, other.ijk_to_ras)
        )

    def __hash__(self) -> int:
        return hash((self.shape_kji, self.ijk_to_ras.tobytes()))

    @cached_property
    def ras_to_ijk(self) -> FloatArray:
        inverse = np.asarray(np.linalg.inv(self.ijk_to_ras), dtype=np.float64)
        inverse.setflags(write=False)
        return inverse

    @cached_property
    def spacing_mm(self) -> FloatArray:
        """(3,) length of a voxel along i, j, k, in mm."""
        return np.asarray(np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0), dtype=np.float64)

    @property
    def spacing_kji_mm(self) -> FloatArray:
        """(3,) length of a voxel along the array's axes, in mm."""
        return flip_axes(self.spacing_mm)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, in cubic mm."""
        return abs(float(np.linalg.det(self.ijk_to_ras[:3, :3])))

    @cached_property
    def directions(self) -> FloatArray:
        """(3, 3) unit vectors in RAS of i, j, k, as columns."""
        return np.asarray(self.ijk_to_ras[:3, :3] / self.spacing_mm, dtype=np.float64)

    @property
    def orientation(self) -> str:
        """Anatomical directions in which i, j, k mostly point, such as "LPS"."""
        letters = []
        for axis in self.directions.T:
            main = int(np.abs(axis).argmax())
            letters.append(("RL", "AP", "SI")[main][0 if axis[main] > 0 else 1])
        return "".join(letters)

    @property
    def is_oblique(self) -> bool:
        """Whether an axis of the array lies along none of the axes of RAS."""
        return bool((np.abs(self.directions).max(axis=0) < 1 - 1e-6).any())

    @property
    def is_single_slice(self) -> bool:
        return 1 in self.shape_kji

    @property
    def extent(self) -> Extent:
        return Extent.of_shape(self.shape_kji)

    @property
    def bounds_ras(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner in RAS, mm, of the box around all voxels, their outer faces included."""
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in flip_axes(self.shape_kji)])).reshape(3, -1).T
        corners_ras = apply_affine(self.ijk_to_ras, corners)
        return corners_ras.min(axis=0), corners_ras.max(axis=0)

    def to_ras(self, points_ijk: ArrayLike) -> FloatArray:
        """Map `points_ijk` : (..., 3) to RAS in mm."""
        return apply_affine(self.ijk_to_ras, points_ijk)

    def to_ijk(self, points_ras: ArrayLike) -> FloatArray:
        """Map `points_ras` : (..., 3), in mm, to continuous IJK."""
        return apply_affine(self.ras_to_ijk, points_ras)

    def index_map_kji(self, other: Grid) -> tuple[FloatArray, FloatArray]:
        """Return (3, 3) and (3,): what an index (k, j, i) here is multiplied by, and added, to be one in `other`."""
        index_map = other.ras_to_ijk @ self.ijk_to_ras
        return flip_axes(index_map[2::-1, :3]), flip_axes(index_map[:3, 3])

    def nearest_kji(self, points_ras: ArrayLike) -> IntArray:
        """Return the array index (..., 3) of the voxel that holds each of `points_ras` : (..., 3)."""
        # A point on the face between two voxels must not change sides by the last bit of its coordinates.
        index = np.floor(np.round(self.to_ijk(points_ras) + 0.5, 6))
        return flip_axes(np.clip(index, -(2.0**62), 2.0**62)).astype(np.int64)

    def contains(self, points_ras: ArrayLike) -> NDArray[np.bool_]:
        """Tell for each of `points_ras` : (..., 3) whether it lies in a voxel, outer faces included."""
        ijk = self.to_ijk(points_ras)
        upper = flip_axes(self.shape_kji) - 0.5
        return np.asarray(((ijk >= -0.5 - 1e-6) & (ijk <= upper + 1e-6)).all(axis=-1))

    def cropped(self, extent: Extent) -> Grid:
        """Return the grid of the voxels of `extent`, which may reach beyond this grid."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 3] = self.to_ras(flip_axes(extent.start_kji))
        return Grid(extent.shape_kji, matrix)

    def matches(self, other: Grid, tolerance_mm: float | None = None) -> bool:
        """Tell whether both have the same shape and no corner differs by more than `tolerance_mm`.

        By default that is 0.001 mm, and in images of microscopes no more than 1 % of a voxel's shortest side.
        """
        if self.shape_kji != other.shape_kji:
            return False
        if tolerance_mm is None:
            tolerance_mm = min(1e-3, 0.01 * float(self.spacing_mm.min()))
        far = flip_axes(self.shape_kji).astype(np.float64)
        corners = np.vstack([np.zeros(3), np.diag(far), far])
        return bool(np.abs(self.to_ras(corners) - other.to_ras(corners)).max() <= tolerance_mm)

    def describe_bounds(self) -> str:
        """Say where the grid lies, for messages."""
        low, high = self.bounds_ras
        ranges = [f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("RAS", low, high, strict=True)]
        return f"{', '.join(ranges)} mm"


@dataclass(frozen=True)
class AxisMap:
    """An exact map from one voxel lattice to another: axes permuted, flipped and shifted by whole voxels.

    Axis a of the source lies along axis `axes[a]` of the other, in the direction `signs[a]`; `offset_kji` is where
    the source's voxel (0, 0, 0) lies in the other.
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    offset_kji: tuple[int, int, int]

    @classmethod
    def between(cls, source: Grid, other_ijk_to_ras: ArrayLike, tolerance: float = 1e-3) -> AxisMap | None:
        """Return the map from `source` to the lattice of `other_ijk_to_ras`, or None where there is no exact one.

        tolerance: how far, in voxels, any voxel of `source` may be from a voxel of the other.
        """
        index_map = np.linalg.inv(np.asarray(other_ijk_to_ras, dtype=np.float64)) @ source.ijk_to_ras
        exact = np.rint(index_map)
        if not np.array_equal(np.abs(exact[:3, :3]) @ np.ones(3), np.ones(3)) or abs(np.linalg.det(exact)) != 1:
            return None
        off = np.abs(index_map - exact)[:3] @ np.append(flip_axes(source.shape_kji), 1)
        if off.max() > tolerance:
            return None
        rotation_kji = flip_axes(exact[2::-1, :3])
        axes = np.abs(rotation_kji).argmax(axis=0)
        signs = rotation_kji[axes, range(3)]
        return cls(_triple(axes), _triple(signs), _triple(flip_axes(exact[:3, 3])))

    def extent(self, extent: Extent) -> Extent:
        """Return the box of the other lattice that holds the voxels of `extent` of the source."""
        start, stop = [0, 0, 0], [0, 0, 0]
        for a, (axis, sign) in enumerate(zip(self.axes, self.signs, strict=True)):
            first = self.offset_kji[axis] + sign * extent.start_kji[a]
            last = self.offset_kji[axis] + sign * (extent.stop_kji[a] - 1)
            start[axis], stop[axis] = min(first, last), max(first, last) + 1
        return Extent(_triple(start), _triple(stop))

    def to_source(self, array: NDArray[Any]) -> NDArray[Any]:
        """View an array of the other lattice in the source's order of axes; writing to it writes to `array`."""
        return np.flip(array.transpose(self.axes), self._flipped)

    def from_source(self, array: NDArray[Any]) -> NDArray[Any]:
        """View an array of the source in the other lattice's order of axes."""
        return np.flip(array, self._flipped).transpose(self.inverse.axes)

    @property
    def inverse(self) -> AxisMap:
        """The map back, from the other lattice to the source."""
        axes = _triple(np.argsort(self.axes))
        offset = [-sign * self.offset_kji[axis] for axis, sign in zip(self.axes, self.signs, strict=True)]
        return AxisMap(axes, _triple([self.signs[a] for a in axes]), _triple(offset))

    def reordered(self, order: Sequence[int]) -> AxisMap:
        """Return the map to the other lattice with its axes in another order: its axis n is what `order[n]` was."""
        place = np.argsort(order)
        return AxisMap(_triple(place[list(self.axes)]), self.signs, _triple(self.offset_kji[axis] for axis in order))

    @property
    def is_identity(self) -> bool:
        return self == AxisMap((0, 1, 2), (1, 1, 1), (0, 0, 0))

    @property
    def _flipped(self) -> tuple[int, ...]:
        return tuple(a for a, sign in enumerate(self.signs) if sign < 0)


def _triple(values: Iterable[float]) -> tuple[int, int, int]:
    k, j, i = (int(v) for v in values)
    return k, j, i
