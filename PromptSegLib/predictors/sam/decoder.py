"""The mask decoder of the Segment Anything Model (arXiv:2304.02643, appendix A)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.sam.layers import FeedForward, Perceptron, upscale_4x


class MaskDecoder(nn.Module):
    """An image embedding and prompt embeddings to masks and the IoU that each is expected to have.

    Args:
        width: channels of the embeddings.
        multimasks: number of masks offered for an ambiguous prompt, beside the single one.
        iou_hidden: width of the hidden layers that predict the IoU.
    """

    def __init__(self, *, width: int = 256, multimasks: int = 3, iou_hidden: int = 256) -> None:
        super().__init__()
        masks = multimasks + 1
        self.transformer = TwoWayTransformer(width)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(masks, width)
        self.output_upscaling = upscale_4x(width, width // 4, width // 8, last_activation=True)
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron(width, width, width // 8) for _ in range(masks))
        self.iou_prediction_head = Perceptron(width, iou_hidden, masks)

    def forward(
        self, embedding: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor, *, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (B, M, 4h, 4w) and predicted IoU (B, M), M = 3 if `multimask` else 1.

        embedding (B, width, h, w) from the image; positions (1, width, h, w); sparse (B, N, width) and
        dense (B or 1, width, h, w or 1, 1) from the prompts.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens, features = decode_tokens(self.transformer, own, embedding, positions, sparse, dense)
        upscaled = self.output_upscaling(features)  # (B, width / 8, 4h, 4w)
        mask_tokens = tokens[:, 1 : len(own)].unbind(1)
        filters = torch.stack(
            [mlp(token) for mlp, token in zip(self.output_hypernetworks_mlps, mask_tokens, strict=True)],
            dim=1,
        )  # (B, masks, width / 8)
        chosen = slice(1, None) if multimask else slice(0, 1)
        iou = self.iou_prediction_head(tokens[:, 0])[:, chosen]
        return filtered(upscaled, filters[:, chosen]), iou


def decode_tokens(
    transformer: TwoWayTransformer,
    own: Tensor,
    embedding: Tensor,
    positions: Tensor,
    sparse: Tensor,
    dense: Tensor,
) -> tuple[Tensor, Tensor]:
    """The decoder's `own` (T, width) tokens before the prompts', and the image features, after attention.

    Returns tokens (B, T + N, width) and features (B, width, h, w); see `MaskDecoder.forward` for the rest.
    """
    batch = max(len(embedding), len(sparse), len(dense))
    if not {len(embedding), len(sparse), len(dense)} <= {1, batch}:
        raise PromptError(
            "images, points or boxes, and masks must be as many, or one for all, "
            f"got {len(embedding)}, {len(sparse)} and {len(dense)}"
        )
    tokens = torch.cat([own.expand(batch, -1, -1), sparse.expand(batch, -1, -1)], dim=1)  # (B, T + N, width)
    image = (embedding + dense).flatten(2).transpose(1, 2).expand(batch, -1, -1)  # (B, h*w, width)
    tokens, image = transformer(tokens, image, positions.flatten(2).transpose(1, 2))
    return tokens, image.transpose(1, 2).reshape(len(tokens), *embedding.shape[1:])


def filtered(features: Tensor, filters: Tensor) -> Tensor:
    """(B, M, c) filters applied at each pixel of (B, c, H, W) features: (B, M, H, W)."""
    return (filters @ features.flatten(2)).view(*filters.shape[:2], *features.shape[2:])


class TwoWayTransformer(nn.Module):
    """Tokens attend to themselves and to the image, the image to the tokens; a last look at the image after.

    Works on flat (B, N, width) sequences, so the image may have any number of axes.
    """

    def __init__(self, width: int, *, depth: int = 2, heads: int = 8, hidden: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(width, heads, hidden, first=index == 0) for index in range(depth))
        self.final_attn_token_to_image = Attention(width, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, width) and image (B, h*w, width) after attention.

        `positions` (1, h*w, width) are the image's; the tokens' are their values at first.
        """
        token_positions = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_positions, positions)
        tokens = tokens + self.final_attn_token_to_image(tokens + token_positions, image + positions, image)
        return self.norm_final_attn(tokens), image


class TwoWayBlock(nn.Module):
    """One round of `TwoWayTransformer`; the first attends to the bare tokens, and adds nothing to them."""

    def __init__(self, width: int, heads: int, hidden: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, downsample=2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, hidden, nn.ReLU())
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, downsample=2)

    def forward(
        self, tokens: Tensor, image: Tensor, token_positions: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_positions
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        placed_image = image + positions
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_positions, placed_image, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token(placed_image, tokens + token_positions, tokens)
        return tokens, self.norm4(image)


class Attention(nn.Module):
    """Attention of (B, N, width) queries to (B, K, width) keys and values, in width / downsample channels."""

    def __init__(self, width: int, heads: int, *, downsample: int = 1) -> None:
        super().__init__()
        self.heads = heads
        inner = width // downsample
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attended = functional.scaled_dot_product_attention(
            self.split(self.q_proj(query)), self.split(self.k_proj(key)), self.split(self.v_proj(value))
        )  # (B, heads, N, inner / heads)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out

    def split(self, x: Tensor) -> Tensor:
        """(B, N, inner) as (B, heads, N, inner / heads)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)
