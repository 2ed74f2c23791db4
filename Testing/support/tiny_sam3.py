"""Small networks of SAM 3 with weights made from the names of the published file's keys."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from functools import cache

import torch
from key_made_weights import tensor_from_key
from references import KEPT_HERE

from PromptSegLib.predictors import registry
from PromptSegLib.predictors.sam3.concepts import Sam3Concepts
from PromptSegLib.predictors.sam3.names import detector_from_published, tracker_from_published
from PromptSegLib.predictors.sam3.network import Sam3, sam3_detector, sam3_tracker
from PromptSegLib.predictors.sam3.predictor import Sam3Predictor
from PromptSegLib.weights.catalogue import load_catalogue

KEYS = KEPT_HERE / "sam3_keys.json"
"""Of sam3.pt: names and shapes, as the authors' own code makes them."""

SIDE, BLOCKS, LAYERS = 112, 3, 1
BACKBONE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "window_size": 4,
    "global_attn_indexes": [1],
    "pretrain_image_size": 56,
}
TINY_SAM3 = {"image_size": SIDE, "backbone": BACKBONE, "memory_attention_num_layers": LAYERS}
TEXT = {
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 48,
    "projection_dim": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "hidden_act": "gelu",
    "bos_token_id": 598,
    "eos_token_id": 599,
}
TINY_DETECTOR = {
    "image_size": SIDE,
    "backbone": BACKBONE,
    "text_config": TEXT,
    "geometry_encoder_config": {"num_layers": LAYERS},
    "detr_encoder_config": {"num_layers": LAYERS},
    "detr_decoder_config": {"num_layers": LAYERS, "num_queries": 20},
}
_LAYER = re.compile(r"trunk\.blocks\.(\d+)\.|(?:resblocks|geometry_encoder\.encode|coder\.layers)\.(\d+)\.")


def published_shapes():
    """Return {key: (shape, type's name)} of sam3.pt."""
    return {key: (tuple(shape), dtype) for key, (shape, dtype) in json.loads(KEYS.read_text()).items()}


def names_of(key, shape, dtype):
    """Return the tracker's and the detector's names of what the published file calls `key`."""
    alone = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")}
    tracker = tracker_from_published(alone | {"tracker.": alone[key]})
    return set(tracker) - {""}, set(detector_from_published(alone | {"detector.": alone[key]})) - {""}


@cache
def tiny_sam3_shapes():
    """Return {key: (shape, type's name)} of a small model's published file."""
    with torch.device("meta"):
        tracker = sam3_tracker(**TINY_SAM3).state_dict()
        detector = sam3_detector(**TINY_DETECTOR).state_dict()
    found = {}
    for key, (shape, dtype) in published_shapes().items():
        layer = _LAYER.search(key)
        if layer and (int(layer[1]) >= BLOCKS if layer[1] else key.startswith("detector") and int(layer[2]) >= LAYERS):
            continue
        if key.startswith("tracker.transformer") and layer and int(layer[2]) >= LAYERS:
            continue
        in_tracker, in_detector = names_of(key, shape, dtype)
        here = [tracker[name] for name in in_tracker if name in tracker] or [
            detector[name] for name in in_detector if name in detector
        ]
        found[key] = (_published_shape(key, here, shape), dtype)
    return found


def _published_shape(key, here, shape):
    if not here:
        return shape
    small = list(here[0].shape)
    if "in_proj" in key or ".qkv." in key:
        small[0] *= 3
    elif key.endswith("trunk.pos_embed"):
        small[1] += 1
    elif key.endswith("text_projection"):
        small.reverse()
    elif ".point_embeddings." in key:
        small[0] = 1
    return tuple(small)


@cache
def tiny_sam3_state_dict():
    """Return key-made weights under the published names, with which what is sought is mostly thought to be there."""
    made = {}
    for key, (shape, dtype) in tiny_sam3_shapes().items():
        if dtype.startswith("complex"):
            made[key] = torch.ones((2, 3), dtype=torch.complex64)
        else:
            made[key] = tensor_from_key(key, shape, dtype)
    made["tracker.sam_mask_decoder.pred_obj_score_head.layers.2.bias"] += 2
    made["detector.transformer.decoder.presence_token_head.layers.2.bias"] += 6
    made["detector.dot_prod_scoring.prompt_proj.bias"] += 1
    made["detector.dot_prod_scoring.hs_proj.bias"] += 0.085
    return made


def tiny_sam3():
    network = Sam3(sam3_tracker(**TINY_SAM3))
    network.video.load_state_dict(tracker_from_published(tiny_sam3_state_dict()))
    return network.eval()


def tiny_detector():
    network = sam3_detector(**TINY_DETECTOR)
    network.load_state_dict(detector_from_published(tiny_sam3_state_dict()))
    return network.eval()


class TinySam3(Sam3Predictor):
    """Takes its weights from the store, as the real one does."""

    configuration = TINY_SAM3


class TinyConcepts(Sam3Concepts):
    configuration = TINY_DETECTOR


class NamedSam3(Sam3Predictor):
    """By name, for other processes too: needs no weights."""

    capabilities = replace(Sam3Predictor.capabilities, weights=())

    def published(self):
        return tiny_sam3()


class NamedConcepts(Sam3Concepts):
    capabilities = replace(Sam3Concepts.capabilities, weights=())

    def published(self):
        return tiny_concepts(self._device)


def merges():
    """Return as many merges of word pieces as the small detector knows, of a few words."""
    found = []
    for word in ("liver", "kidney", "spleen", "bright", "disk", "round", "thing", "a", "the", "vessel", "tumour"):
        left = word[0]
        for number, letter in enumerate(word[1:], start=1):
            end = "</w>" if number == len(word) - 1 else ""
            if (left, letter + end) not in found:
                found.append((left, letter + end))
            left += letter
    letters = "bcdfghjklmnpqrstvwxz"
    found += [(one, other) for one in letters for other in letters if (one, other) not in found]
    return found[: TEXT["vocab_size"] - 514]


def save_merges(path):
    path.write_text("#version: 0.2\n" + "".join(f"{one} {other}\n" for one, other in merges()), encoding="utf-8")


def tiny_concepts(device="cpu"):
    """Return the small detector as a model."""
    from PromptSegLib.predictors.sam3.concepts_model import ConceptModel

    return ConceptModel(tiny_detector(), merges(), device)


def use_tiny_sam3(folder, monkeypatch):
    """Let small weights, as Meta publishes theirs, be those of SAM 3 in this process."""
    place = folder / "weights"
    (place / "sam3").mkdir(parents=True)
    (place / "clip-words").mkdir()
    torch.save(tiny_sam3_state_dict(), place / "sam3" / "sam3.pt")
    save_merges(place / "clip-words" / "merges.txt")
    catalogue = load_catalogue()
    sha256 = hashlib.sha256((place / "sam3" / "sam3.pt").read_bytes()).hexdigest()
    file = replace(catalogue["sam3"].file(), bytes=None, sha256=sha256)
    small = {**catalogue, "sam3": replace(catalogue["sam3"], files=(file,))}
    monkeypatch.setattr("PromptSegLib.weights.store.load_catalogue", lambda: small)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setitem(registry.BUILT_IN, "sam3", "tiny_sam3:TinySam3")
    monkeypatch.setitem(registry.BUILT_IN, "sam3-text", "tiny_sam3:TinyConcepts")
    return small
