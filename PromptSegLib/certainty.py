"""How sure a predictor is of each voxel around what it found."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent


@dataclass(frozen=True)
class Certainty:
    """Probabilities that voxels of a box belong to the structure; compressed, as every answer is kept for undo."""

    extent: Extent
    _packed: bytes = field(repr=False)

    @classmethod
    def of(cls, extent: Extent, probability_kji: NDArray[np.float32]) -> Certainty:
        """Keep `probability_kji` : (k, j, i) of the extent's shape, 0 to 1, to a precision of 1/510."""
        if probability_kji.shape != extent.shape_kji:
            raise GeometryError(
                f"expected probabilities of shape {extent.shape_kji}, got an array of shape {probability_kji.shape}"
            )
        levels = np.rint(255 * np.clip(probability_kji, 0, 1)).astype(np.uint8)
        return cls(extent, zlib.compress(levels.tobytes(), 1))

    @property
    def probability_kji(self) -> NDArray[np.float32]:
        """(k, j, i) of the extent's shape, float32, 0 to 1: 0.5 is undecided."""
        levels = np.frombuffer(zlib.decompress(self._packed), dtype=np.uint8)
        return np.divide(levels.reshape(self.extent.shape_kji), np.float32(255), dtype=np.float32)

    @property
    def nbytes(self) -> int:
        return len(self._packed)
