"""How large a structure is meant, by what the user shows: a view that it takes a good part of, or a box around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PromptSegLib.geometry import Float32Array, FloatArray
from PromptSegLib.predictors.default.tuning import TUNED
from PromptSegLib.view import View


@dataclass(frozen=True)
class ExpectedSize:
    """side_mm: of a square or cube as large as the structure; spread: standard deviation of its logarithm."""

    side_mm: float
    spread: float
    dims: int

    @classmethod
    def in_view(cls, view: View, dims: int) -> ExpectedSize:
        """Return what somebody means who clicks in `view`. dims: 2 for a slice, 3 for a volume."""
        return cls(TUNED.part_of_view * TUNED.part_of_length[dims] * max(view.size_mm), TUNED.spread_in_view, dims)

    @classmethod
    def in_box(cls, sides_mm: FloatArray) -> ExpectedSize:
        """Return what somebody means who draws a box of these two or three sides."""
        dims = len(sides_mm)
        return cls(TUNED.part_of_box[dims] * float(np.prod(sides_mm)) ** (1 / dims), TUNED.spread_in_box[dims], dims)

    def brought_to(self, logits: Float32Array, voxel_mm: float) -> Float32Array:
        """Return `logits`, of isotropic voxels, shifted so that the structure (> 0) is rather of this size.

        Of some shifts the likeliest is taken, were the network's bias and the logarithm of the size distributed
        normally.
        """
        voxels = np.array([max(1, np.count_nonzero(logits > -shift)) for shift in TUNED.shifts])
        misfit = np.log(voxels ** (1 / self.dims) * voxel_mm / self.side_mm) / self.spread
        return logits + np.float32(TUNED.shifts[np.argmin(misfit**2 + (TUNED.shifts / TUNED.bias) ** 2)])
