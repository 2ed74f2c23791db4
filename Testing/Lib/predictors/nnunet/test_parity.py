"""Whole files in, probabilities and masks out: what nnU-Net's own predictor answers.

The cases are those of `nnunet_folders`; Testing/Data/parity/make_nnunet.py made the answers.
"""

from __future__ import annotations

import nnunet_folders
import numpy as np
import pytest
from references import KEPT_HERE

from PromptSegLib.imaging.co_registration import as_image
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.nnunet.predictor import NnUNet, channel_names
from PromptSegLib.predictors.nnunet.result_folder import read_result_folder
from PromptSegLib.session.session import Session

ANSWERS = dict(np.load(KEPT_HERE / "nnunet.npz"))
CASES = sorted(key.removesuffix("_labels") for key in ANSWERS if key.endswith("_labels"))


@pytest.mark.parametrize("case", CASES)
def test_probabilities_and_masks_are_those_of_nnunet(case, tmp_path):
    name = case.removesuffix("_mirrored")
    folder = nnunet_folders.write_results(tmp_path / "results", name)
    results = read_result_folder(folder)
    paths = nnunet_folders.write_images(tmp_path, name, len(results.channels))
    image = as_image({n: read_volume(path) for n, path in zip(channel_names(results.channels), paths, strict=True)})
    predictor = NnUNet(results, device="cpu", mirror=case != name)
    found = predictor.probabilities(image)
    assert np.abs(found[:, ::2, ::2, ::2] - ANSWERS[f"{case}_probabilities_s2"]).max() < 1e-4
    labels = ANSWERS[f"{case}_labels"]
    session = Session(image, predictor)
    keys = session.add_classes(list(results.labels.values))
    for key, wanted in zip(keys, results.labels.values.values(), strict=True):
        assert np.array_equal(session.mask(key), np.isin(labels, wanted))
