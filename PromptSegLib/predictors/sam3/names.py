"""SAM 3's weights by transformers' names, from either of the files that Meta publishes.

`sam3.pt` has the authors' names: `detector.…` with the image encoder, which both networks share, and two necks, and
`tracker.…`. `model.safetensors` has transformers' own names of all in one: `detector_model.…`, `tracker_model.…`,
`tracker_neck.…`. Weights of one network alone, by its own names, are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from PromptSegLib.predictors.sam2.network import from_published as from_sam2

Rule = tuple[str, str | Callable[["re.Match[str]"], str]]

_VISION = "detector.backbone.vision_backbone."
# Of all attention layers but the image encoder's the weights for queries, keys and values lie in one tensor.
_ATTENTION: tuple[Rule, ...] = ((r"\.out_proj\.", ".o_proj."),)
_TRUNK: tuple[Rule, ...] = (
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^ln_pre\.", "layer_norm."),
    (r"^blocks\.", "layers."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.attn\.qkv\.", ".attention.in_proj_"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
)
_NECK: tuple[Rule, ...] = (
    (r"dconv_2x2(_0)?\.", "scale_layers.0."),
    (r"dconv_2x2_1\.", "scale_layers.2."),
    (r"conv_1x1\.", "proj1."),
    (r"conv_3x3\.", "proj2."),
)
# What SAM 2's weights call otherwise.
_TRACKER: tuple[Rule, ...] = (
    (r"^transformer\.encoder\.", "memory_attention."),
    (r"^maskmem_backbone\.", "memory_encoder."),
    (r"\.mlp\.lin1\.", ".mlp.layers.0."),
    (r"\.mlp\.lin2\.", ".mlp.layers.1."),
)
_LAYER: tuple[Rule, ...] = (
    (r"\.linear(\d)\.", r".mlp.fc\1."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.cross_attn_image\.", ".cross_attn."),
    *_ATTENTION,
)
_TEXT: tuple[Rule, ...] = (
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.attn\.", ".self_attn."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.c_fc\.", ".fc1."),
    (r"\.c_proj\.", ".fc2."),
)
_DECODER_NORMS = {"norm1": "vision_cross_attn", "catext_norm": "text_cross_attn", "norm2": "self_attn", "norm3": "mlp"}
_HEADS = {"presence_token_head": "presence_head", "bbox_embed": "box_head", "ref_point_head": "ref_point_head"} | {
    f"boxRPB_embed_{axis}": f"box_rpb_embed_{axis}" for axis in "xy"
}
_DECODER: tuple[Rule, ...] = (
    (r"^presence_token_out_norm\.", "presence_layer_norm."),
    (r"^norm\.", "output_layer_norm."),
    (rf"^({'|'.join(_HEADS)})\.layers\.(\d)\.", lambda m: f"{_HEADS[m[1]]}.layer{int(m[2]) + 1}."),
    (r"\.cross_attn\.", ".vision_cross_attn."),
    (r"\.ca_text\.", ".text_cross_attn."),
    (rf"^(layers\.\d+)\.({'|'.join(_DECODER_NORMS)})\.", lambda m: f"{m[1]}.{_DECODER_NORMS[m[2]]}_layer_norm."),
    (r"\.linear(\d)\.", r".mlp.fc\1."),
    *_ATTENTION,
)
_GEOMETRY: tuple[Rule, ...] = (
    (r"^encode\.", "layers."),
    (r"^img_pre_norm\.", "vision_layer_norm."),
    (r"^norm\.", "prompt_layer_norm."),
    (r"^encode_norm\.", "output_layer_norm."),
    *_LAYER,
)
_SCORING: tuple[Rule, ...] = (
    (r"^prompt_mlp\.layers\.(\d)\.", lambda m: f"text_mlp.layer{int(m[1]) + 1}."),
    (r"^prompt_mlp\.out_norm\.", "text_mlp_out_norm."),
    (r"^prompt_proj\.", "text_proj."),
    (r"^hs_proj\.", "query_proj."),
)
_MASKS: tuple[Rule, ...] = (
    (r"^mask_predictor\.mask_embed\.", "mask_embedder."),
    (r"^instance_seg_head\.", "instance_projection."),
    (r"^semantic_seg_head\.", "semantic_projection."),
    (r"^cross_attend_prompt\.", "prompt_cross_attn."),
    (r"^cross_attn_norm\.", "prompt_cross_attn_norm."),
    *_ATTENTION,
)
# Where a part of the detector lies in both, and how its keys differ.
_DETECTOR: tuple[tuple[str, str, tuple[Rule, ...]], ...] = (
    (_VISION + "trunk.", "vision_encoder.backbone.", _TRUNK),
    (_VISION + "convs.", "vision_encoder.neck.fpn_layers.", _NECK),
    ("detector.backbone.language_backbone.encoder.", "text_encoder.", _TEXT),
    ("detector.backbone.language_backbone.resizer.", "text_projection.", ()),
    ("detector.geometry_encoder.", "geometry_encoder.", _GEOMETRY),
    ("detector.transformer.encoder.", "detr_encoder.", _LAYER),
    ("detector.transformer.decoder.", "detr_decoder.", _DECODER),
    ("detector.dot_prod_scoring.", "dot_product_scoring.", _SCORING),
    ("detector.segmentation_head.", "mask_decoder.", _MASKS),
)
# Of clicks on the detector, which transformers' has not, and of what it computes itself.
_UNUSED = re.compile(r"^geometry_encoder\.points_|\.rotary_emb\.|\.freqs_cis$|^text_encoder\.text_projection\.bias$")


def tracker_from_published(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of `sam3_tracker` by its names; what belongs to the detector is left out."""
    if any(key.startswith("tracker.") for key in state_dict):
        found = _part(state_dict, _VISION + "trunk.", "vision_encoder.backbone.", _TRUNK)
        found |= _part(state_dict, _VISION + "sam2_convs.", "vision_encoder.neck.fpn_layers.", _NECK)
        return _separated(found) | from_sam2(_part(state_dict, "tracker.", "", _TRACKER))
    if any(key.startswith("tracker_model.") for key in state_dict):
        shared = "vision_encoder.backbone."
        found = _part(state_dict, "detector_model." + shared, shared) | _part(state_dict, "tracker_model.", "")
        return found | _part(state_dict, "tracker_neck.", "vision_encoder.neck.")
    return dict(state_dict)


def detector_from_published(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of `sam3_detector` by its names; what belongs to the tracker is left out."""
    if any(key.startswith("detector.") for key in state_dict):
        found: dict[str, Any] = {}
        for place, name, rules in _DETECTOR:
            found |= _part(state_dict, place, name, rules)
        return _separated(found)
    if any(key.startswith("detector_model.") for key in state_dict):
        return _part(state_dict, "detector_model.", "")
    return dict(state_dict)


def _part(state_dict: Mapping[str, Any], place: str, name: str, rules: Iterable[Rule] = ()) -> dict[str, Any]:
    """Return the entries that begin with `place`, whose keys then begin with `name` and follow `rules`."""
    found = {}
    for key, value in state_dict.items():
        if key.startswith(place):
            inner = key.removeprefix(place)
            for pattern, replacement in rules:
                inner = re.sub(pattern, replacement, inner)
            if not _UNUSED.search(name + inner):
                found[name + inner] = value
    return found


def _separated(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return entries for queries, keys and values apart, and the few tensors that have another shape."""
    found = {}
    for key, value in state_dict.items():
        if key == "vision_encoder.backbone.embeddings.position_embeddings":
            value = value[:, 1:]  # the first stood for the whole image, before
        elif key == "text_encoder.text_projection.weight":
            value = value.T
        before, inside, kind = key.partition(".in_proj_")
        if inside:
            for part, tensor in zip("qkv", torch.chunk(value, 3), strict=True):
                found[f"{before}.{part}_proj.{kind}"] = tensor
        else:
            found[key] = value
    return found
