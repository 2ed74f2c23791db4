"""The image encoder of the Segment Anything Model, with SAM-Med2D's adapters if wanted.

A plain vision transformer whose blocks attend within windows, but for a few that attend to the whole image
(ViTDet, arXiv:2203.16527; SAM, arXiv:2304.02643, appendix A), with decomposed relative positions (MViTv2,
arXiv:2112.01526, section 4.1). Adapters: SAM-Med2D, arXiv:2308.16184, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from PromptSegLib.predictors.sam.config import SamConfig
from PromptSegLib.predictors.sam.layers import FeedForward, LayerNorm2d, attend_by_heads


class ImageEncoder(nn.Module):
    """Normalised pixels (B, 3, H, W) to an embedding (B, config.embedding, h, w), one place a patch.

    H and W are free: zeros fill up the image to whole patches on the right and at the bottom, and position
    tables that were learnt for another size are interpolated.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.global_blocks = config.global_blocks
        width, out = config.width, config.embedding
        grid = config.image_size // config.patch
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, config.patch, stride=config.patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width))
        windows = (0 if index in config.global_blocks else config.window for index in range(config.depth))
        self.blocks = nn.ModuleList(
            EncoderBlock(width, config.heads, window or grid, window=window, adapter=config.adapters)
            for window in windows
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, out, kernel_size=1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(out),
        )

    def forward(
        self, image: Tensor, *, use_adapters: bool = True, between_blocks: Callable[[], None] = lambda: None
    ) -> Tensor:
        """The embedding; see `Sam.encode`."""
        tokens = self.tokens(image)
        for block in self.blocks:
            between_blocks()
            tokens = block(tokens, use_adapters=use_adapters)
        return self.embedding(tokens)

    def tokens(self, image: Tensor) -> Tensor:
        """A (B, 3, H, W) image's patches with their positions, for the first block: (B, h, w, width)."""
        height, width = image.shape[2:]
        image = functional.pad(image.to(self.pos_embed.dtype), (0, -width % self.patch, 0, -height % self.patch))
        tokens: Tensor = self.patch_embed["proj"](image).permute(0, 2, 3, 1)  # (B, h, w, width)
        return tokens + resized_positions(self.pos_embed, tokens.shape[1:3])

    def embedding(self, tokens: Tensor) -> Tensor:
        """What the last block gave, (B, h, w, width), as the (B, out, h, w) embedding."""
        embedding: Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return embedding


class EncoderBlock(nn.Module):
    """Attention and feed-forward, each on normalised (B, h, w, width) tokens and added to what came in.

    `grid` is the side in tokens of what attends to itself: of a window, or of the image if `window` is 0.
    """

    def __init__(self, width: int, heads: int, grid: int, *, window: int, adapter: bool) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = RelativeAttention(width, heads, grid)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, 4 * width, nn.GELU())
        self.Adapter = Adapter(width) if adapter else None

    def forward(self, tokens: Tensor, *, use_adapters: bool = True) -> Tensor:
        tokens = tokens + self.attend(self.norm1(tokens))
        normed = self.norm2(tokens)
        tokens = tokens + self.mlp(normed)
        if use_adapters and self.Adapter is not None:
            tokens = tokens + self.Adapter(normed)
        return tokens

    def attend(self, tokens: Tensor) -> Tensor:
        if not self.window:
            attended: Tensor = self.attn(tokens)
            return attended
        return join_windows(self.attn(split_windows(tokens, self.window)), tokens.shape)


class RelativeAttention(nn.Module):
    """Self-attention over a (B, h, w, width) grid; scores know how far apart two tokens are on each axis."""

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))

    def forward(self, tokens: Tensor) -> Tensor:
        batch, height, width, channels = tokens.shape
        qkv = self.qkv(tokens).view(batch, height * width, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, h*w, channels/heads)
        attended = attend_by_heads(query, key, value, lambda heads: self.bias(query[:, heads], height, width))
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(batch, height, width, channels))
        return out

    def bias(self, query: Tensor, height: int, width: int) -> Tensor:
        """What the distance of two tokens adds to their score: (B, heads, h*w, h*w), in the query's dtype."""
        grid = query.reshape(*query.shape[:2], height, width, -1)  # (B, heads, h, w, c)
        along_h = torch.einsum("bnhwc,hkc->bnhwk", grid, offsets(self.rel_pos_h, height).to(query.dtype))
        along_w = torch.einsum("bnhwc,wkc->bnhwk", grid, offsets(self.rel_pos_w, width).to(query.dtype))
        bias = along_h[..., :, None] + along_w[..., None, :]  # (B, heads, h, w, h, w)
        return bias.flatten(4).flatten(2, 3).to(query.dtype)  # (B, heads, h*w, h*w)


class Adapter(nn.Module):
    """SAM-Med2D's adapter on (B, h, w, width): a gate on channels, then convolutions down and up again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.channel = nn.Sequential(
            nn.Linear(width, width // 4, bias=False),
            nn.ReLU(),
            nn.Linear(width // 4, width, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, kernel_size=4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        height, width = tokens.shape[1:3]
        gate = self.channel(tokens.mean(dim=(1, 2)))  # (B, width)
        gated = (tokens * gate[:, None, None]).permute(0, 3, 1, 2)  # (B, width, h, w)
        spatial = self.spatial(gated)[..., :height, :width]  # an odd side comes back one longer
        adapted: Tensor = self.norm(tokens + spatial.permute(0, 2, 3, 1))  # (B, h, w, width)
        return adapted


def split_windows(tokens: Tensor, window: int) -> Tensor:
    """(B, h, w, c) tokens as (B * windows, window, window, c), zeros filling up at the bottom and right."""
    batch, height, width, channels = tokens.shape
    tokens = functional.pad(tokens, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = -(-height // window), -(-width // window)
    tokens = tokens.view(batch, rows, window, columns, window, channels)
    return tokens.transpose(2, 3).reshape(-1, window, window, channels)


def join_windows(windows: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `split_windows`: back to the (B, h, w, c) of `shape`, without the padding."""
    batch, height, width, _ = shape
    window, channels = windows.shape[2:]
    rows, columns = -(-height // window), -(-width // window)
    tokens = windows.view(batch, rows, columns, window, window, channels).transpose(2, 3)
    return tokens.reshape(batch, rows * window, columns * window, channels)[:, :height, :width]


def resized_positions(positions: Tensor, size_hw: Sequence[int]) -> Tensor:
    """A (1, h, w, c) table of absolute positions, linearly interpolated to another size where it differs."""
    if positions.shape[1:3] == tuple(size_hw):
        return positions
    resized = functional.interpolate(positions.permute(0, 3, 1, 2), size=tuple(size_hw), mode="bilinear")
    return resized.permute(0, 2, 3, 1)  # (1, h, w, c)


def offsets(table: Tensor, length: int) -> Tensor:
    """A (2 * l - 1, c) table of relative positions as (length, length, c), by query and key along one axis.

    The table is linearly interpolated where it was made for another length.
    """
    if table.shape[0] != 2 * length - 1:
        table = functional.interpolate(table.T[None], size=2 * length - 1, mode="linear")[0].T
    at = torch.arange(length, device=table.device)
    return table[at[:, None] - at[None, :] + length - 1]
