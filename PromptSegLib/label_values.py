"""Values of a mask's voxels: labels, which are whole numbers, or probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray

# Labels that went through float32 and a slope differ by less from whole numbers.
_NEARLY = 0.01


def as_labels(values: NDArray[Any]) -> NDArray[Any] | None:
    """Return `values` as labels: floats as the whole numbers that they are but for the last bits, NaN as 0.

    values: any shape, bool, integer or floating. None when they are no whole numbers.
    """
    if values.dtype.kind != "f":
        return values
    labels = np.rint(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
    is_whole = (np.abs(values - labels) < _NEARLY) | np.isnan(values)
    return labels if is_whole.all() else None


def set_voxels(values: NDArray[Any]) -> BoolArray | None:
    """Return where a mask is set, of the shape of `values`: labels that are not 0, or probabilities of at least 0.5.

    values: any shape, bool, integer or floating; NaN is not set. None when they are neither: fractions beyond 0 to 1.
    """
    labels = as_labels(values)
    if labels is not None:
        return np.asarray(labels != 0)
    known = values[~np.isnan(values)]
    if known.min() < -_NEARLY or known.max() > 1 + _NEARLY:
        return None
    return np.asarray(values >= 0.5)


def described_range(values: NDArray[Any]) -> str:
    """Say what fractions `values` are, for messages: the lowest and the highest."""
    known = values[np.isfinite(values)]
    return f"fractions from {known.min():.4g} to {known.max():.4g}" if known.size else "no finite numbers"
