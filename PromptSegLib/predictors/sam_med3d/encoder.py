"""The image encoder of SAM-Med3D (arXiv:2310.15161): SAM's vision transformer with a third axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from PromptSegLib.predictors.sam.layers import FeedForward, attend_by_heads


class LayerNorm3d(nn.LayerNorm):
    """Layer normalisation over the channels of a (B, C, x, y, z) map, each voxel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)  # (B, C, x, y, z)


class ImageEncoder3D(nn.Module):
    """A (B, 1, n, n, n) image, n = `image_size`, to its (B, out, n/patch, n/patch, n/patch) embedding.

    Args:
        image_size: side of the image in voxels; the tables of positions are made for it.
        patch: side of a patch in voxels.
        width: channels of a token.
        depth: number of blocks.
        heads: of attention, in each block.
        window: side of the attention windows, in tokens.
        global_blocks: indices of the blocks that attend to the whole image.
        out: channels of the embedding.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        window: int,
        global_blocks: Sequence[int],
        out: int,
    ) -> None:
        super().__init__()
        grid = image_size // patch
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(1, width, patch, patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, grid, width))
        self.blocks = nn.ModuleList(
            EncoderBlock3D(width, heads, grid if index in global_blocks else window) for index in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv3d(width, out, 1, bias=False),
            LayerNorm3d(out),
            nn.Conv3d(out, out, 3, padding=1, bias=False),
            LayerNorm3d(out),
        )

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.tokens(image)
        for step in self.steps():
            tokens = step(tokens)
        return self.embedding(tokens)

    def tokens(self, image: Tensor) -> Tensor:
        """The image as tokens (B, x, y, z, width), the first step."""
        patches: Tensor = self.patch_embed["proj"](image).movedim(1, -1)
        return patches + self.pos_embed

    def steps(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """What leads from these tokens to those of the embedding, half a block at a time."""
        for block in self.blocks:
            assert isinstance(block, EncoderBlock3D)
            yield block.attended
            yield block.fed_forward

    def embedding(self, tokens: Tensor) -> Tensor:
        """The tokens, after all `steps`, as the embedding (B, out, x, y, z)."""
        embedding: Tensor = self.neck(tokens.movedim(-1, 1))
        return embedding


class EncoderBlock3D(nn.Module):
    """Attention and feed-forward, each on normalised (B, x, y, z, width) tokens and added to what came in."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = WindowAttention3D(width, heads, window)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, 4 * width, nn.GELU())

    def attended(self, tokens: Tensor) -> Tensor:
        """The first half: attention."""
        mixed: Tensor = tokens + self.attn(self.norm1(tokens))
        return mixed

    def fed_forward(self, tokens: Tensor) -> Tensor:
        """The second half: each token by itself."""
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed


class WindowAttention3D(nn.Module):
    """Self-attention within windows of `window`^3 tokens, with relative positions as the weights know them."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_d = nn.Parameter(torch.zeros(2 * window - 1, width // heads))
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * window - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * window - 1, width // heads))

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend in (B, x, y, z, width) tokens.

        The last window of an axis is filled up with zero tokens, and the published weights were trained with
        these taking part as keys (8^3 tokens in windows of 14^3). As queries their answers would be dropped:
        they are left out, which makes the attention 5 times smaller at that size.
        """
        shape = tokens.shape[1:4]
        qkv = self.filled_up(self.qkv(tokens))  # (B, x, y, z, 3 * width), filled up
        qkv = qkv.view(*qkv.shape[:-1], 3, self.heads, -1).permute(4, 0, 5, 1, 2, 3, 6)  # (3, B, heads, x, y, z, c)
        attended = torch.empty_like(tokens)
        for inside, filled in windows(shape, self.window):
            query, key, value = qkv[:, :, :, *filled]  # each (B, heads, window, window, window, c)
            size = [part.stop - part.start for part in inside]
            attended[:, *inside] = self.attend(query[:, :, : size[0], : size[1]], key, value, size[2])
        out: Tensor = self.proj(attended)
        return out

    def filled_up(self, qkv: Tensor) -> Tensor:
        """Fill (B, x, y, z, 3 * width) up to whole windows with what a zero token becomes: the bias alone."""
        batch, *shape, _ = qkv.shape
        filled = self.qkv.bias.to(qkv.dtype).repeat(batch, *(n + -n % self.window for n in shape), 1)
        filled[:, : shape[0], : shape[1], : shape[2]] = qkv
        return filled

    def attend(self, query: Tensor, key: Tensor, value: Tensor, length: int) -> Tensor:
        """Attention in one window, of the tokens that exist to all that fill it.

        query: (B, heads, x, y, window, c), of which the first `length` along z exist.
        key, value: (B, heads, window, window, window, c). Returns (B, x, y, length, width).
        """
        existing = query[..., :length, :]  # (B, heads, x, y, z, c)
        asking, key, value = existing.flatten(2, 4), key.flatten(2, 4), value.flatten(2, 4)
        mixed = attend_by_heads(asking, key, value, lambda heads: self.bias(query[:, heads], length))
        return mixed.view(existing.shape).movedim(1, -2).flatten(-2)  # (B, x, y, z, width)

    def bias(self, query: Tensor, length: int) -> Tensor:
        """What positions add to the scores: (B, heads, queries, keys). Arguments as for `attend`.

        A decomposed relative position would compare a query (x, y, z) with a key (i, j, k) axis by axis. The
        published weights were trained with another sum, q[x,y,z].D[x-k] + q[x,y,i].H[y-k] + q[x,y,j].W[j-k]:
        only the key's last index is compared, and its other two choose the query that is asked.
        """
        d = offsets(self.rel_pos_d, query.shape[2], self.window)  # (x, k, c)
        h = offsets(self.rel_pos_h, query.shape[3], self.window)  # (y, k, c)
        w = offsets(self.rel_pos_w, self.window, self.window)  # (j, k, c)
        along_d = torch.einsum("bnxyzc,xkc->bnxyzk", query[..., :length, :], d)
        along_h = torch.einsum("bnxyic,ykc->bnxyik", query, h)
        along_w = torch.einsum("bnxyjc,jkc->bnxyjk", query, w)
        asked = along_h[..., :, None, :] + along_w[..., None, :, :]  # (B, heads, x, y, i, j, k)
        bias = along_d[..., None, None, :] + asked[:, :, :, :, None]  # (B, heads, x, y, z, i, j, k)
        return bias.flatten(5).flatten(2, 4)


def windows(shape: Sequence[int], window: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """For each window of a grid of `shape`: the tokens that exist, and these with the fill of the window."""
    for start in product(*(range(0, n, window) for n in shape)):
        inside = tuple(slice(s, min(s + window, n)) for s, n in zip(start, shape, strict=True))
        yield inside, tuple(slice(s, s + window) for s in start)


def offsets(table: Tensor, queries: int, keys: int) -> Tensor:
    """Table of relative positions, (2 * keys - 1, c), as (queries, keys, c)."""
    at = torch.arange(keys, device=table.device)
    return table[at[:queries, None] - at[None, :] + keys - 1]
