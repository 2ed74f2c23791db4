"""Small networks of each kind with weights made from key names, for complete paths in a second."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from key_made_weights import state_dict_from_keys
from references import KEPT_HERE

from PromptSegLib.predictors.sam.config import SamConfig
from PromptSegLib.predictors.sam.network import sam_med2d, sam_vit_b
from PromptSegLib.predictors.sam.predictor import FtSam, SamMed2D, SamMed2DNoAdapter
from PromptSegLib.predictors.sam2.network import Hiera, Sam2, from_published, sam2_video
from PromptSegLib.predictors.sam_med3d.network import SAMMed3D
from PromptSegLib.predictors.sam_med3d.predictor import SamMed3D, SamMed3DCvpr
from PromptSegLib.predictors.sam_unet.network import SamUNet
from PromptSegLib.predictors.sam_unet.predictor import SamUNet34
from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet
from PromptSegLib.weights.catalogue import load_catalogue

TINY_SAM = {
    "image_size": 256,
    "width": 48,
    "depth": 4,
    "heads": 3,
    "window": 7,
    "global_blocks": (1, 3),
    "embedding": 64,
}
TINY_MED3D = {
    "image_size": 64,
    "width": 48,
    "depth": 3,
    "heads": 4,
    "global_blocks": (1,),
    "prompt_width": 48,
}
TINY_MED2D = {"width": 96, "depth": 4, "heads": 3, "global_blocks": (1, 3)}


def key_made(network, keys_name, part=None):
    """Give a network the weights of a key list kept in Testing/Data/parity; the list may hold more than it has."""
    state_dict = state_dict_from_keys(KEPT_HERE / f"{keys_name}.json", part)
    network.load_state_dict({key: state_dict[key] for key in network.state_dict()}, assign=True)
    return network.eval()


def tiny_sam():
    return key_made(sam_vit_b(**TINY_SAM), "sam_tiny_keys")


def tiny_med2d(**changes):
    return key_made(sam_med2d(**TINY_MED2D, **changes), "sam_med2d_tiny_keys")


TINY_SAM2 = {
    "hiera": Hiera(16, 1, (1, 1, 3, 1), (3, 4)),
    "image_size": 256,
    "memory_attention_num_layers": 2,
}


def tiny_sam2_state_dict():
    """Return key-made weights under the published names, with which a structure is mostly thought to be there."""
    state_dict = state_dict_from_keys(KEPT_HERE / "sam2_tiny_keys.json")
    state_dict["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] += 2
    return state_dict


def tiny_sam2():
    network = Sam2(sam2_video(**TINY_SAM2))
    network.video.load_state_dict(from_published(tiny_sam2_state_dict()))
    return network.eval()


def tiny_scribbleprompt():
    return key_made(ScribblePromptUNet(width=12), "scribbleprompt_tiny_keys")


TINY_SAM_UNET = {"depth": 34, "config": SamConfig(image_size=256, width=96, heads=3)}


class TinySamUNet(SamUNet34):
    """Takes its weights from the store, as the real one does."""

    configuration = TINY_SAM_UNET


def tiny_sam_unet():
    return key_made(SamUNet(**TINY_SAM_UNET), "sam_unet_tiny_keys")


def full_size_med2d():
    with torch.device("meta"):
        network = sam_med2d()
    return key_made(network, "sam_med2d_vit_b_keys")


class TinySamMed2D(SamMed2D):
    """Takes its weights from the store, as the real one does; see `save_tiny_med2d`."""

    configuration = TINY_MED2D


class TinySamMed2DNoAdapter(SamMed2DNoAdapter):
    configuration = TINY_MED2D | {"adapters": False}


class TinyFtSam(FtSam):
    configuration = TINY_MED2D | {"adapters": False}


def save_tiny_med2d(folder):
    """Put a checkpoint of a small SAM-Med2D, as its authors save theirs, into an offline folder of weights."""
    folder = folder / "sam-med2d"
    folder.mkdir(parents=True)
    network = tiny_med2d()
    content = {"model": network.state_dict(), "optimizer": torch.optim.Adam(network.parameters())}
    torch.save(content, folder / "sam-med2d_b.pth")


class TinySamMed3D(SamMed3D):
    """Takes its weights from the store, as the real one does; see `save_tiny_med3d`."""

    configuration = TINY_MED3D


class TinySamMed3DCvpr(SamMed3DCvpr):
    configuration = TINY_MED3D


def tiny_med3d():
    network = SAMMed3D(**TINY_MED3D)
    network.load_state_dict(state_dict_from_keys(KEPT_HERE / "sam_med3d_tiny_keys.json", "t64"))
    return network.eval()


def save_tiny_med3d(folder, name="sam-med3d-turbo", **more):
    """Put a checkpoint of a small SAM-Med3D, as its authors save theirs, into an offline folder of weights.

    Returns the weights catalogue, which takes this file for the published one.
    """
    catalogue = load_catalogue()
    file = catalogue[name].files[0]
    path = folder / name / file.path
    path.parent.mkdir(parents=True)
    torch.save({"model_state_dict": tiny_med3d().state_dict() | more, "epoch": 3, "best_loss": 0.1}, path)
    file = replace(file, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return {**catalogue, name: replace(catalogue[name], files=(file,))}
