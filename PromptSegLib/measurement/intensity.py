"""What the image's values are within a segment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (5.0, 25.0, 75.0, 95.0)


@dataclass(frozen=True)
class Intensity:
    """Statistics of values in the image's own unit.

    sd: of a sample (n - 1), as Slicer's and SimpleITK's is; None for one voxel. percentiles: those of `PERCENTILES`,
    between two values in proportion. left_out: voxels without a finite value, which count nowhere.
    """

    mean: float
    sd: float | None
    minimum: float
    maximum: float
    median: float
    percentiles: tuple[float, ...]
    left_out: int = 0


def intensity_of(values: NDArray[Any]) -> Intensity | None:
    """Return the statistics of `values` : (n,), None when none of them is finite.

    The median is exact; those of SimpleITK's label statistics are read off a histogram.
    """
    count = len(values)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not len(values):
        return None
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    median, *percentiles = np.percentile(values, (50.0, *PERCENTILES)).tolist()
    return Intensity(
        mean=float(values.mean(dtype=np.float64)),
        sd=float(values.std(dtype=np.float64, ddof=1)) if len(values) > 1 else None,
        minimum=float(values.min()),
        maximum=float(values.max()),
        median=median,
        percentiles=tuple(percentiles),
        left_out=count - len(values),
    )


def scaled(intensity: Intensity, factor: float) -> Intensity:
    """Return the statistics of the same values times `factor`, above 0."""
    return replace(
        intensity,
        mean=intensity.mean * factor,
        sd=None if intensity.sd is None else intensity.sd * factor,
        minimum=intensity.minimum * factor,
        maximum=intensity.maximum * factor,
        median=intensity.median * factor,
        percentiles=tuple(value * factor for value in intensity.percentiles),
    )
