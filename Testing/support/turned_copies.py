"""Copies of a volume in other orders of its axes: the same voxels at the same places, stored otherwise."""

from __future__ import annotations

import itertools

import numpy as np

from PromptSegLib.geometry import Grid, flip_axes, transpose_kji_to_ijk
from PromptSegLib.volume import Volume

ORDERS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
"""All 48: which axis i, j, k of the original runs along each axis of the copy, and in which direction."""


def turned_array(array_kji, order):
    """Return an array (k, j, i) in another order of its axes."""
    axes, signs = order
    array_ijk = transpose_kji_to_ijk(array_kji).transpose(axes)
    array_ijk = array_ijk[tuple(slice(None, None, sign) for sign in signs)]
    return np.ascontiguousarray(transpose_kji_to_ijk(array_ijk))


def turned_volume(volume, order):
    """Return a volume whose voxels are those of `volume`, where they were, in another order."""
    axes, signs = order
    to_original = np.zeros((4, 4))
    lengths = flip_axes(volume.grid.shape_kji)
    for axis, (source, sign) in enumerate(zip(axes, signs, strict=True)):
        to_original[source, axis] = sign
        to_original[source, 3] = 0 if sign > 0 else lengths[source] - 1
    to_original[3, 3] = 1
    array = turned_array(volume.array, order)
    return Volume(array, Grid(array.shape, volume.ijk_to_ras @ to_original).ijk_to_ras)
