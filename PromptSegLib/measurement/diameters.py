"""Diameters as radiologists take them: the longest in axial slices, the longest across it, the longest in 3D.

A diameter runs from outline to outline, see `outline`: along a row of n voxels it is n voxels long. Of a structure with
hollows it may leave the structure on its way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import FloatArray, Grid, flip_axes
from PromptSegLib.measurement.outline import extreme_points, extreme_points_in_slices, outline_segments

# Points whose pairs are all compared at once.
_FEW = 1500
# Directions in which slices are measured first, half a circle of them: the widest is at most 0.5 % short.
_DIRECTIONS = 16
# mm within which places along a diameter are one: those of a row come out of a rotation with other last bits.
_SAME_MM = 9


@dataclass(frozen=True)
class Diameter:
    """A straight line from outline to outline. ends_ras: both ends, mm."""

    length_mm: float
    ends_ras: tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class AxialDiameters:
    """The longest diameter of all axial slices and the longest at a right angle to it in the same slice.

    slice: the slice's index along the array's axis `axis`, which is 0 for k, 1 for j, 2 for i.
    """

    longest: Diameter
    perpendicular: Diameter
    slice: int
    axis: int

    @property
    def product_mm2(self) -> float:
        """Both diameters multiplied, as the criteria of the WHO have it."""
        return self.longest.length_mm * self.perpendicular.length_mm


def axial_axis(grid: Grid) -> int:
    """Return the array axis across which slices are axial: those whose plane is the nearest to R and A.

    0 for k, 1 for j, 2 for i. Slices of an oblique grid are as they were taken, and measured in their own plane.
    """
    normals = grid.ras_to_ijk[:3, :3] / np.linalg.norm(grid.ras_to_ijk[:3, :3], axis=1, keepdims=True)
    return int(np.round(np.abs(flip_axes(normals[:, 2])), 6).argmax())


def axial_diameters(mask_kji: BoolArray, grid: Grid) -> AxialDiameters:
    """Measure `mask_kji` : (k, j, i), not empty, on `grid`, in its axial slices."""
    axis = axial_axis(grid)
    plane = SlicePlane(grid, axis)
    mask_sab = np.moveaxis(mask_kji, axis, 0)
    points = extreme_points_in_slices(mask_sab)
    starts = np.flatnonzero(np.diff(points[:, 0], prepend=-1))
    points_mm = plane.to_mm(points[:, 1:])
    widest = np.zeros(len(starts))
    for angle in np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        along = points_mm @ (np.cos(angle), np.sin(angle))
        width = np.maximum.reduceat(along, starts) - np.minimum.reduceat(along, starts)
        np.maximum(widest, width, out=widest)
    bound = widest / np.cos(np.pi / (2 * _DIRECTIONS)) * (1 + 1e-9)
    best, found = -1.0, (0, np.zeros((2, 2)))
    stops = [*starts[1:], len(points)]
    for number in np.argsort(-bound, kind="stable"):
        if bound[number] < max(best, widest.max() * (1 - 1e-9)):
            break
        part = slice(starts[number], stops[number])
        ends = _farthest_pair(points[part, 1:], points_mm[part])
        length = float(np.linalg.norm(points_mm[part][ends[0]] - points_mm[part][ends[1]]))
        if length > best + 1e-9:
            best, found = length, (int(points[part][0, 0]), points[part, 1:][list(ends)])
    index, ends_ab = found
    across = _across(outline_segments(mask_sab[index]), plane, ends_ab)
    return AxialDiameters(plane.diameter(index, ends_ab), plane.diameter(index, across), index, axis)


def longest_diameter(mask_kji: BoolArray, grid: Grid) -> Diameter:
    """Measure `mask_kji` : (k, j, i), not empty, on `grid`, in all directions."""
    points_kji = extreme_points(mask_kji)
    points_ras = grid.to_ras(flip_axes(points_kji))
    one, other = _farthest_pair(points_kji, points_ras)
    return _diameter(points_ras[one], points_ras[other])


class SlicePlane:
    """The plane of slices across an array's axis: their indices (a, b) as mm along right angles, and as RAS."""

    def __init__(self, grid: Grid, axis: int) -> None:
        self._grid = grid
        self.axis = axis
        steps = flip_axes(grid.ijk_to_ras[:3, :3])[:, [a for a in range(3) if a != axis]]
        # A sheared plane keeps its lengths and angles in mm: R of the steps' QR.
        self._to_mm: FloatArray = np.linalg.qr(steps)[1]

    def to_mm(self, points_ab: FloatArray) -> FloatArray:
        """Map indices (…, 2) to mm (…, 2)."""
        return np.asarray(points_ab @ self._to_mm.T)

    def from_mm(self, points_mm: FloatArray) -> FloatArray:
        """Map mm (…, 2) to indices (…, 2)."""
        return np.asarray(points_mm @ np.linalg.inv(self._to_mm).T)

    def to_ras(self, index: float, points_ab: FloatArray) -> FloatArray:
        """Map indices (n, 2) on the slice `index` to RAS (n, 3)."""
        return self._grid.to_ras(flip_axes(np.insert(points_ab, self.axis, index, axis=-1)))

    def diameter(self, index: int, ends_ab: FloatArray) -> Diameter:
        return _diameter(*self.to_ras(index, ends_ab))


def _diameter(one_ras: FloatArray, other_ras: FloatArray) -> Diameter:
    ends = [tuple(float(value) for value in end) for end in (one_ras, other_ras)]
    return Diameter(float(np.linalg.norm(one_ras - other_ras)), (ends[0], ends[1]))  # type: ignore[arg-type]


def _farthest_pair(points: FloatArray, points_mm: FloatArray) -> tuple[int, int]:
    """Return the indices of the two points the farthest apart in mm; `points` are the same in voxels."""
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import cdist

    candidates = np.arange(len(points))
    if len(candidates) > _FEW // 4:
        candidates = candidates[_may_be_an_end(points_mm)]
    if len(candidates) > _FEW // 4:
        try:
            candidates = candidates[ConvexHull(points[candidates]).vertices]
        except QhullError:  # those that are left lie in a plane; all of them never do
            candidates = np.sort(ConvexHull(points).vertices)
    chosen = points_mm[candidates]
    best, pair = -1.0, (0, 0)
    for start in range(0, len(chosen), _FEW):
        distances = cdist(chosen[start : start + _FEW], chosen)
        row, column = np.unravel_index(int(distances.argmax()), distances.shape)
        if distances[row, column] > best:
            best, pair = float(distances[row, column]), (start + int(row), int(column))
    return int(candidates[pair[0]]), int(candidates[pair[1]])


def _may_be_an_end(points_mm: FloatArray) -> BoolArray:
    """Tell which points are far enough from the middle to be an end of the longest diameter."""
    one, length = points_mm[0], -1.0
    while True:  # from end to end, as long as that gets longer
        distances = np.linalg.norm(points_mm - one, axis=1)
        other = points_mm[int(distances.argmax())]
        if distances.max() <= length * (1 + 1e-12):
            break
        length, middle, one = float(distances.max()), (one + other) / 2, other
    radii = np.linalg.norm(points_mm - middle, axis=1)
    return np.asarray(radii + radii.max() >= length * (1 - 1e-9))


def _across(segments_ab: FloatArray, plane: SlicePlane, ends_ab: FloatArray) -> FloatArray:
    """Return the ends (2, 2), in voxels, of the longest line across that at right angles to the one between `ends_ab`.

    It goes from the first to the last crossing of the outline. Between the corners of the outline its length changes
    evenly, so that the longest one goes through a corner.
    """
    origin, end = plane.to_mm(ends_ab)
    along = (end - origin) / np.linalg.norm(end - origin)
    axes = np.stack([along, (-along[1], along[0])])
    corners = (plane.to_mm(segments_ab) - origin) @ axes.T  # (n, 2, 2): each end along and across the diameter
    x, y = np.round(corners[..., 0], _SAME_MM), corners[..., 1]
    places = np.unique(x)
    first = np.searchsorted(places, x.min(axis=1))
    counts = np.searchsorted(places, x.max(axis=1), side="right") - first
    segment = np.repeat(np.arange(len(x)), counts)
    place = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts) + first[segment]
    run = x[segment, 1] - x[segment, 0]
    share = np.divide(places[place] - x[segment, 0], run, out=np.zeros(len(segment)), where=run != 0)
    crossing = y[segment, 0] + share * (y[segment, 1] - y[segment, 0])
    last_end = np.where(run == 0, y[segment, 1], crossing)
    highest, lowest = np.full(len(places), -np.inf), np.full(len(places), np.inf)
    for values in (crossing, last_end):
        np.maximum.at(highest, place, values)
        np.minimum.at(lowest, place, values)
    at = int(np.argmax(np.round(highest - lowest, _SAME_MM)))
    chord = np.array([[places[at], lowest[at]], [places[at], highest[at]]])
    return plane.from_mm(chord @ axes + origin)
