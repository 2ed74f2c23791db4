"""A small network of VoxTell's own class, with weights made from key names, in a folder as nnU-Net saves it."""

from __future__ import annotations

import json

import numpy as np
import strategies
import torch
from key_made_weights import tensor_from_key

from PromptSegLib.geometry import affine_from_parts
from PromptSegLib.volume import Volume

PATCH = 16
WIDTH = 16  # of a text's vector
TEXTS = ("liver", "left kidney", "a small lesion in the right lung")
STAGES = 6
AXES = {
    "upright": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, -1.0]),
    "permuted": np.eye(3)[:, [2, 0, 1]],
    "oblique": strategies.rotation(11),
}


def tiny_class():
    """Return the official network's class with other sizes: that of the package has them in its code."""
    from voxtell.model.voxtell_model import VoxTellModel

    class TinyVoxTell(VoxTellModel):
        TRANSFORMER_NUM_LAYERS = 1
        DECODER_CONFIGS = {n: {"channels": 4, "shape": (PATCH >> min(n, 3),) * 3} for n in range(STAGES)}  # noqa: RUF012

        def __init__(self, **kwargs):
            small = {"text_embedding_dim": WIDTH, "num_heads": 2, "query_dim": 16, "project_to_decoder_hidden_dim": 8}
            super().__init__(**{**kwargs, **small})

    return TinyVoxTell


def plans():
    kwargs = {
        "n_stages": STAGES,
        "features_per_stage": [4] * STAGES,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * STAGES,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * 3, *[[1, 1, 1]] * 2],
        "n_blocks_per_stage": [1] * STAGES,
        "n_conv_per_stage_decoder": [1] * (STAGES - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    architecture = {
        "network_class_name": "voxtell",
        "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    return {"configurations": {"3d_fullres": {"patch_size": [PATCH] * 3, "architecture": architecture}}}


def bank(texts=TEXTS):
    """Vectors of texts, half precision, as they are published."""
    return np.stack([tensor_from_key(f"text {text}", (WIDTH,)).numpy() * 10 for text in texts]).astype(np.float16)


def use_tiny_voxtell(monkeypatch):
    """Let the package build the small network in place of its own."""
    monkeypatch.setattr("voxtell.inference.predictor.VoxTellModel", tiny_class())


def save_tiny_voxtell(folder, plan=None, **beside):
    """Write a model into `folder`, with its stored vectors, as the store wants it."""
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plan or plans()))
    official = plans()["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    layers = {name: _located(official[name]) for name in ("conv_op", "norm_op", "nonlin")}
    network = tiny_class()(input_channels=1, **{**official, **layers}, decoder_layer=4, deep_supervision=False)
    state = network.state_dict()
    state = {k: v if k == "pos_embed" else tensor_from_key(k, tuple(v.shape)) for k, v in state.items()}
    content = {"network_weights": state, "trainer_name": "trainer", "init_args": {"configuration": "3d_fullres"}}
    torch.save(content | beside, folder / "fold_0" / "checkpoint_final.pth")
    np.savez(folder / "text_embeddings.npz", labels=np.array(TEXTS), embeddings=bank())
    return folder


def _located(name):
    module, _, attribute = name.rpartition(".")
    return getattr(__import__(module, fromlist=[attribute]), attribute)


def image(axes="upright", shape_kji=(18, 22, 14)):
    array = np.random.default_rng(1).normal(100, 300, shape_kji).astype(np.int16)
    array[:, :3] = 0  # what is 0 at the edge is cropped
    return Volume(array, affine_from_parts(np.array([0.8, 1.0, 2.5]), AXES[axes], (-20.0, 30.0, 40.0)))


def official_predictor(folder):
    from voxtell.inference.predictor import VoxTellPredictor

    bank_path = str(folder / "text_embeddings.npz")
    return VoxTellPredictor(str(folder), torch.device("cpu"), embedding_bank=bank_path)
