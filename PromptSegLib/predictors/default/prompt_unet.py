"""The default model's network: an image and maps of its prompts in, logits of one mask out, in 2D and in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.backends import mkldnn
from torch.nn import functional

from PromptSegLib.predictors.default.prompt_features import FEATURES, prompt_features

SLOPE = 0.01
"""Of every leaky ReLU."""

GROUPS = 8
"""Of every group normalisation (eps 1e-5)."""

HEAD_CHANNELS, DETAIL_CHANNELS = 4, 8

HAS_ONEDNN = bool(mkldnn.is_available())  # type: ignore[no-untyped-call]


class PromptUNet(nn.Module):
    """A residual U-Net that halves the image at once and gives the mask back at full size.

    Space to depth by 2 (no detail is lost, a quarter or an eighth of the positions remain), one residual block per
    level, a sub-pixel head, and one convolution at full size that sees the features again. `logits` is what a
    predictor calls; `forward` takes the features that `PromptSegLib.predictors.default.prompt_features` makes.

    Args:
        dims: 2 or 3.
        widths: channels of the levels, finest first; level k works on the grid divided by 2**(k + 1).
    """

    def __init__(self, dims: int, widths: Sequence[int] = (32, 64, 128, 192)) -> None:
        super().__init__()
        self.dims, self.widths = dims, tuple(widths)
        convolution = nn.Conv2d if dims == 2 else Convolution3d
        cell = 2**dims
        inputs = (FEATURES * cell, *self.widths[:-1])
        self.encoder = nn.ModuleList(
            ResidualBlock(dims, before, width, stride=1 if level == 0 else 2)
            for level, (before, width) in enumerate(zip(inputs, self.widths, strict=True))
        )
        pairs = list(zip(self.widths[:-1], self.widths[1:], strict=True))
        self.narrow = nn.ModuleList(convolution(deep, width, 1, bias=False) for width, deep in pairs)
        self.decoder = nn.ModuleList(ResidualBlock(dims, 2 * width, width) for width, _ in pairs)
        self.head = convolution(self.widths[0], HEAD_CHANNELS * cell, 1)
        self.detail = convolution(HEAD_CHANNELS + FEATURES, DETAIL_CHANNELS, 3, padding=1)
        self.out = convolution(DETAIL_CHANNELS, 1, 1)

    @property
    def multiple(self) -> int:
        """Every side of the grid has to be a multiple of this."""
        return int(2 ** len(self.widths))

    def logits(self, image: Tensor, positive: Tensor, negative: Tensor, box: Tensor, previous: Tensor) -> Tensor:
        """Logits (B, 1, *S) float32, mask where > 0, for maps (B, 1, *S) float32 on one isotropic grid.

        The maps are explained in `prompt_features`, which see.
        """
        with torch.autocast(image.device.type, enabled=False):
            features = prompt_features(image, positive, negative, box, previous)
        logits: Tensor = self(features)
        return logits.float()

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, 1, *S) for features (B, FEATURES, *S); every side a multiple of `multiple`."""
        x = space_to_depth(features)
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        for narrow, block, skip in reversed(list(zip(self.narrow, self.decoder, skips[:-1], strict=True))):
            x = functional.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skip], dim=1))
        x = torch.cat([depth_to_space(self.head(x)), features.to(x.dtype)], dim=1)
        logits: Tensor = self.out(functional.leaky_relu(self.detail(x), SLOPE))
        return logits


class ResidualBlock(nn.Module):
    """Convolution, group normalisation, leaky ReLU; then a convolution that adds to it, and a leaky ReLU.

    One normalisation only: with two, their backward pass was 38 % of a training step on a CPU.
    """

    def __init__(self, dims: int, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        convolution = nn.Conv2d if dims == 2 else Convolution3d
        self.first = convolution(channels, width, 3, stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.second = convolution(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, *S / stride) for (B, channels, *S)."""
        x = functional.leaky_relu(self.norm(self.first(x)), SLOPE, inplace=True)
        return functional.leaky_relu(self.second(x) + x, SLOPE, inplace=True)


class Convolution3d(nn.Conv3d):
    """A convolution that a CPU always leaves to oneDNN.

    Of a batch of one, torch does so above 20,480 values in the channels and the first two axes. Smaller ones, as most
    of this network's are, it unfolds into a matrix: 48 x 48 x 48 voxels took twice as long, flat regions up to 4 times.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, *S / stride) for (B, in, *S)."""
        if self.training or x.device.type != "cpu" or x.dtype != torch.float32 or not HAS_ONEDNN:
            return super().forward(x)
        padding = cast("tuple[int, ...]", self.padding)
        return torch.mkldnn_convolution(x, self.weight, self.bias, padding, self.stride, self.dilation, self.groups)


def space_to_depth(x: Tensor) -> Tensor:
    """(B, C * 2**dims, *S / 2) for (B, C, *S): channel c's cell, last axis fastest, is channels c * 2**dims onwards."""
    if x.dim() == 4:
        return functional.pixel_unshuffle(x, 2)
    batch, channels, depth, height, width = x.shape
    x = x.reshape(batch, channels, depth // 2, 2, height // 2, 2, width // 2, 2)
    x = x.permute(0, 1, 3, 5, 7, 2, 4, 6)  # (B, C, 2, 2, 2, D / 2, H / 2, W / 2)
    x = x.reshape(batch, 8 * channels, depth // 2, height // 2, width // 2)
    return x.contiguous(memory_format=torch.channels_last_3d)


def depth_to_space(x: Tensor) -> Tensor:
    """The inverse of `space_to_depth`: (B, C, 2 * S) for (B, C * 2**dims, *S)."""
    if x.dim() == 4:
        return functional.pixel_shuffle(x, 2)
    batch, channels, depth, height, width = x.shape
    x = x.reshape(batch, channels // 8, 2, 2, 2, depth, height, width)
    x = x.permute(0, 1, 5, 2, 6, 3, 7, 4)  # (B, C, D, 2, H, 2, W, 2)
    return x.reshape(batch, channels // 8, 2 * depth, 2 * height, 2 * width)
