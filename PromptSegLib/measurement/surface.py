"""The area of a mask's surface, from how often straight lines cross it.

Crofton's formula, with the 13 directions from a voxel to its neighbours, weighted by the part of the sphere that is the
nearest to each; after Lehmann and Legland, Insight Journal 2012. It holds in sheared grids, too, where SimpleITK's
estimate by the same formula knows only the spacing.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import FloatArray, Grid, flip_axes

# Voxels compared at a time: temporary arrays stay small beside the image.
_SLAB_VOXELS = 1 << 24

_STEPS_KJI = tuple(step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0))


def surface_mm2(mask_kji: BoolArray, grid: Grid) -> float:
    """Return the area in square mm of the surface of `mask_kji` : (k, j, i), on `grid`, the cut at its border included.

    Within 1 % for a ball of isotropic voxels from a radius of 5 voxels on; flat faces along the grid come out up to
    9 % smaller, see the tests.
    """
    count = int(np.count_nonzero(mask_kji))
    area = 0.0
    for step, area_each in zip(_STEPS_KJI, _area_of_crossings(grid.ijk_to_ras[:3, :3].tobytes()), strict=True):
        # Of the pairs of neighbours with one voxel within, each voxel is in two; those with both within are none.
        crossings = 2 * (count - _pairs_within(mask_kji, step))
        area += crossings * area_each
    return area


def _pairs_within(mask_kji: BoolArray, step_kji: tuple[int, ...]) -> int:
    here = mask_kji[tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step_kji, mask_kji.shape, strict=True))]
    there = mask_kji[tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step_kji, mask_kji.shape, strict=True))]
    layers = max(1, _SLAB_VOXELS // max(1, here[:1].size))
    return sum(int(np.count_nonzero(here[k : k + layers] & there[k : k + layers])) for k in range(0, len(here), layers))


@lru_cache(maxsize=16)
def _area_of_crossings(steps_bytes: bytes) -> tuple[float, ...]:
    """Return what area a crossing along each of `_STEPS_KJI` stands for; the argument is the (3, 3) of the affine."""
    from scipy.spatial import SphericalVoronoi

    steps = np.frombuffer(steps_bytes).reshape(3, 3)
    along: FloatArray = flip_axes(np.array(_STEPS_KJI, dtype=np.float64)) @ steps.T
    lengths = np.linalg.norm(along, axis=1)
    directions = along / lengths[:, None]
    shares = SphericalVoronoi(np.concatenate([directions, -directions])).calculate_areas() / (4 * np.pi)
    # A line along a step stands for a cross-section of voxel / step; a surface shows half its area to a direction.
    share_of_both = shares[: len(directions)] + shares[len(directions) :]
    return tuple((2 * share_of_both * abs(np.linalg.det(steps)) / lengths).tolist())
