"""SAT sees an image as its official script prepares it."""

from __future__ import annotations

import numpy as np
import pytest
from references import FOLDERS
from sampling import linear_back
from volume_references import VolumeReference

from PromptSegLib.geometry import Grid, transpose_kji_to_ijk
from PromptSegLib.predictors.sat.preparation import prepare, standardise


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(("name", "is_ct"), [("sat_prep", True), ("sat_prep_mr", False)])
def test_the_prepared_image_is_the_official_one(folder, name, is_ct):
    reference = VolumeReference(folder, name)
    image = transpose_kji_to_ijk(reference["volume"])
    values, sampling = prepare(image, Grid(image.shape, reference["affine"]), is_ct=is_ct)
    reference.assert_met("processed", values[None])
    assert sampling.shape == values.shape
    if "processed_shape" in reference:
        assert values.shape == tuple(reference["processed_shape"][1:])


def test_a_mask_of_the_prepared_image_comes_back_to_its_place():
    image = np.full((12, 20, 24), -100, np.int16)
    image[3:9, 4:16, 5:20] = 200
    grid = Grid(image.shape, np.diag([-0.8, 1.3, 2.5, 1.0]))
    _, sampling = prepare(image, grid, is_ct=True)
    mask = sampling.linear(image, beyond=None) > 50
    back = linear_back(sampling, mask.astype(np.float32), beyond=0.0) > 0.5
    expected = image > 0
    assert 2 * (back & expected).sum() / (back.sum() + expected.sum()) > 0.9
    assert not back[:, :2].any()


def test_an_image_without_anything_above_zero_is_kept_whole():
    values, _ = prepare(np.full((4, 5, 6), -7, np.int16), Grid((4, 5, 6), np.diag([1.0, 1, 3, 1])), is_ct=True)
    assert values.shape == (6, 5, 4)
    assert (values == 0).all()


def test_ct_is_clipped_to_its_range_and_the_rest_between_percentiles():
    values = np.linspace(-3000, 3000, 1001, dtype=np.float32)
    for is_ct, (low, high) in ((True, (-500, 1000)), (False, np.percentile(values, (0.5, 99.5)))):
        clipped = values.clip(low, high)
        np.testing.assert_allclose(
            standardise(values, is_ct=is_ct), (clipped - clipped.mean()) / clipped.std(), atol=1e-4
        )
