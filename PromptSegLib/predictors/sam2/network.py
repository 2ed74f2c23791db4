"""SAM 2.1 (Ravi et al., arXiv:2408.00714), as the package transformers has it, with the names of its published weights.

    network = Sam2(sam2_video("tiny"))
    network.video.load_state_dict(from_published(state_dict))
    embedding = network.encode(images)
    low_res, iou = network.decode(embedding[:1], points, labels)

MedSAM2 (Ma et al., arXiv:2504.03600) is the tiny one for images of 512 x 512.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import Sam2VideoModel

# Logits that are fed back are no larger.
_MOST = 32.0


@dataclass(frozen=True)
class Hiera:
    """The image encoder (arXiv:2306.00989).

    width, heads: of the first of four stages; each next one has twice as many. blocks: of each stage. global_blocks:
    those that attend to the whole image, counted through all stages. windows: of the others, by stage.
    background: size of the positional embedding that is stretched over the image.
    """

    width: int
    heads: int
    blocks: Sequence[int]
    global_blocks: Sequence[int]
    windows: Sequence[int] = (8, 4, 14, 7)
    background: int = 7


SIZES: Mapping[str, Hiera] = {
    "tiny": Hiera(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": Hiera(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base-plus": Hiera(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14),
    "large": Hiera(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
}


class Sam2(nn.Module):
    """The network for single images: `encode` once, then `decode` prompts. `video` remembers; see transformers."""

    def __init__(self, video: Sam2VideoModel) -> None:
        super().__init__()
        self.video = video

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that it sees."""
        return int(self.video.image_size)  # type: ignore[arg-type]

    def mask_hw(self, embedding_shape: Sequence[int]) -> tuple[int, int]:
        """Size of the masks that go in and come out."""
        height, width = self.video.backbone_feature_sizes[0]
        return int(height), int(width)

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The blocks of the image encoder."""
        return self.video.vision_encoder.backbone.blocks  # type: ignore[no-any-return]

    def new_memory(self, device: torch.device) -> Any:
        """An empty video, whose frames `video` remembers on a device."""
        from transformers import Sam2VideoInferenceSession

        return Sam2VideoInferenceSession(inference_device=device, inference_state_device=device, dtype=torch.float32)

    def encode(self, image: Tensor, *, between_blocks: Callable[[], None] = lambda: None) -> Tensor:
        """The embedding (B, F) of normalised images (B, 3, side, side): feature maps of three sizes, end to end.

        `between_blocks` is called before each block of the encoder, and may raise to end it.
        """
        hooks = [block.register_forward_pre_hook(lambda *_: between_blocks()) for block in self.blocks]
        try:
            features = self.video.get_image_features(image).fpn_hidden_states  # (h * w, B, C) each
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([one.permute(1, 0, 2).flatten(1) for one in features], dim=1)

    def features(self, embedding: Tensor) -> list[Tensor]:
        """The feature maps in an embedding (B, F), fine to coarse: (h * w, B, C) each."""
        sizes = [height * width for height, width in self.video.backbone_feature_sizes]
        channels = [*(self.video.hidden_dim // 2**level for level in (3, 2)), self.video.hidden_dim]
        parts = torch.split(embedding, [size * count for size, count in zip(sizes, channels, strict=True)], dim=1)
        return [part.reshape(len(part), size, -1).permute(1, 0, 2) for part, size in zip(parts, sizes, strict=True)]

    def positions(self) -> Tensor:
        """The positional encoding (h * w, 1, C) of the coarsest feature map."""
        size = self.video.backbone_feature_sizes[-1]
        weight = self.video.no_memory_embedding
        shape = torch.Size([1, self.video.hidden_dim, *size])
        encoding: Tensor = self.video.vision_encoder.neck.position_encoding(shape, weight.device, weight.dtype)
        return encoding.flatten(2).permute(2, 0, 1)

    def decode(
        self,
        embedding: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (1, M, h, w), see `mask_hw`, and predicted IoU (1, M) of one prompt; M is 3, or 1.

        Args:
            embedding: (1, F).
            points: (1, N, 2) as (x, y), pixels of the encoded image, (0, 0) the centre of its first one.
            labels: (1, N) of int: 1 positive, 0 negative.
            boxes: (1, 4) as (x0, y0, x1, y1).
            mask: (1, 1, h, w), logits that an earlier call returned.
            multimask: three masks for an ambiguous prompt, else one.
        """
        *fine, coarse = self.features(embedding)
        maps = [
            one.permute(1, 2, 0).reshape(1, -1, *size)
            for one, size in zip(
                [*fine, coarse + self.video.no_memory_embedding], self.video.backbone_feature_sizes, strict=True
            )
        ]
        positions, kinds = _as_points(embedding, points, labels, boxes)
        sparse, dense = self.video.prompt_encoder(
            input_points=positions,
            input_labels=kinds,
            input_boxes=None,
            input_masks=None if mask is None else mask.clamp(-_MOST, _MOST),
        )
        logits, iou, *_ = self.video.mask_decoder(
            image_embeddings=maps[-1],
            image_positional_embeddings=self.video.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            high_resolution_features=maps[:-1],
        )
        return logits[:, 0], iou[:, 0]


def _as_points(
    embedding: Tensor, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Points (1, 1, N, 2) and their kinds (1, 1, N): 2 and 3 for a box's corners, -1 for none at all."""
    positions, kinds = embedding.new_zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.int, device=embedding.device)
    if boxes is not None:
        positions, kinds = boxes.reshape(1, 2, 2), kinds.new_tensor([[2, 3]])
    if points is not None and labels is not None:
        positions, kinds = torch.cat([positions, points], dim=1), torch.cat([kinds, labels.int()], dim=1)
    if not kinds.shape[1]:
        positions, kinds = embedding.new_zeros(1, 1, 2), kinds.new_tensor([[-1]])
    return positions[:, None], kinds[:, None]


def sam2_video(hiera: Hiera | str = "tiny", image_size: int = 1024, **changes: Any) -> Sam2VideoModel:
    """Return the network, with weights that mean nothing yet, in evaluation mode.

    hiera: a name out of SIZES, or another one. image_size: side of the square it sees, a multiple of 32.
    changes: of transformers' Sam2VideoConfig.
    """
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig

    encoder = SIZES[hiera] if isinstance(hiera, str) else hiera
    widths = [encoder.width * 2**stage for stage in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=encoder.width,
        num_attention_heads=encoder.heads,
        image_size=[image_size, image_size],
        blocks_per_stage=list(encoder.blocks),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[encoder.heads * 2**stage for stage in range(4)],
        window_size_per_stage=list(encoder.windows),
        global_attention_blocks=list(encoder.global_blocks),
        window_positional_embedding_background_size=[encoder.background] * 2,
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[image_size // stride] * 2 for stride in (4, 8, 16)],
    )
    config = Sam2VideoConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config={"image_size": image_size},
        image_size=image_size,
        memory_attention_rope_feat_sizes=[image_size // 16] * 2,
        **changes,
    )
    network = Sam2VideoModel(config)
    network.train(False)
    return network


# Of the prompt encoder's path for masks; the others have no weights.
_MASK_LAYERS = {"0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"}
# From names of the published weights to those in transformers, one after the other.
_NAMES = (
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.(\d)\.", lambda m: f"prompt_encoder.mask_embed.{_MASK_LAYERS[m[1]]}."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.mask_downsampler\.encoder\.(\d+)\.", lambda m: _mask_downsampler_layer(int(m[1]))),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    # Perceptrons of two or three layers.
    (r"(mlp|mlps\.\d|_head|pointer_proj)\.layers\.0\.", r"\1.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"(mlps\.\d|_head|pointer_proj)\.layers\.2\.", r"\1.proj_out."),
    (r"(mlps\.\d|_head|pointer_proj)\.layers\.1\.", r"\1.layers.0."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm(\d?)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
)
# One tensor there, two names here.
_GAUSSIAN = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_GAUSSIANS = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
_POINTS = "prompt_encoder.point_embeddings."


def from_published(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict of the published checkpoints by the names of `sam2_video`; others keep their names."""
    renamed = {_renamed(key): value for key, value in state_dict.items()}
    points = sorted(key for key in renamed if key.startswith(_POINTS))
    if points:
        renamed["prompt_encoder.point_embed.weight"] = torch.cat([renamed.pop(key) for key in points])
    if _GAUSSIAN in renamed:
        renamed.update(dict.fromkeys(_GAUSSIANS, renamed.pop(_GAUSSIAN)))
    return renamed


def _renamed(key: str) -> str:
    for pattern, replacement in _NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _mask_downsampler_layer(number: int) -> str:
    """Return the name of a layer: convolution, norm and activation by turns, a last convolution."""
    if number == 12:
        return "memory_encoder.mask_downsampler.final_conv."
    return f"memory_encoder.mask_downsampler.layers.{number // 3}.{('conv', 'layer_norm')[number % 3]}."
