"""Folders of results as nnU-Net's first version leaves them, of tiny networks with random weights."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from PromptSegLib.predictors.names.plain_unet import PlainUNet

STRIDES, KERNELS = [[1, 2, 2], [2, 2, 2]], [[1, 3, 3], [3, 3, 3], [3, 3, 3]]


def write_version1(root, *, folds=2, spacing=(1.4, 1.1, 1.2), transpose=(0, 1, 2), schemes=("CT",), masked=(False,)):
    """Write them as `3d_fullres/Task003_Liver/trainer__plans`; return the folder and the networks of the folds."""
    folder = Path(root, "3d_fullres", "Task003_Liver", "nnUNetTrainerV2__nnUNetPlansv2.1")
    numbers = {"mean": np.float32(50.0), "sd": np.float64(110.0), "percentile_00_5": -200.0, "percentile_99_5": 350.0}
    plans = {
        "num_stages": 1,
        "num_modalities": len(schemes),
        "modalities": {n: f"{scheme.lower()}{n}" for n, scheme in enumerate(schemes)},
        "normalization_schemes": OrderedDict(enumerate(schemes)),
        "dataset_properties": {"intensityproperties": OrderedDict(dict.fromkeys(range(len(schemes)), numbers))},
        "list_of_npz_files": ["/somewhere/liver_0.npz"],
        "original_spacings": [np.array([1.0, 0.8, 0.8])],
        "num_classes": 2,
        "all_classes": [1, 2],
        "base_num_features": 4,
        "use_mask_for_norm": OrderedDict(enumerate(masked)),
        "keep_only_largest_region": None,
        "transpose_forward": list(transpose),
        "transpose_backward": np.argsort(transpose).tolist(),
        "plans_per_stage": {
            0: {
                "batch_size": 2,
                "num_pool_per_axis": [1, 2, 2],
                "patch_size": np.array([12, 16, 16]),
                "current_spacing": np.array(spacing),
                "do_dummy_2D_data_aug": False,
                "pool_op_kernel_sizes": STRIDES,
                "conv_kernel_sizes": KERNELS,
            }
        },
        "preprocessor_name": "GenericPreprocessor",
        "conv_per_stage": 2,
    }
    folder.mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(pickle.dumps(plans))
    networks = []
    for fold in range(folds):
        torch.manual_seed(fold)
        network = PlainUNet(len(schemes), 3, widths=(4, 8, 16), strides=STRIDES, kernels=KERNELS)
        networks.append(network.eval())
        place = folder / f"fold_{fold}"
        place.mkdir()
        checkpoint = place / "model_final_checkpoint.model"
        torch.save({"epoch": 1, "state_dict": network.state_dict(), "plot_stuff": ([], [])}, checkpoint)
        init = ("/plans.pkl", fold, "/out", "/data", True, 0, True, False, True)
        told = {"init": init, "name": "nnUNetTrainerV2", "class": "<class>", "plans": plans}
        checkpoint.with_name(f"{checkpoint.name}.pkl").write_bytes(pickle.dumps(told))
    return folder, networks
