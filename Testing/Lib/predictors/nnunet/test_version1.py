"""nnU-Net's first version: plans as pickles, folds whose probabilities are averaged."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from references import KEPT_HERE
from version1_folders import write_version1
from volume_references import VolumeReference

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.names.model import PlannedImage
from PromptSegLib.predictors.nnunet.kind_v1 import NnUNetV1, capabilities_of_version1
from PromptSegLib.predictors.nnunet.version1 import read_version1
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume


@pytest.mark.parametrize("name", ["stu_net_prep", "stu_net_prep_aniso"])
def test_images_are_prepared_as_officially_by_what_the_plans_say(name, tmp_path):
    reference = VolumeReference(KEPT_HERE, name)
    folder, _ = write_version1(tmp_path, folds=1, spacing=tuple(reference["target_zyx"]), schemes=("nonCT",))
    affine = np.diag([*reference["spacing_xyz"], 1.0])
    [array] = reference["volume_czyx"]
    prepared = PlannedImage([Volume(array, affine)], read_version1(folder).plan, CancelToken())
    reference.assert_met("data", prepared.image.data)


def test_folds_are_averaged_and_files_are_taken_as_they_lie(tmp_path):
    folder, networks = write_version1(tmp_path, transpose=(1, 0, 2), spacing=(1.0, 1.0, 1.0))
    results = read_version1(tmp_path)
    assert results.folder == folder
    assert results.plan.classes == ("label 1", "label 2")
    values = np.random.default_rng(0).normal(60, 200, (16, 12, 16)).astype(np.float32)
    session = Session(
        Volume(values, np.diag([-1.0, -1.0, 1.0, 1.0])),
        NnUNetV1(results, capabilities_of_version1(results), device="cpu"),
    )
    keys = session.add_classes(["label 1", "label 2"])
    image = torch.from_numpy((values.clip(-200, 350) - 50) / 110).permute(1, 0, 2)[None, None]
    with torch.inference_mode():
        mean = sum(network(image).softmax(dim=1) for network in networks) / 2
    labels = mean[0].argmax(dim=0).permute(1, 0, 2).numpy()
    assert [int(session.mask(key).sum()) for key in keys] == [int((labels == n).sum()) for n in (1, 2)]
    assert all(np.array_equal(session.mask(key), labels == n) for n, key in enumerate(keys, start=1))


def test_what_is_background_is_left_out_of_the_normalisation(tmp_path):
    folder, _ = write_version1(tmp_path, folds=1, spacing=(1.0, 1.0, 1.0), schemes=("nonCT",), masked=(True,))
    values = np.zeros((14, 12, 10), np.float32)
    values[2:-2, 2:-2, 2:-2] = np.random.default_rng(0).normal(100, 10, (10, 8, 6))
    values[2, 2, :8] = 0
    data = PlannedImage([Volume(values)], read_version1(folder).plan, CancelToken()).image.data[0]
    inside = values[2:-2, 2:-2, 2:-2] != 0
    assert data[inside].mean() == pytest.approx(0, abs=1e-5)
    assert data[inside].std() == pytest.approx(1, abs=1e-5)
    assert not data[~inside].any()


class Malicious:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/was-run",)


@pytest.mark.parametrize("content", [Malicious(), {"plans_per_stage": {}}, {"modalities": Malicious()}, 3])
def test_plans_that_are_none_or_would_run_something_are_refused(content, tmp_path):
    folder, _ = write_version1(tmp_path, folds=1)
    (folder / "plans.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError):
        read_version1(folder)
