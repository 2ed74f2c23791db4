"""Small nnInteractive models: a folder as nnU-Net saves it, with weights made from key names, and a network in words.

The network in words ("closed form") answers by what is drawn into its input's channels, so that the masks of a whole
session of the official package are known: see `ClosedForm`.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

import torch
from key_made_weights import state_dict_from_keys, tensor_from_key
from references import KEPT_HERE
from torch import nn

from PromptSegLib.predictors.nninteractive.predictor import NnInteractive

CONFIGURATION = "3d_fullres_ps192_bs24"
KEYS = KEPT_HERE / "nninteractive_net_tiny_keys.json"
FEATURES, BLOCKS = (8, 16, 24, 32), (1, 2, 2, 2)


def architecture(features=FEATURES, blocks=BLOCKS):
    """The residual encoder U-Net of the official plans, with other widths."""
    stages = len(features)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
            "n_blocks_per_stage": list(blocks),
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def plans(patch=64, **changes):
    """What the official plans say, as far as the package looks at it; a cube of `patch` voxels is seen."""
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [patch] * 3,
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": architecture(),
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset225_nnInteractiveV2",
        "plans_name": "nnUNetResEncUNetLPlans_noResampling",
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration | changes},
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
    }


def checkpoint(state_dict=None):
    return {
        "network_weights": state_dict_from_keys(KEYS) if state_dict is None else state_dict,
        "trainer_name": "nnInteractiveTrainer_stub",
        "init_args": {"configuration": CONFIGURATION, "fold": 0},
    }


def save_model(folder, patch=64, decay=None, info=None, content=None):
    """Write a model. decay: None for a file as v1.0 has it, which means 0.9. info: what a newer one says it takes."""
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans(patch)))
    labels = {"background": 0, "object": 1}
    dataset = {"channel_names": {"0": "image"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    legacy = "nnInteractiveInferenceSessionV3" if decay is None else {"interaction_decay": decay, "point_radius": 4}
    (folder / "inference_session_class.json").write_text(json.dumps(legacy))
    if info is not None:
        (folder / "inference_info.json").write_text(json.dumps(info))
    torch.save(checkpoint() if content is None else content, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def save_small_model(folder, patch=64):
    """Write a key-made model of two stages, in which a prediction takes a tenth of a second.

    Its last bias is such that one voxel in 300 is taken: with more, the package would look at ever larger regions.
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    small = architecture((4, 8), (1, 1))
    network = get_network_from_plans(*small.values(), 8, 2, allow_init=False, deep_supervision=False)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            parameter.copy_(tensor_from_key(key, tuple(parameter.shape)))
        outside, inside = network(torch.randn((1, 8, 32, 32, 32), generator=torch.Generator().manual_seed(0)))[0]
        network.decoder.seg_layers[-1].bias[1] -= (inside - outside).quantile(299 / 300)
    save_model(folder, patch, content=checkpoint(network.state_dict()))
    (folder / "plans.json").write_text(json.dumps(plans(patch, architecture=small)))
    return folder


class ClosedForm(nn.Module):
    """Logits (-q, q) with q = 30 p4 - 30 p5 + 12 p2 - 12 p3 + 40 p6 - 40 p7 + 0.6 x1 + 0.05 x0 - 0.25.

    xn is channel n of the input; pn its mean over a cube of `size` voxels, 0 beyond the border. Channels: 0 image, 1
    mask so far, 2 and 3 boxes and lassos inside and outside, 4 and 5 points, 6 and 7 scribbles. Keeps its inputs.
    """

    WEIGHTS = (12.0, -12.0, 30.0, -30.0, 40.0, -40.0)

    def __init__(self, size=15):
        super().__init__()
        sizes = [[size if axis == a else 1 for axis in range(3)] for a in range(3)]
        self.pool = nn.Sequential(*[nn.AvgPool3d(s, 1, [n // 2 for n in s]) for s in sizes])
        self.inputs = []

    def forward(self, x):
        self.inputs.append(x.detach().clone())
        weights = x.new_tensor(self.WEIGHTS).reshape(1, 6, 1, 1, 1)
        # The mean of a sum is the sum of the means.
        evidence = self.pool((weights * x[:, 2:]).sum(1, keepdim=True))[:, 0]
        q = evidence + 0.6 * x[:, 1] + 0.05 * x[:, 0] - 0.25
        return torch.stack([-q, q], dim=1)


def closed_form_predictor(folder, size=9, **changes):
    """Return nnInteractive with the network in words, which sees 64 voxels; saves its model into `folder`."""
    network = ClosedForm(size)
    model = folder / "closed_form"
    if not model.exists():
        save_model(model, decay=0.9, **changes)
    return NnInteractive(model, network=network, device="cpu"), network


class NamedClosedForm(NnInteractive):
    """The network in words by name, for other processes too; NNINTERACTIVE_MODEL names the folder of its model."""

    capabilities = replace(NnInteractive.capabilities, weights=())

    def __init__(self, device="auto"):
        super().__init__(os.environ["NNINTERACTIVE_MODEL"], network=ClosedForm(9), device=device)
