"""Weights under the authors' names, and under transformers', are those of transformers' networks."""

from __future__ import annotations

import pytest
import torch
from tiny_sam3 import (
    TINY_DETECTOR,
    TINY_SAM3,
    names_of,
    published_shapes,
    tiny_detector,
    tiny_sam3,
    tiny_sam3_state_dict,
)

from PromptSegLib.predictors.sam3.names import detector_from_published, tracker_from_published
from PromptSegLib.predictors.sam3.network import sam3_detector, sam3_tracker

TRUNK = "detector.backbone.vision_backbone.trunk."
DECODER = "detector.transformer.decoder."
# What shapes alone would not tell apart.
SAME_SHAPES = {
    TRUNK + "blocks.7.norm2.weight": "vision_encoder.backbone.layers.7.layer_norm2.weight",
    TRUNK + "ln_pre.bias": "vision_encoder.backbone.layer_norm.bias",
    "detector.backbone.vision_backbone.convs.3.conv_3x3.bias": "vision_encoder.neck.fpn_layers.3.proj2.bias",
    DECODER + "layers.2.norm1.weight": "detr_decoder.layers.2.vision_cross_attn_layer_norm.weight",
    DECODER + "layers.2.catext_norm.weight": "detr_decoder.layers.2.text_cross_attn_layer_norm.weight",
    DECODER + "layers.2.norm2.weight": "detr_decoder.layers.2.self_attn_layer_norm.weight",
    DECODER + "layers.2.norm3.weight": "detr_decoder.layers.2.mlp_layer_norm.weight",
    DECODER + "layers.2.ca_text.out_proj.bias": "detr_decoder.layers.2.text_cross_attn.o_proj.bias",
    DECODER + "norm.weight": "detr_decoder.output_layer_norm.weight",
    DECODER + "presence_token_out_norm.weight": "detr_decoder.presence_layer_norm.weight",
    DECODER + "boxRPB_embed_y.layers.1.bias": "detr_decoder.box_rpb_embed_y.layer2.bias",
    DECODER + "bbox_embed.layers.0.weight": "detr_decoder.box_head.layer1.weight",
    "detector.geometry_encoder.norm.weight": "geometry_encoder.prompt_layer_norm.weight",
    "detector.geometry_encoder.encode_norm.weight": "geometry_encoder.output_layer_norm.weight",
    "detector.geometry_encoder.img_pre_norm.weight": "geometry_encoder.vision_layer_norm.weight",
    "detector.geometry_encoder.encode.1.norm3.bias": "geometry_encoder.layers.1.layer_norm3.bias",
    "detector.dot_prod_scoring.prompt_proj.weight": "dot_product_scoring.text_proj.weight",
    "detector.dot_prod_scoring.hs_proj.weight": "dot_product_scoring.query_proj.weight",
    "detector.segmentation_head.cross_attn_norm.bias": "mask_decoder.prompt_cross_attn_norm.bias",
    "detector.backbone.language_backbone.encoder.transformer.resblocks.3.ln_2.weight": (
        "text_encoder.text_model.encoder.layers.3.layer_norm2.weight"
    ),
    "tracker.transformer.encoder.layers.1.norm2.weight": "memory_attention.layers.1.layer_norm2.weight",
    "tracker.transformer.encoder.norm.weight": "memory_attention.layer_norm.weight",
    "tracker.maskmem_backbone.mask_downsampler.encoder.4.bias": (
        "memory_encoder.mask_downsampler.layers.1.layer_norm.bias"
    ),
    "tracker.sam_mask_decoder.transformer.layers.1.mlp.lin1.bias": "mask_decoder.transformer.layers.1.mlp.proj_in.bias",
    "tracker.no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
}


@pytest.mark.parametrize("part", ["tracker", "detector"])
def test_the_published_keys_fit_strictly(part):
    make, convert = {
        "tracker": (sam3_tracker, tracker_from_published),
        "detector": (sam3_detector, detector_from_published),
    }[part]
    published = {
        key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for key, (shape, dtype) in published_shapes().items()
    }
    with torch.device("meta"):
        network = make()
    network.load_state_dict(convert(published), strict=True, assign=True)


@pytest.mark.parametrize("key", SAME_SHAPES)
def test_what_has_the_same_shape_is_not_mistaken(key):
    shape, dtype = published_shapes()[key]
    assert SAME_SHAPES[key] in set().union(*names_of(key, shape, dtype))


def test_queries_keys_and_values_are_told_apart():
    published = tiny_sam3_state_dict()
    tracker, detector = tracker_from_published(published), detector_from_published(published)
    q, k, v = published[TRUNK + "blocks.1.attn.qkv.weight"].chunk(3)
    text = "detector.backbone.language_backbone.encoder."
    for found in (tracker, detector):
        names = [f"vision_encoder.backbone.layers.1.attention.{part}_proj.weight" for part in "qkv"]
        assert all(torch.equal(found[name], value) for name, value in zip(names, (q, k, v), strict=True))
        positions = found["vision_encoder.backbone.embeddings.position_embeddings"]
        assert torch.equal(positions, published[TRUNK + "pos_embed"][:, 1:])
    biases = published[text + "transformer.resblocks.0.attn.in_proj_bias"].chunk(3)
    names = [f"text_encoder.text_model.encoder.layers.0.self_attn.{part}_proj.bias" for part in "qkv"]
    assert all(torch.equal(detector[name], value) for name, value in zip(names, biases, strict=True))
    assert torch.equal(detector["text_encoder.text_projection.weight"], published[text + "text_projection"].T)


def test_the_file_in_transformers_format_gives_the_same_weights():
    """As `Sam3VideoModel` is saved: both networks, whose image encoder is kept once, and the tracker's neck apart."""
    tracker, detector = tiny_sam3().video.state_dict(), tiny_detector().state_dict()
    both = {f"detector_model.{key}": value for key, value in detector.items()}
    for key, value in tracker.items():
        if key.startswith("vision_encoder.neck."):
            both[key.replace("vision_encoder.neck.", "tracker_neck.")] = value
        elif not key.startswith("vision_encoder."):
            both[f"tracker_model.{key}"] = value
    for make, convert, options, expected in (
        (sam3_tracker, tracker_from_published, TINY_SAM3, tracker),
        (sam3_detector, detector_from_published, TINY_DETECTOR, detector),
    ):
        found = convert(both)
        assert all(torch.equal(found[key], value) for key, value in expected.items())
        make(**options).load_state_dict(found, strict=True)
        assert convert(expected).keys() == expected.keys(), "its own names are taken as they are"
