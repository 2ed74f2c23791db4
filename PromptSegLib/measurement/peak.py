"""SUVpeak: the highest mean of a ball of 1 mL around a voxel of the segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent, Grid, IntArray, flip_axes

RADIUS_MM = (1000.0 * 3 / (4 * np.pi)) ** (1 / 3)
"""Of a ball of 1 mL: 6.2 mm."""

# Voxels whose balls are summed at a time: temporary arrays stay below half a GiB.
_SLAB_VOXELS = 1 << 23


def highest_mean(mask_kji: BoolArray, extent: Extent, values_kji: NDArray[Any], grid: Grid) -> float | None:
    """Return the highest mean over a ball of 1 mL around the centre of each voxel of a segment.

    IBSI's global intensity peak (The image biomarker standardisation initiative, reference manual, 3.2.2): the ball
    holds the voxels whose centre is in it, those outside of the segment, too. What lies outside of the image or is not
    finite is left out. mask_kji: the segment in the box `extent` of `values_kji` : (k, j, i), the image on `grid`.
    None when no ball holds a finite value.
    """
    rows = _rows_of_ball(grid)
    layers = max(1, _SLAB_VOXELS // max(1, mask_kji[:1].size))
    best = -np.inf
    for k in range(0, len(mask_kji), layers):
        slab = mask_kji[k : k + layers]
        within = Extent.of_mask(slab)
        if within is not None:
            box = within.shifted((k, 0, 0)).shifted(extent.start_kji)
            best = max(best, _highest_mean(slab[within.slices], box, values_kji, rows))
    return best if np.isfinite(best) else None


def _highest_mean(mask_kji: BoolArray, extent: Extent, values_kji: NDArray[Any], rows: IntArray) -> float:
    reach_kji = [int(np.abs(rows[:, columns]).max()) for columns in ((0,), (1,), (2, 3))]
    whole = extent.padded(reach_kji)
    box = whole.intersection(Extent.of_shape(values_kji.shape))
    values = values_kji[box.slices].astype(np.float64)
    known = np.isfinite(values)
    values[~known] = 0
    below, above = np.subtract(box.start_kji, whole.start_kji), np.subtract(whole.stop_kji, box.stop_kji)
    pad = list(zip(below, above, strict=True))
    total = _ball_sums(np.pad(values, pad), extent.shape_kji, rows, reach_kji)[mask_kji]
    if known.all() and box == whole:
        return float(total.max()) / float((rows[:, 3] - rows[:, 2]).sum())
    count = _ball_sums(np.pad(known.astype(np.float64), pad), extent.shape_kji, rows, reach_kji)[mask_kji]
    return float((total[count > 0] / count[count > 0]).max(initial=-np.inf))


def _ball_sums(
    padded_kji: NDArray[np.float64], shape_kji: Sequence[int], rows: IntArray, reach_kji: Sequence[int]
) -> NDArray[np.float64]:
    """Return the sum over the ball around each of the voxels, of `shape_kji`, in the middle of `padded_kji`."""
    # Sums along i from the row's beginning: a row of the ball is one difference of two of them.
    sums = np.concatenate([np.zeros((*padded_kji.shape[:2], 1)), np.cumsum(padded_kji, axis=2)], axis=2)
    total = np.zeros(shape_kji)
    depth, height, width = shape_kji
    for row in rows:
        k, j, first, stop = (int(n) for n in np.add(row, (*reach_kji, reach_kji[2])))
        layer = sums[k : k + depth, j : j + height]
        total += layer[:, :, stop : stop + width]
        total -= layer[:, :, first : first + width]
    return total


def _rows_of_ball(grid: Grid) -> IntArray:
    """Return the ball around a voxel as rows along i : (n, 4), each dk, dj, its first di and the one after its last."""
    reach = np.ceil(RADIUS_MM * np.linalg.norm(grid.ras_to_ijk[:3, :3], axis=1)).astype(int)  # along i, j, k
    k, j, i = (np.arange(-n, n + 1) for n in flip_axes(reach))
    offsets = np.stack(np.meshgrid(k, j, i, indexing="ij"), axis=-1)
    lengths = np.linalg.norm(flip_axes(offsets) @ grid.ijk_to_ras[:3, :3].T, axis=-1)
    inside = lengths <= RADIUS_MM * (1 + 1e-9)
    rows = []
    for dk, dj in np.argwhere(inside.any(axis=2)):
        hits = i[inside[dk, dj]]
        rows.append((k[dk], j[dj], hits[0], hits[-1] + 1))
    return np.array(rows, dtype=np.int64)
