"""How a plane in the patient is laid out as rows and columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from PromptSegLib.geometry import FloatArray

LEFT, POSTERIOR, INFERIOR = np.diag([-1.0, -1.0, -1.0])

# By the axis of RAS that a plane lies mostly across: sagittal, coronal, axial.
_RADIOLOGICAL = ((POSTERIOR, INFERIOR), (LEFT, INFERIOR), (LEFT, POSTERIOR))


def pixel_axes_ras(normal_ras: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the unit vectors (3,) to the right and down, as radiologists look at the plane across `normal_ras`."""
    normal = unit(normal_ras)
    usual_right, usual_down = _RADIOLOGICAL[int(np.abs(normal).argmax())]
    right = unit(usual_right - normal * (usual_right @ normal))
    down = np.cross(normal, right)
    return right, down if down @ usual_down >= 0 else -down


def unit(vector: ArrayLike) -> FloatArray:
    """Return `vector` : (3,) as one of length 1."""
    array = np.asarray(vector, dtype=np.float64)
    return np.asarray(array / np.linalg.norm(array))
