"""What becomes of a cube of an image before SAM-Med3D sees it (its official inference script)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPACING_MM = 1.5
"""Side of the voxels that the network was trained on."""


def standardise(region: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standardise by the values above 0; a region without two different ones is returned as it is.

    The deviation is that of a sample (n - 1), as the network was trained with.
    """
    foreground = region[region > 0].astype(np.float64)
    if foreground.size < 2 or (deviation := foreground.std(ddof=1)) == 0:
        return region
    standardised: NDArray[np.float32] = ((region - foreground.mean()) / deviation).astype(np.float32)
    return standardised
