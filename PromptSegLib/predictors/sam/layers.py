"""The small layers that every part of a SAM network is made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

BIAS_VALUES_AT_ONCE = 2**22
"""How large a bias of attention is made at most, where that is for more than one head. On one CPU core smaller ones are
faster, since their memory is used again: SAM's 64 x 64 tokens take 1.1 s instead of 1.5 of all heads at once, its
windows 0.43 s instead of 0.48, and a window of SAM-Med3D 0.2 s instead of 0.28.
"""


def attend_by_heads(query: Tensor, key: Tensor, value: Tensor, bias: Callable[[slice], Tensor]) -> Tensor:
    """Attention whose scores have a bias, for as many heads at once as BIAS_VALUES_AT_ONCE allows.

    query: (B, heads, n, c). key, value: (B, heads, m, c). bias: what is added to the scores of these heads, (B, these
    heads, n, m). Returns (B, heads, n, c).
    """
    batch, count, queries = query.shape[:3]
    at_once = max(1, BIAS_VALUES_AT_ONCE // (batch * queries * key.shape[2]))
    parts = [slice(first, first + at_once) for first in range(0, count, at_once)]
    return torch.cat(
        [
            functional.scaled_dot_product_attention(query[:, p], key[:, p], value[:, p], attn_mask=bias(p))
            for p in parts
        ],
        dim=1,
    )


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of a (B, C, H, W) map, each pixel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, C, H, W)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, on the last axis."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(self.activation(self.lin1(x)))
        return out


class Perceptron(nn.Module):
    """Three linear layers with ReLU between them, on the last axis: width, hidden, hidden, out."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        out: Tensor = self.layers[-1](x)
        return out


def upscale_4x(channels: int, middle: int, out: int, *, last_activation: bool) -> nn.Sequential:
    """Two transposed convolutions that double the size each: (B, channels, H, W) to (B, out, 4H, 4W)."""
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(channels, middle, kernel_size=2, stride=2),
        LayerNorm2d(middle),
        nn.GELU(),
        nn.ConvTranspose2d(middle, out, kernel_size=2, stride=2),
    ]
    return nn.Sequential(*layers, nn.GELU()) if last_activation else nn.Sequential(*layers)
