"""MONAI bundles as the model zoo has them, of tiny networks with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

NETWORKS = {
    "unet": {
        "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8, 8],
        "strides": [2, 2], "num_res_units": 1, "norm": "batch",
    },
    "unet++": {
        "_target_": "BasicUNetPlusPlus", "spatial_dims": 3, "in_channels": 1, "out_channels": 3,
        "features": [4, 4, 8, 8, 8, 4],
    },
    "swin": {
        "_target_": "monai.networks.nets.SwinUNETR", "in_channels": 1, "out_channels": 3, "feature_size": 12,
        "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1],
    },
    "dynunet": {
        "_target_": "DynUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3,
        "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8],
    },
    "hybrid": {
        "_target_": "UNETR", "in_channels": 1, "out_channels": 3, "img_size": [32, 32, 32], "feature_size": 4,
        "hidden_size": 24, "mlp_dim": 48, "num_heads": 2,
    },
}  # fmt: skip


def inference(network, tile=(32, 32, 32)):
    """Return inference.json as the zoo's bundles for CT have it."""
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/nowhere",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
                {
                    "_target_": "ScaleIntensityRanged", "keys": "image",
                    "a_min": -300, "a_max": 600, "b_min": 0, "b_max": 1, "clip": True,
                },
                {"_target_": "EnsureTyped", "keys": "image"},
            ],
        },
        "dataset": {
            "_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing",
        },
        "inferer": {
            "_target_": "SlidingWindowInferer", "roi_size": list(tile), "sw_batch_size": 2, "overlap": 0.5,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
                    "meta_key_postfix": "meta_dict", "nearest_interp": False, "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [
            {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
             "load_dict": {"model": "@network"}},
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataset",
            "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }  # fmt: skip


METADATA = {
    "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json",
    "version": "0.1.0",
    "monai_version": "1.4.0",
    "pytorch_version": "2.4.0",
    "numpy_version": "1.24.4",
    "name": "Two organs",
    "task": "Two organs in CT",
    "description": "A tiny network for tests",
    "authors": "nobody",
    "copyright": "CC0",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1,
                "spatial_shape": [32, 32, 32], "dtype": "float32", "value_range": [0, 1],
                "is_patch_data": True, "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "type": "image", "format": "segmentation", "num_channels": 3, "spatial_shape": [32, 32, 32],
                "dtype": "float32", "value_range": [0, 2], "is_patch_data": True,
                "channel_def": {"0": "background", "1": "kidney_left", "2": "spleen"},
            }
        },
    },
}  # fmt: skip


def write_bundle(folder, kind="unet", change=lambda config: None, seed=0):
    """Write a bundle of one of `NETWORKS` into `folder`, its inference.json changed by `change`; return its root."""
    import monai.networks.nets as nets

    root = Path(folder, f"{kind.replace('+', 'p')}_bundle")
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    config = inference(dict(NETWORKS[kind]), (64, 64, 64) if kind == "swin" else (32, 32, 32))
    arguments = {key: value for key, value in NETWORKS[kind].items() if key != "_target_"}
    torch.manual_seed(seed)
    network = getattr(nets, NETWORKS[kind]["_target_"].rpartition(".")[2])(**arguments)
    change(config)
    (root / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root
