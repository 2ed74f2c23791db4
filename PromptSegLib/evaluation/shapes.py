"""What kind of shape a structure has, told from its mask: tables of a benchmark tell them apart."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent, FloatArray, Grid

SHAPES = ("compact", "ring", "tree", "parts", "plate")
"""compact: one piece without a hole, the rest. ring: around something. tree: thin and long, such as vessels. parts:
several pieces. plate: thin and wide."""

# Thin is what is no thicker than this part of its longest side.
_THIN = 0.08
# A ring encloses so much of its own size, in the slices that show that best; a part is so large beside the largest.
_HOLE, _PART = 0.2, 0.1
# Voxels whose surroundings tell a tree from a plate, and how far these reach, in thicknesses.
_SAMPLES, _AROUND = 60, 2.0


def shape_of(mask_kji: BoolArray, grid: Grid) -> str:
    """Return which of `SHAPES` a structure has. mask_kji: bool, some voxel set, of the grid's shape."""
    extent = Extent.of_mask(mask_kji)
    assert extent is not None
    thin_axes = [int(n > 1) for n in mask_kji.shape]
    inside = np.pad(mask_kji[extent.slices], [(n, n) for n in thin_axes])
    spacing = grid.spacing_kji_mm
    depth_mm = ndimage.distance_transform_edt(inside, sampling=spacing)
    thickness_mm = 2 * float(np.quantile(depth_mm[inside], 0.9))
    if thickness_mm <= _THIN * float((np.array(extent.shape_kji) * spacing).max()):
        return "plate" if _is_wide(inside, spacing, thickness_mm) else "tree"
    parts, count = ndimage.label(inside, np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1]
        if sizes[1] >= _PART * sizes[0]:
            return "parts"
    return "ring" if _hole_of(inside) >= _HOLE else "compact"


def hole_kji(mask_kji: BoolArray) -> BoolArray:
    """Return what the mask encloses in the slices, along whichever axis, in which that is most: (k, j, i), bool."""
    best = np.zeros_like(mask_kji)
    plane = np.ones((3, 3))
    for axis in range(3):
        slices = np.moveaxis(mask_kji, axis, 0)
        if min(slices.shape[1:]) < 3:
            continue
        filled = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(part, plane)) for part in slices])
        hole = np.moveaxis(filled, 0, axis) & ~mask_kji
        if hole.sum() > best.sum():
            best = hole
    return best


def _hole_of(inside: BoolArray) -> float:
    return float(hole_kji(inside).sum() / inside.sum())


def _is_wide(inside: BoolArray, spacing: FloatArray, thickness_mm: float) -> bool:
    """Tell whether the surroundings of a voxel mostly spread along two axes and not along one."""
    if min(inside.shape) == 1:
        return False
    index = np.argwhere(inside)
    positions = index * spacing
    chosen = positions[:: max(1, len(positions) // _SAMPLES)]
    reach_mm = _AROUND * max(thickness_mm, 2 * float(spacing.max()))
    flat = []
    for position in chosen:
        near = positions[np.linalg.norm(positions - position, axis=1) <= reach_mm]
        if len(near) > 3:
            _, second, first = np.linalg.eigvalsh(np.cov(near, rowvar=False))
            flat.append(second / max(first, 1e-9))
    return bool(flat) and float(np.median(flat)) > 0.4
