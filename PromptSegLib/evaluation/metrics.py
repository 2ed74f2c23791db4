"""How much two masks agree: in volume, and, by MONAI, in their surfaces."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent

if TYPE_CHECKING:
    import torch

TOLERANCE_MM = 2.0
"""How far surfaces may be apart in the CVPR 2025 challenge."""


def dice(mask_kji: BoolArray, truth_kji: BoolArray) -> float:
    """Return twice the overlap of two bool masks of one shape over the sum of their sizes, 0 to 1.

    Two empty masks agree: 1. Dice, "Measures of the amount of ecologic association between species", Ecology 1945.

    Raises:
        GeometryError: the shapes differ.
    """
    if mask_kji.shape != truth_kji.shape:
        raise GeometryError(f"expected two masks of one shape, got {mask_kji.shape} and {truth_kji.shape}")
    total = int(np.count_nonzero(mask_kji)) + int(np.count_nonzero(truth_kji))
    return 2 * int(np.count_nonzero(mask_kji & truth_kji)) / total if total else 1.0


def surface_dice(
    mask_kji: BoolArray, truth_kji: BoolArray, spacing_kji_mm: ArrayLike, tolerance_mm: float = TOLERANCE_MM
) -> float:
    """Return which part of both masks' surfaces, by area, is no farther than `tolerance_mm` from the other's: 0 to 1.

    The normalised surface Dice, NSD; Nikolov et al., "Clinically applicable segmentation of head and neck anatomy",
    JMIR 2021, with its elements of surface. Outlines, on a single slice. spacing_kji_mm: (3,) along the axes of the
    masks. Two empty masks agree: 1; with one empty mask nothing does: 0.

    Raises:
        GeometryError: for different shapes.
    """
    from monai.metrics.surface_dice import compute_surface_dice

    cropped = _cropped(mask_kji, truth_kji, spacing_kji_mm)
    if cropped is None:
        return 1.0 if not (mask_kji.any() or truth_kji.any()) else 0.0
    mask, truth, spacing = cropped
    with _without_monais_own_warning():
        found = compute_surface_dice(
            mask, truth, [tolerance_mm], include_background=True, spacing=spacing, use_subvoxels=True
        )
    return float(found)


def hausdorff_95_mm(mask_kji: BoolArray, truth_kji: BoolArray, spacing_kji_mm: ArrayLike) -> float:
    """Return the distance in mm within which 95 % of either surface's voxels are from the other's: HD95.

    The larger one of both directions. Two empty masks agree: 0; with one empty mask it is infinite. Arguments as of
    `surface_dice`.
    """
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    cropped = _cropped(mask_kji, truth_kji, spacing_kji_mm)
    if cropped is None:
        return 0.0 if not (mask_kji.any() or truth_kji.any()) else math.inf
    mask, truth, spacing = cropped
    with _without_monais_own_warning():
        found = compute_hausdorff_distance(mask, truth, include_background=True, percentile=95, spacing=spacing)
    return float(found)


def _cropped(
    mask_kji: BoolArray, truth_kji: BoolArray, spacing_kji_mm: ArrayLike
) -> tuple[torch.Tensor, torch.Tensor, list[float]] | None:
    """Return both masks as batches of one channel, (1, 1, …), around what is set in either, and their spacing.

    Outside of the image nothing is set: where a structure ends with it, there is its surface. An axis of one voxel is
    left out. None when one of the masks is empty.
    """
    import torch

    if mask_kji.shape != truth_kji.shape:
        raise GeometryError(f"expected two masks of one shape, got {mask_kji.shape} and {truth_kji.shape}")
    extent, other = Extent.of_mask(mask_kji), Extent.of_mask(truth_kji)
    if extent is None or other is None:
        return None
    axes = [axis for axis, n in enumerate(mask_kji.shape) if n > 1] or [2]
    spacing = np.asarray(spacing_kji_mm, dtype=np.float64)
    tensors = []
    for array in (mask_kji, truth_kji):
        part = array[extent.union(other).slices]
        part = part.reshape([part.shape[axis] for axis in axes])
        tensors.append(torch.from_numpy(np.pad(part, 1).astype(np.float32))[None, None])
    return tensors[0], tensors[1], spacing[axes].tolist()


@contextmanager
def _without_monais_own_warning() -> Iterator[None]:
    """MONAI 1.5 and 1.6 call a function of theirs in a way that they deprecate."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        yield
