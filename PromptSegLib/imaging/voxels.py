"""Sets of voxels: what box they lie in, what hangs together with them, whether a mask is as they say."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BitMask, BoolArray
from PromptSegLib.geometry import Extent, IntArray


def parts_with(these: BoolArray, those: BoolArray) -> BoolArray:
    """Return the connected parts of `these`, both (k, j, i), that hold a voxel of `those`."""
    labels, count = ndimage.label(these, np.ones((3, 3, 3)))
    is_held = np.zeros(count + 1, dtype=bool)
    is_held[labels[those]] = True
    is_held[0] = False
    return np.asarray(is_held[labels])


def follows(mask: BitMask, voxels_kji: IntArray, value: bool) -> bool:
    """Tell whether `voxels_kji` : (n, 3), at least one, belong to the mask, or none does, as `value` says."""
    box = box_around(voxels_kji)
    return bool((mask.read(box)[tuple((voxels_kji - box.start_kji).T)] == value).all())


def box_around(voxels_kji: IntArray) -> Extent:
    """Return the smallest box that holds `voxels_kji` : (n, 3), at least one."""
    k0, j0, i0 = (int(n) for n in voxels_kji.min(axis=0))
    k1, j1, i1 = (int(n) + 1 for n in voxels_kji.max(axis=0))
    return Extent((k0, j0, i0), (k1, j1, i1))
