"""VISTA3D sees a CT as the transforms of its published configuration, MONAI's, prepare it."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForeground, Orientation, ScaleIntensityRange, Spacing

from PromptSegLib.geometry import Grid, affine_from_parts, transpose_kji_to_ijk
from PromptSegLib.predictors.vista3d.preparation import RANGE_HU, prepare

OFFICIAL = Compose(
    [
        Spacing(pixdim=(1.5, 1.5, 1.5), mode="bilinear"),
        CropForeground(allow_smaller=True, margin=10),
        ScaleIntensityRange(*RANGE_HU, 0.0, 1.0, clip=True),
        Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
    ]
)
AXES = {
    "upright": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.diag([-1.0, 1.0, -1.0])[:, [2, 0, 1]],
    "oblique": strategies.rotation(11),
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("spacing_mm", [(0.8, 0.9, 2.5), (3.0, 3.0, 3.0), (1.5, 1.5, 1.5)])
def test_the_prepared_image_is_the_official_one(axes, spacing_mm):
    rng = np.random.default_rng(4)
    array = rng.normal(-900, 60, (26, 50, 60)).astype(np.float32)
    array[4:20, 20:45, 15:50] += rng.normal(950, 400, (16, 25, 35)).astype(np.float32)
    grid = Grid(array.shape, affine_from_parts(spacing_mm, AXES[axes], (-12.0, 33.0, 80.0)))
    values, sampling = prepare(array, grid)
    image = torch.from_numpy(transpose_kji_to_ijk(array).copy())[None]
    official = OFFICIAL(MetaTensor(image, affine=torch.from_numpy(grid.ijk_to_ras.copy())))
    assert values.shape == official.shape[1:] == sampling.shape
    np.testing.assert_allclose(values, official[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(sampling.grid.ijk_to_ras, official.affine.numpy(), atol=1e-6)


def test_an_image_of_air_is_kept_whole():
    grid = Grid((4, 5, 6), np.diag([1.5, 1.5, 1.5, 1]))
    values, _ = prepare(np.full((4, 5, 6), -1000, np.int16), grid)
    assert values.shape == (6, 5, 4)
    assert (values == 0).all()
