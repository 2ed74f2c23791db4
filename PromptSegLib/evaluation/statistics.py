"""Means that say how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """The mean of `count` values, and the bounds within which it lies with 95 % confidence: equal for one value."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_json(self) -> dict[str, float | int]:
        """Return it as what JSON can hold, to five digits."""
        return {
            "mean": round(self.value, 5),
            "low": round(self.low, 5),
            "high": round(self.high, 5),
            "count": self.count,
        }


def mean_with_interval(values: Sequence[float], seed: int = 0) -> Mean:
    """Return the mean of at least one value with its bootstrap interval, by percentiles of 2000 resamples.

    The values count as independent: those of structures in one image are only so in part, which makes the interval too
    narrow for a set of few images. Efron and Tibshirani, "An introduction to the bootstrap", 1993.
    """
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if np.ptp(array) == 0:
        return Mean(mean, mean, mean, len(array))
    found = stats.bootstrap(
        (array,), np.mean, n_resamples=_RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=seed
    ).confidence_interval
    return Mean(mean, float(found.low), float(found.high), len(array))
