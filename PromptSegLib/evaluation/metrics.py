"""How much two masks agree."""

from __future__ import annotations

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import GeometryError


def dice(mask_kji: BoolArray, truth_kji: BoolArray) -> float:
    """Return twice the overlap of two bool masks of one shape over the sum of their sizes, 0 to 1.

    Two empty masks agree: 1. Dice, "Measures of the amount of ecologic association between species", Ecology 1945.
    Raises GeometryError when the shapes differ.
    """
    if mask_kji.shape != truth_kji.shape:
        raise GeometryError(f"expected two masks of one shape, got {mask_kji.shape} and {truth_kji.shape}")
    total = int(np.count_nonzero(mask_kji)) + int(np.count_nonzero(truth_kji))
    return 2 * int(np.count_nonzero(mask_kji & truth_kji)) / total if total else 1.0
