"""What this depends on in the official package is as it was when its outputs were recorded."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from key_made_weights import shapes_and_aliases
from nninteractive_model import architecture, checkpoint, save_model
from references import ELSEWHERE, KEPT_HERE, TOLERANCE, Reference, needs_all_references

from PromptSegLib.errors import PredictionError, WeightsError
from PromptSegLib.predictors.nninteractive.local import LocalSession

PIECES = "nninteractive_pieces"


@pytest.fixture
def pieces():
    return Reference(KEPT_HERE, PIECES)


def test_a_point_is_drawn_as_recorded(pieces):
    from nnInteractive.interaction.point import build_point

    np.testing.assert_allclose(build_point((4, 4, 4), True, False), pieces["point_r4"])
    np.testing.assert_allclose(build_point((2, 3, 5), True, False), pieces["point_r2_3_5"])


def test_regions_to_look_at_again_are_chosen_as_recorded(pieces):
    from nnInteractive.utils.bboxes import generate_bounding_boxes

    shape = pieces["boxes_mask_shape"].tolist()
    bits = np.unpackbits(pieces["boxes_mask_packed"], count=int(np.prod(shape)))
    mask = torch.from_numpy(bits.reshape(shape))
    assert not pieces["boxes_random_fallback"]
    boxes = generate_bounding_boxes(mask, (96, 96, 96), stride="auto", margin=(24, 24, 24), max_depth=3)
    assert boxes == pieces["boxes"].tolist()


def test_thin_prompts_are_thickened_as_recorded_before_they_are_shrunk(pieces):
    from nnInteractive.utils.rounding import round_to_nearest_odd

    sizes = [round_to_nearest_odd(zoom * 2 - 1) for zoom in pieces["zoom"].tolist()]
    assert sizes == pieces["zoom_dilation_kernel"].tolist()


def test_the_network_of_a_folder_gives_the_recorded_logits(tmp_path):
    reference = Reference(KEPT_HERE, "nninteractive_net_tiny")
    network = LocalSession(save_model(tmp_path / "model"), "cpu").session.network
    with torch.inference_mode():
        logits = network(reference.tensor("input"))
    np.testing.assert_allclose(logits, reference["logits"], rtol=0, atol=TOLERANCE)
    assert not network.training


@needs_all_references
def test_the_published_network_has_the_keys_that_are_known_of_it():
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    published = architecture((32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6))
    with torch.device("meta"):
        network = get_network_from_plans(*published.values(), 8, 2, allow_init=False, deep_supervision=False)
    shapes, _ = shapes_and_aliases(ELSEWHERE / "nninteractive_resencl_assumed_keys.json")
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == {
        key: shape for key, (shape, _) in shapes.items()
    }


# What is not safe to load


def edited_plans(folder, edit):
    plans = json.loads((folder / "plans.json").read_text())
    edit(plans["configurations"]["3d_fullres_ps192_bs24"]["architecture"])
    (folder / "plans.json").write_text(json.dumps(plans))


@pytest.mark.parametrize(
    "edit",
    [
        lambda architecture: architecture.update(network_class_name="subprocess.Popen"),
        lambda architecture: architecture["arch_kwargs"].update(nonlin="os.system"),
        lambda architecture: architecture["arch_kwargs"].update(nonlin=["torch.nn.ReLU"]),
    ],
)
def test_plans_that_name_what_is_no_network_are_refused(edit, tmp_path):
    folder = save_model(tmp_path / "model")
    edited_plans(folder, edit)
    with pytest.raises(WeightsError, match="do not trust this file"):
        LocalSession(folder, "cpu")


class _Planted:
    """Makes a file when it is unpickled as Python does it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_checkpoint_that_would_run_code_is_refused_unexecuted(tmp_path):
    planted = tmp_path / "planted"
    folder = save_model(tmp_path / "model", content=checkpoint() | {"extra": _Planted(planted)})
    with pytest.raises(WeightsError, match=r"nothing in it was executed"):
        LocalSession(folder, "cpu")
    assert not planted.exists()


class _FromTraining:
    """An object that only the code that trained the model knows; makes itself known when it is made."""

    made = 0

    def __setstate__(self, state):
        type(self).made += 1


def test_what_training_left_beside_the_weights_is_not_read(tmp_path):
    left = {"logging": {"ema_fg_dice": [np.float64(0.5)]}, "optimizer_state": _FromTraining()}
    folder = save_model(tmp_path / "model", content=checkpoint() | left)
    plain = LocalSession(save_model(tmp_path / "plain"), "cpu").session.network.state_dict()
    loaded = LocalSession(folder, "cpu").session.network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in plain.items())
    assert _FromTraining.made == 0


def test_a_folder_that_is_no_model_is_refused_saying_what_it_lacks(tmp_path):
    with pytest.raises(WeightsError, match="expected one fold_"):
        LocalSession(tmp_path, "cpu")
    folder = save_model(tmp_path / "model", content={"state_dict": {}})
    with pytest.raises(WeightsError, match="expected a checkpoint of nnU-Net"):
        LocalSession(folder, "cpu")
    torch.save({"network_weights": {}, "trainer_name": "", "init_args": {}}, folder / "fold_0/checkpoint_final.pth")
    (folder / "plans.json").write_text("[]")
    with pytest.raises(WeightsError, match="expected the plans of nnU-Net"):
        LocalSession(folder, "cpu")


def test_weights_of_another_network_are_refused(tmp_path):
    content = {"network_weights": {"a": torch.zeros(1)}, "trainer_name": "nnInteractiveTrainer_stub"}
    content["init_args"] = {"configuration": "3d_fullres_ps192_bs24"}
    folder = save_model(tmp_path / "model", content=content)
    with pytest.raises(WeightsError, match=r"one that fails: .*Missing key") as refused:
        LocalSession(folder, "cpu")
    assert len(str(refused.value)) < 600


def test_a_device_that_is_not_here_is_refused(tmp_path):
    with pytest.raises(PredictionError, match="expected a device that is here, got 'mps'"):
        LocalSession(save_model(tmp_path / "model"), "mps")


def test_loading_leaves_the_threads_and_the_environment_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    threads = torch.get_num_threads()
    LocalSession(save_model(tmp_path / "model"), "cpu")
    assert torch.get_num_threads() == threads
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    assert capsys.readouterr() == ("", "")
