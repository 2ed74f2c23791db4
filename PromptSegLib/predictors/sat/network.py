"""SAT: segment anything in a volume by the text that names it, the image part (arXiv:2312.17183)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Size = Literal["nano", "pro"]

SIZES: dict[Size, dict[str, Any]] = {
    "nano": {
        "widths": (64, 64, 128, 256, 512, 768),
        "convs": 2,
        "memory_hidden": 768,
        "mask_hidden": (256, 256, 384, 512),
    },
    "pro": {
        "widths": (128, 128, 256, 512, 1024, 1536),
        "convs": 3,
        "memory_hidden": 1536,
        "mask_hidden": (384, 384, 512, 512),
    },
}


class SAT(nn.Module):
    """U-Net whose voxel features are compared with queries, one for each text.

    A network of a published size, or of any widths:

    >>> net = SAT.of_size("nano")
    >>> net = SAT(widths=(8, 8, 16, 16, 32, 48), convs=2, query_width=48, memory_hidden=40, mask_hidden=(40,))

    Its keys are the official ones without their prefix `module.`; checkpoints whose keys include
    `mid_mask_embed_proj` come from training with deep supervision and need `deep_supervision=True`, or these
    keys left out.

    Arrays are indexed (x, y, z) in RAS+ order, 1x1x3 mm.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        convs: int,
        query_width: int = 768,
        memory_hidden: int,
        mask_hidden: Sequence[int],
        deep_supervision: bool = False,
    ) -> None:
        """Build the network.

        widths, convs: channels of each level, full resolution first, and convolutions of each.
        query_width: channels of a query and of the image's tokens.
        memory_hidden: hidden channels between the pooled features and the tokens.
        mask_hidden: hidden channels between a query and the features of each level it is compared with: the
        finest first, the other three with deep supervision only.
        """
        super().__init__()
        self.deep_supervision = deep_supervision
        self.backbone = Backbone(widths, convs)
        self.projection_layer = projection(sum(widths), memory_hidden, query_width)
        self.transformer_decoder = QueryDecoder(query_width)
        if deep_supervision:
            self.mid_mask_embed_proj = nn.ModuleList(
                projection(query_width, mask_hidden[level], widths[level]) for level in (1, 2, 3)
            )
        self.mask_embed_proj = projection(query_width, mask_hidden[0], widths[0])

    @classmethod
    def of_size(cls, size: Size, *, deep_supervision: bool = False) -> SAT:
        """Build the published SAT-Nano or SAT-Pro."""
        return cls(**SIZES[size], deep_supervision=deep_supervision)

    def forward(self, image: Tensor, queries: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the logits of each query; the structure is where they are > 0.

        image: (batch, 1, x, y, z), normalised, sizes divisible by 32. queries: (n, query_width).
        Returns (batch, n, x, y, z), or with deep supervision a tuple of them, finest first.
        """
        features, tokens, positions = self.encode(image)
        return self.decode(features, tokens, positions, queries)

    def encode(self, image: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """What all queries share: features of the decoder, finest first; tokens and their positions.

        Features are (batch, width, x, y, z) / (1, 2, 4, 8, 16), tokens and positions (batch or 1, n, query_width),
        in the order of (x, y, z) / 32.
        """
        skips = self.backbone.encoder(image.expand(-1, 3, -1, -1, -1))
        size = skips[-1].shape[2:]
        pooled = torch.cat([functional.adaptive_avg_pool3d(skip, size) for skip in skips], dim=1)
        features = self.backbone.decoder(skips)
        tokens = self.projection_layer(pooled.flatten(2).transpose(1, 2))  # (batch, n, query_width)
        positions = sinusoidal_positions(size, tokens.shape[-1]).to(tokens)  # (n, query_width)
        return features, tokens, positions[None]

    def decode(
        self, features: Sequence[Tensor], tokens: Tensor, positions: Tensor, queries: Tensor
    ) -> Tensor | tuple[Tensor, ...]:
        """Logits of the queries (n, query_width) from what `encode` returned."""
        queries = queries.expand(len(tokens), -1, -1)  # (batch, n, query_width)
        queries = self.transformer_decoder(queries, tokens, positions)
        projections = [self.mask_embed_proj, *(self.mid_mask_embed_proj if self.deep_supervision else ())]
        logits = [
            torch.einsum("bnc,bcxyz->bnxyz", project(queries), level)
            for project, level in zip(projections, features, strict=False)
        ]
        return tuple(logits) if self.deep_supervision else logits[0]


class QueryDecoder(nn.Module):
    """Layers in which queries look at the image's tokens, but not at each other."""

    def __init__(self, width: int, layers: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(QueryLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        for layer in self.layers:
            queries = layer(queries, tokens, positions)
        normed: Tensor = self.norm(queries)
        return normed


class QueryLayer(nn.Module):
    """Attention to the tokens and feed-forward, each on normalised queries and added to what came in."""

    def __init__(self, width: int, heads: int = 8, hidden: int = 2048) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        # The checkpoints hold a first norm, left from a self-attention that the network does not have.
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, queries: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        seen, _ = self.multihead_attn(self.norm2(queries), tokens + positions, tokens, need_weights=False)
        queries = queries + seen
        fed: Tensor = queries + self.linear2(self.linear1(self.norm3(queries)).relu())
        return fed


class Backbone(nn.Module):
    """U-Net whose encoder's and decoder's features of every level are of interest."""

    def __init__(self, widths: Sequence[int], convs: int) -> None:
        super().__init__()
        self.encoder = Encoder(widths, convs)
        self.decoder = Decoder(widths, convs)


class Encoder(nn.Module):
    """Convolution stacks, each but the first at half the resolution of the one before; returns all, finest first."""

    def __init__(self, widths: Sequence[int], convs: int) -> None:
        super().__init__()
        inputs = [3, *widths[:-1]]
        self.stages = nn.ModuleList(
            nn.Sequential(ConvStack(inputs[n], widths[n], convs, 1 if n == 0 else 2)) for n in range(len(widths))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)  # (batch, width, x, y, z) / 2^level
        return features


class Decoder(nn.Module):
    """Transposed convolutions back up, each followed by a stack that mixes in the encoder's features.

    Takes these away from the list that it is given: of a whole tile, those of the finest level alone are 2 GB.
    Returns the features of all levels but the coarsest, finest first.
    """

    def __init__(self, widths: Sequence[int], convs: int) -> None:
        super().__init__()
        upward = range(len(widths) - 2, -1, -1)
        self.stages = nn.ModuleList(ConvStack(2 * widths[n], widths[n], convs, 1) for n in upward)
        self.transpconvs = nn.ModuleList(nn.ConvTranspose3d(widths[n + 1], widths[n], 2, 2) for n in upward)

    def forward(self, skips: list[Tensor]) -> list[Tensor]:
        x = skips.pop()
        features: list[Tensor] = []
        for up, stage in zip(self.transpconvs, self.stages, strict=True):
            x = stage(torch.cat((up(x), skips.pop()), dim=1))
            features.insert(0, x)  # (batch, width, x, y, z) / 2^level
        return features


class ConvStack(nn.Module):
    """Convolution blocks one after the other, the first of which changes width and resolution."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, stride: int) -> None:
        super().__init__()
        first = ConvBlock(in_channels, out_channels, stride)
        self.convs = nn.Sequential(first, *(ConvBlock(out_channels, out_channels, 1) for _ in range(depth - 1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs(x)
        return out


class ConvBlock(nn.Module):
    """Convolution, instance normalisation, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 3, stride, padding=1)
        self.norm = nn.InstanceNorm3d(out_channels, affine=True)
        # The same layers under a second name: checkpoints hold each of their tensors twice.
        self.all_modules = nn.Sequential(self.conv, self.norm, nn.LeakyReLU(0.01, inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.all_modules(x)
        return out


def projection(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """Two linear layers on the last axis, an activation after each."""
    return nn.Sequential(nn.Linear(in_channels, hidden), nn.GELU(), nn.Linear(hidden, out_channels), nn.GELU())


def sinusoidal_positions(size: Sequence[int], width: int) -> Tensor:
    """Sinusoidal code of each place in a grid of `size`, (places, width), the last axis of the grid fastest.

    A third of the channels is for each axis, sines and cosines interleaved (arXiv:1706.03762, section 3.5).
    """
    share = -(-width // 6) * 2
    frequencies = 10000.0 ** (-torch.arange(0, share, 2) / share)  # (share / 2,)
    codes = []
    for axis, n in enumerate(size):
        phase = torch.arange(n)[:, None] * frequencies
        code = torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(1)  # (n, share)
        place = [n if a == axis else 1 for a in range(len(size))]
        codes.append(code.view(*place, share).expand(*size, share))
    return torch.cat(codes, dim=-1).flatten(0, -2)[:, :width]
