"""A mask that did not come from a network of cubes, such as a 2D model's, as that network takes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from PromptSegLib.bitmask import BitMask
from PromptSegLib.geometry import Float32Array, FloatArray, IntArray
from PromptSegLib.predictors.cubes.cubic_lattice import CubicLattice

SURE = 10.0
"""Logits of what is certain: of about the size of those that a network is sure of."""


@dataclass(frozen=True, eq=False)
class GivenMask:
    """A mask, not empty, of the image that `lattice` is laid over."""

    mask: BitMask
    lattice: CubicLattice

    def logits(self, start_xyz: IntArray, size: int, coarse: int) -> Float32Array | None:
        """Return it in a cube as logits (x, y, z), `size` a side, or None where nothing of it is there.

        start_xyz: first lattice voxel of the cube. coarse: lattice voxels along a side of a voxel of the logits.
        The mask of a slice says what is on that slice; of those beside it nothing is known, which is 0.
        """
        filled = self.lattice.read_mask(self.mask, start_xyz, size, coarse)
        if not filled.any():
            return None
        logits = SURE * (2 * filled - 1)
        if (axis := self._axis_of_slice(coarse)) is not None:
            share = self._share_of_layers(start_xyz[axis] + coarse * np.arange(size), coarse, axis)
            layers = share >= share.max() / 2
            on_slice = np.moveaxis(filled, axis, 0)[layers] / share[layers, None, None]
            logits = np.zeros_like(filled)
            np.moveaxis(logits, axis, 0)[layers] = SURE * (2 * np.minimum(on_slice, 1) - 1)
        # What is thinner than a coarse voxel is where it fills one most.
        logits[filled == filled.max()] = SURE
        return logits.astype(np.float32)

    @cached_property
    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        found = self.lattice.bounds(self.mask)
        assert found is not None
        return found

    def _axis_of_slice(self, coarse: int) -> int | None:
        """Return the axis across which the mask is one slice, or less than a coarse voxel, thick, if it is."""
        low, high = self._bounds
        axis = int((high - low).argmin())
        thickness, slice_thickness = (high - low)[axis], 1 / self.lattice.step_xyz[axis]
        is_thin = thickness < max(coarse, 1.5 * slice_thickness)
        return axis if is_thin and self.lattice.faces[1][axis] > 2 * thickness else None

    def _share_of_layers(self, first: IntArray, coarse: int, axis: int) -> FloatArray:
        """Return the part that lies between the mask's bounds of each coarse layer that begins at `first`."""
        low, high = (bound[axis] for bound in self._bounds)
        overlap = np.minimum(first + coarse, high) - np.maximum(first, low)
        return np.asarray(np.clip(overlap, 0, None) / coarse)
