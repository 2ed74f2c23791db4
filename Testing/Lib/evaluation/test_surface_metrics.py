"""MONAI's surface metrics agree with others' on random masks, anisotropic, flat and empty ones too.

surface_distance.npz holds 50 pairs of masks, and the surface Dice that DeepMind's package surface-distance 0.1 gives
them, each padded by a voxel; NaN where one of them is empty.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PromptSegLib.errors import GeometryError
from PromptSegLib.evaluation.surface_metrics import hausdorff_95_mm, surface_dice

pytest.importorskip("monai")

ELSEWHERE = Path(__file__).parents[2] / "Data" / "surface_distance.npz"


def pairs():
    """Yield both masks, spacing, tolerance and surface Dice of each pair."""
    with np.load(ELSEWHERE) as arrays:
        kept = dict(arrays)
    start = 0
    for shape, spacing, tolerance, expected in zip(
        kept["shapes_kji"], kept["spacings_kji_mm"], kept["tolerances_mm"], kept["surface_dice"], strict=True
    ):
        count = 2 * math.prod(shape.tolist())
        stop = start + (count + 7) // 8
        mask, truth = np.unpackbits(kept["bits"][start:stop], count=count).reshape(2, *shape).astype(bool)
        start = stop
        yield mask, truth, spacing, tolerance, expected


def test_surface_dice_is_that_of_deepminds_package():
    results = list(pairs())
    assert len(results) == 50
    for mask, truth, spacing, tolerance, expected in results:
        found = surface_dice(mask, truth, spacing, tolerance)
        if np.isnan(expected):
            assert found == (1.0 if mask.any() == truth.any() else 0.0)
        else:
            assert found == pytest.approx(expected, abs=1e-6)
    given = [expected for *_, expected in results if not np.isnan(expected)]
    assert len(given) == 47
    assert min(given) < 0.3
    assert max(given) == 1


def surface_of(mask_kji, spacing_kji_mm):
    """Return the surface voxels of a mask that nothing lies beyond, by ITK."""
    image = sitk.GetImageFromArray(np.pad(mask_kji, 1).astype(np.uint8))
    image.SetSpacing(spacing_kji_mm[::-1].tolist())
    if mask_kji.shape[0] == 1:
        image = image[:, :, 1]
    return sitk.BinaryContour(image, fullyConnected=False)


def hausdorff_95_by_itk(mask_kji, truth_kji, spacing_kji_mm):
    first, second = (surface_of(mask, spacing_kji_mm) for mask in (mask_kji, truth_kji))
    found = []
    for one, other in ((first, second), (second, first)):
        away = sitk.GetArrayFromImage(
            sitk.SignedMaurerDistanceMap(other, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
        )
        # A surface is one voxel thick: inside of it, too, the distance is 0.
        found.append(np.percentile(np.abs(away)[sitk.GetArrayFromImage(one) > 0], 95))
    return max(found)


def test_hausdorff_95_is_that_of_itks_distances():
    compared = 0
    for mask, truth, spacing, _, _ in pairs():
        found = hausdorff_95_mm(mask, truth, spacing)
        if mask.any() and truth.any():
            assert found == pytest.approx(hausdorff_95_by_itk(mask, truth, spacing), abs=1e-3)
            compared += 1
        else:
            assert found == (0.0 if mask.any() == truth.any() else math.inf)
    assert compared == 47


def test_a_shift_is_as_far_as_it_is_in_mm():
    mask = np.zeros((10, 20, 20), dtype=bool)
    mask[2:6, 5:10, 5:10] = True
    shifted = np.roll(mask, 2, axis=0)
    assert hausdorff_95_mm(mask, shifted, (2.5, 1.0, 1.0)) == pytest.approx(5.0)
    assert surface_dice(mask, shifted, (2.5, 1.0, 1.0), tolerance_mm=5.0) == 1.0
    assert surface_dice(mask, shifted, (2.5, 1.0, 1.0), tolerance_mm=1.0) < 0.8


def test_masks_of_two_shapes_are_refused():
    for metric in (surface_dice, hausdorff_95_mm):
        with pytest.raises(GeometryError, match="one shape"):
            metric(np.ones((2, 3, 4), bool), np.ones((2, 3, 5), bool), (1, 1, 1))
