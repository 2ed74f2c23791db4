"""How large a structure is meant, by what the user shows: a view that it takes a good part of, or a box around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PromptSegLib.geometry import Float32Array, FloatArray
from PromptSegLib.view import View

# What people zoom to takes about this part of their view's longer side.
_PART_OF_VIEW = 1 / 3
# A structure is as large as a square or cube of this part of its longest side, or of this part of the mean of its box's
# sides: medians over synthetic structures, by the dimensions of the image; boxes are somewhat loose.
_PART_OF_LENGTH, _PART_OF_BOX = {2: 0.67, 3: 0.47}, {2: 0.78, 3: 0.7}
# Standard deviations: of the logarithm of a size, and of what a network's logits may be off by. On synthetic images a
# first click in a slice has 0.02 more Dice with it, in a volume too, a box in a slice 0.03; where the view is twice or
# half as wide as supposed, the first click has up to 0.02 less than without.
_SPREAD_IN_VIEW, _SPREAD_IN_BOX, _BIAS = 0.5, {2: 0.2, 3: 0.25}, 2.0
_SHIFTS = np.linspace(-3, 3, 25)


@dataclass(frozen=True)
class ExpectedSize:
    """side_mm: of a square or cube as large as the structure; spread: standard deviation of its logarithm."""

    side_mm: float
    spread: float
    dims: int

    @classmethod
    def in_view(cls, view: View, dims: int) -> ExpectedSize:
        """Return what somebody means who clicks in `view`. dims: 2 for a slice, 3 for a volume."""
        return cls(_PART_OF_VIEW * _PART_OF_LENGTH[dims] * max(view.size_mm), _SPREAD_IN_VIEW, dims)

    @classmethod
    def in_box(cls, sides_mm: FloatArray) -> ExpectedSize:
        """Return what somebody means who draws a box of these two or three sides."""
        dims = len(sides_mm)
        return cls(_PART_OF_BOX[dims] * float(np.prod(sides_mm)) ** (1 / dims), _SPREAD_IN_BOX[dims], dims)

    def brought_to(self, logits: Float32Array, voxel_mm: float) -> Float32Array:
        """Return `logits`, of isotropic voxels, shifted so that the structure (> 0) is rather of this size.

        Of some shifts the likeliest is taken, were the network's bias and the logarithm of the size distributed
        normally.
        """
        voxels = np.array([max(1, np.count_nonzero(logits > -shift)) for shift in _SHIFTS])
        misfit = np.log(voxels ** (1 / self.dims) * voxel_mm / self.side_mm) / self.spread
        return logits + np.float32(_SHIFTS[np.argmin(misfit**2 + (_SHIFTS / _BIAS) ** 2)])
