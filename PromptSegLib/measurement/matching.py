"""Which lesions of two time points are the same: those that overlap, then those that are near each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import FloatArray, Grid, apply_affine, flip_axes
from PromptSegLib.measurement.measure import Measurement, centroid_ras

OVERLAP = 0.1
"""Part of the smaller lesion that has to lie in the other one."""
DISTANCE_MM = 10.0


@dataclass(frozen=True, eq=False)
class Lesion:
    """A part of a segment at one time point.

    patch: its voxels on `grid`. from_first: 4x4 from the first time point's RAS to that of its own.
    """

    time: int
    measurement: Measurement
    patch: Patch
    grid: Grid
    from_first: FloatArray

    @property
    def segment(self) -> str:
        return self.measurement.segment

    @cached_property
    def ball_first_ras(self) -> tuple[FloatArray, float]:
        """Centre (3,) and radius, mm, of a ball around its box, in the first time point's frame."""
        start, stop = (np.asarray(corner) - 0.5 for corner in (self.patch.extent.start_kji, self.patch.extent.stop_kji))
        corners = np.array(np.meshgrid(*zip(start, stop, strict=True))).reshape(3, -1).T
        to_first = np.linalg.inv(self.from_first) @ self.grid.ijk_to_ras
        corners_ras = apply_affine(to_first, flip_axes(corners))
        centre = corners_ras.mean(axis=0)
        return centre, float(np.linalg.norm(corners_ras - centre, axis=1).max())

    @property
    def centre_first_ras(self) -> FloatArray:
        """(3,) where its centre is in the first time point's frame, mm."""
        return apply_affine(np.linalg.inv(self.from_first), centroid_ras(self.patch, self.grid))


def matches(
    before: Sequence[Lesion], after: Sequence[Lesion], distance_mm: float = DISTANCE_MM
) -> list[tuple[int, int]]:
    """Return pairs of indices of lesions of the same segment that are one: several where they merged or split.

    They overlap by `OVERLAP` at least. Of those that overlap with none, pairs whose centres are no farther apart than
    `distance_mm`, so that the distances of all of them together are the smallest.
    """
    from scipy.optimize import linear_sum_assignment

    pairs = [
        (n, m)
        for n, m in _near_pairs(before, after)
        if max(share_within(before[n], after[m]), share_within(after[m], before[n])) >= OVERLAP
    ]
    left = [n for n in range(len(before)) if all(n != pair[0] for pair in pairs)]
    right = [m for m in range(len(after)) if all(m != pair[1] for pair in pairs)]
    if left and right:
        distances = np.linalg.norm(
            np.array([before[n].centre_first_ras for n in left])[:, None]
            - np.array([after[m].centre_first_ras for m in right])[None],
            axis=-1,
        )
        same = np.array([[before[n].segment == after[m].segment for m in right] for n in left])
        costs = np.where(same & (distances <= distance_mm), distances, 1e6)  # far beyond any sum of distances
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] < 1e6:
                pairs.append((left[row], right[column]))
    return pairs


def _near_pairs(before: Sequence[Lesion], after: Sequence[Lesion]) -> list[tuple[int, int]]:
    """Return indices of lesions of one segment whose boxes can meet: few of the pairs of a hundred lesions do."""
    if not before or not after:
        return []
    centres, radii = zip(*(one.ball_first_ras for one in before), strict=True)
    others, other_radii = zip(*(one.ball_first_ras for one in after), strict=True)
    distances = np.linalg.norm(np.array(centres)[:, None] - np.array(others)[None], axis=-1)
    near = np.argwhere(distances <= np.add.outer(radii, other_radii))
    return [(int(n), int(m)) for n, m in near if before[n].segment == after[m].segment]


def share_within(one: Lesion, other: Lesion) -> float:
    """Return the part of the voxels of `one` whose centres lie in `other`, brought together by their transforms."""
    between = other.grid.ras_to_ijk @ other.from_first @ np.linalg.inv(one.from_first) @ one.grid.ijk_to_ras
    extent = other.patch.extent
    voxel_count, found = 0, 0
    for k, layer in enumerate(one.patch.mask_kji, start=one.patch.extent.start_kji[0]):
        voxels = np.add(np.argwhere(layer[None]), (k, *one.patch.extent.start_kji[1:]))
        places = np.floor(flip_axes(apply_affine(between, flip_axes(voxels))) + 0.5).astype(np.int64)
        places -= extent.start_kji
        inside = ((places >= 0) & (places < extent.shape_kji)).all(axis=1)
        found += int(np.count_nonzero(other.patch.mask_kji[tuple(places[inside].T)]))
        voxel_count += len(voxels)
    return found / voxel_count
