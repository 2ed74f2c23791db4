"""MedSAM sees images and gives masks as in its authors' inference."""

from __future__ import annotations

import numpy as np
import torch

from PromptSegLib.predictors.sam.medsam_transforms import MedSamFrame, resized_cubic

# What scikit-image 0.26 makes of it: resize(…, order=3, preserve_range=True, anti_aliasing=True).
RAMP = (3 * np.arange(9)[:, None] ** 2 + 17 * np.arange(6)).astype(np.uint8)
RESIZED_4_8 = [
    [2, 10, 26, 38, 51, 63, 78, 86],
    [26, 34, 50, 62, 74, 86, 102, 110],
    [80, 88, 104, 116, 128, 140, 156, 164],
    [162, 171, 184, 201, 217, 157, 129, 145],
]


def test_an_image_is_resampled_as_by_scikit_image():
    assert resized_cubic(RAMP, (4, 8)).tolist() == RESIZED_4_8


def test_grey_and_colour_become_0_to_1_without_keeping_the_aspect():
    image = np.random.default_rng(0).integers(10, 200, (30, 50, 3), dtype=np.uint8)
    seen = MedSamFrame((30, 50), 64).image(image)
    assert seen.shape == (1, 3, 64, 64)
    assert (seen.min(), seen.max()) == (0, 1)
    grey = MedSamFrame((30, 50), 64).image(np.repeat(image[..., :1], 3, axis=2))
    assert (grey[:, 0] == grey[:, 2]).all()


def test_an_image_without_contrast_is_black():
    assert not MedSamFrame((30, 50), 64).image(np.full((30, 50, 3), 9, dtype=np.uint8)).any()


def test_probabilities_are_interpolated_and_not_logits():
    low_res = torch.tensor([[[[-8.0, 2.0]]]])
    logits = MedSamFrame((1, 4), 64).logits(low_res)
    probabilities = torch.nn.functional.interpolate(low_res.sigmoid(), size=(1, 4), mode="bilinear")
    torch.testing.assert_close(logits.sigmoid(), probabilities, atol=1e-5, rtol=0)
    assert (logits > 0).tolist() == (probabilities > 0.5).tolist()
