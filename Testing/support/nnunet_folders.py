"""Folders of results as nnU-Net's second version leaves them, of tiny networks with random weights.

Each of `KINDS` is a case of its own: what its plans say, and the image that suits it. Built by nnU-Net's own packages.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

UNET = "dynamic_network_architectures.architectures.unet"


def architecture(kind="PlainConvUNet", n=3, widths=(4, 8, 8), strides=None):
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    stages = len(widths)
    return {
        "network_class_name": f"{UNET}.{kind}",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(widths),
            "conv_op": f"torch.nn.modules.conv.Conv{n}d",
            "kernel_sizes": [[3] * n] * stages,
            "strides": strides or [[1] * n] + [[2] * n] * (stages - 1),
            blocks: [1] * stages,
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{n}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def resampling(order_of_data=3, **more):
    fn = "resample_data_or_seg_to_shape"
    others = {"order_z": 0, "force_separate_z": None, **more}
    return {
        "resampling_fn_data": fn,
        "resampling_fn_seg": fn,
        "resampling_fn_probabilities": fn,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": order_of_data, **others},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **others},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **others},
    }


def torch_resampling():
    fn = "resample_torch_fornnunet"
    kwargs = {"memefficient_seg_resampling": False, "force_separate_z": False}
    return {
        "resampling_fn_data": fn,
        "resampling_fn_seg": fn,
        "resampling_fn_probabilities": fn,
        "resampling_fn_data_kwargs": {"is_seg": False, **kwargs},
        "resampling_fn_seg_kwargs": {"is_seg": True, **kwargs},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, **kwargs},
    }


def configuration(spacing, patch, schemes=("ZScoreNormalization",), masked=(False,), **more):
    return {
        "data_identifier": "nnUNetPlans_tiny",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "spacing": list(spacing),
        "median_image_size_in_voxels": [20.0] * len(patch),
        "normalization_schemes": list(schemes),
        "use_mask_for_norm": list(masked),
        "architecture": architecture(n=len(patch)),
        "batch_dice": False,
        **resampling(),
        **more,
    }


def ct_numbers():
    return {"max": 1200.0, "mean": 40.0, "median": 30.0, "min": -900.0, "percentile_00_5": -250.0}


LABELS = {"background": 0, "liver": 1, "tumour": 2}
CT = {number: {**ct_numbers(), "percentile_99_5": 400.0, "std": 120.0} for number in "01"}


def kinds():
    """Return what each case is made of, by its name; `configurations` first what is asked for, then those before it."""
    masked = ("ZScoreNormalization", "ZScoreNormalization"), (True, True)
    return {
        "plain": {
            "configurations": {"3d_fullres": configuration((1.2, 1.0, 0.9), (16, 12, 12), ("CTNormalization",))},
            "folds": ("0", "1"),
            "mirror_axes": (0, 1, 2),
        },
        "slices": {"configurations": {"2d": configuration((1.1, 1.3), (16, 16))}, "mirror_axes": (0, 1)},
        "residual": {
            "configurations": {
                "3d_fullres": configuration(
                    (1.0, 1.0, 1.0), (12, 16, 12), architecture=architecture("ResidualEncoderUNet")
                )
            },
        },
        "regions": {
            "configurations": {"3d_fullres": configuration((1.0, 1.1, 1.2), (12, 12, 12))},
            "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3},
            "order": (1, 2, 3),
        },
        "masked": {
            "configurations": {"3d_fullres": configuration((1.0, 1.0, 1.0), (12, 12, 12), *masked)},
            "channels": {"0": "T1w", "1": "FLAIR"},
        },
        "turned": {
            "configurations": {"3d_fullres": configuration((0.9, 1.4, 1.1), (12, 12, 16))},
            "transpose": (2, 0, 1),
            "mirror_axes": (0, 2),
        },
        "thick": {
            "configurations": {"3d_fullres": configuration((4.0, 1.2, 1.2), (4, 16, 16))},
            "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        },
        "reoriented": {
            "configurations": {"3d_fullres": configuration((1.0, 1.1, 1.2), (12, 12, 12), **torch_resampling())},
            "reader": "SimpleITKIOWithReorient",
        },
        "cascade": {
            "configurations": {
                "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
                "3d_lowres": configuration((2.0, 2.0, 2.0), (8, 8, 8), next_stage="3d_cascade_fullres"),
                "3d_fullres": configuration((1.2, 1.0, 0.9), (12, 12, 12)),
            },
            "trained": ("3d_cascade_fullres", "3d_lowres"),
        },
    }


def image_of(name, channels, seed=0):
    """Return smooth noise in a box amid zeros : (channel, k, j, i) int16, oblong and anisotropic, and its spacing."""
    rng = np.random.default_rng(seed)
    spacing_xyz = {"thick": (0.8, 0.9, 4.5), "slices": (1.0, 0.9, 3.5)}.get(name, (0.8, 1.1, 1.3))
    shape = (7, 22, 26) if name in ("thick", "slices") else (18, 17, 23)
    values = rng.normal(0, 260, (channels, *shape))
    for axis in (1, 2, 3):
        values += np.roll(values, 1, axis) + np.roll(values, 2, axis)
    values += 300
    array = np.zeros(values.shape, np.int16)
    inside = (slice(None), slice(1, None), slice(2, -3), slice(1, -2))
    array[inside] = np.where(np.abs(values[inside]) < 40, 0, values[inside]).clip(-1500, 2500)
    return array, spacing_xyz


def write_images(folder, name, channels):
    """Write the case's images, one file a channel, turned as scanners turn them; return the paths."""
    array, spacing = image_of(name, channels)
    paths = []
    for number, channel in enumerate(array):
        image = sitk.GetImageFromArray(channel)
        image.SetSpacing(spacing)
        image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1) if name == "reoriented" else (-1, 0, 0, 0, -1, 0, 0, 0, 1))
        path = Path(folder, f"case_{number:04d}.nii.gz")
        sitk.WriteImage(image, str(path))
        paths.append(path)
    return paths


def parts_of(name):
    """Return (plans, dataset, configurations that were trained) of a case."""
    kind = kinds()[name]
    configurations = copy.deepcopy(kind["configurations"])
    if "strides" in kind:
        configurations["3d_fullres"]["architecture"] = architecture(strides=kind["strides"])
    transpose = list(kind.get("transpose", (0, 1, 2)))
    plans = {
        "dataset_name": f"Dataset900_{name}",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [20, 20, 20],
        "image_reader_writer": kind.get("reader", "SimpleITKIO"),
        "transpose_forward": transpose,
        "transpose_backward": np.argsort(transpose).tolist(),
        "configurations": configurations,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": CT,
    }
    dataset = {
        "channel_names": kind.get("channels", {"0": "CT"}),
        "labels": kind.get("labels", LABELS),
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "licence": "CC0",
    }
    if "order" in kind:
        dataset["regions_class_order"] = list(kind["order"])
    return plans, dataset, kind.get("trained", tuple(configurations)[:1])


def network_of(plans, dataset, name, seed):
    """Return the network as nnU-Net builds it, with random weights whose logits are a few units."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(copy.deepcopy(plans))
    how = manager.get_configuration(name)
    torch.manual_seed(seed)
    network = get_network_from_plans(
        how.network_arch_class_name,
        how.network_arch_init_kwargs,
        how.network_arch_init_kwargs_req_import,
        determine_num_input_channels(manager, how, dataset),
        manager.get_label_manager(dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    with torch.no_grad():
        for layer in network.decoder.seg_layers:
            layer.weight.mul_(6)
    return network


def write_results(root, name):
    """Write the case's folders of results below `root` as an exported model has them; return the one asked for."""
    plans, dataset, trained = parts_of(name)
    kind = kinds()[name]
    folders = []
    for number, which in enumerate(trained):
        folder = Path(root, plans["dataset_name"], f"nnUNetTrainer__nnUNetPlans__{which}")
        folder.mkdir(parents=True)
        (folder / "plans.json").write_text(json.dumps(plans))
        (folder / "dataset.json").write_text(json.dumps(dataset))
        for fold in kind.get("folds", ("0",)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network = network_of(plans, dataset, which, 10 * number + int(fold))
            place = folder / f"fold_{fold}"
            place.mkdir()
            optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99)
            content = {
                "network_weights": network.state_dict(),
                "optimizer_state": optimizer.state_dict(),
                "grad_scaler_state": None,
                "logging": {"mean_fg_dice": [np.float64(0.5)], "ema_fg_dice": [np.float32(0.5)]},
                "_best_ema": np.float64(0.5),
                "current_epoch": 1,
                "init_args": {
                    "plans": plans, "configuration": which, "fold": int(fold), "dataset_json": dataset,
                    "device": torch.device("cpu"),
                },
                "trainer_name": "nnUNetTrainer",
                "inference_allowed_mirroring_axes": kind.get("mirror_axes"),
            }  # fmt: skip
            torch.save(content, place / "checkpoint_final.pth")
        folders.append(folder)
    return folders[0]
