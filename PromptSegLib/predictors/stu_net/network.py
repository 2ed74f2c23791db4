"""STU-Net: residual U-Nets of 14 M to 1.4 G parameters that name every structure (arXiv:2304.06716)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

Size = Literal["small", "base", "large", "huge"]
Triple = tuple[int, int, int]

BASE_WIDTH_AND_DEPTH: dict[Size, tuple[int, int]] = {
    "small": (16, 1),
    "base": (32, 1),
    "large": (64, 2),
    "huge": (96, 3),
}
WIDTH_FACTORS = (1, 2, 4, 8, 16, 16)

# The plan that the published weights were trained with; its last step halves the last array axis alone.
PUBLISHED_STRIDES = ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 1, 2))
PUBLISHED_CLASSES = 105


class STUNet(nn.Module):
    """Residual encoder and decoder with one 1x1x1 head for each level of the decoder.

    A network of a published size, or of any other widths, depths and strides:

    >>> net = STUNet.of_size("small")
    >>> net = STUNet(1, 7, widths=(8, 16, 32, 64, 64, 64), depths=(1, 1, 1, 1, 1, 1), strides=[(2, 2, 2)] * 5)

    Its keys are the official ones, so `net.load_state_dict(checkpoint["state_dict"])` is strict. The largest
    size is loaded without allocating it twice: build it under `torch.device("meta")` and pass `assign=True`.

    Arrays are (z, y, x) as the image file has them: they are not turned to a canonical orientation.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = PUBLISHED_CLASSES,
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        strides: Sequence[Triple] = PUBLISHED_STRIDES,
        deep_supervision: bool = False,
    ) -> None:
        """Build the network.

        widths, depths: channels and residual blocks of each stage, full resolution first.
        strides: (z, y, x) downsampling between consecutive stages, one fewer than the stages.
        deep_supervision: return the logits of every level of the decoder, not only the finest.
        """
        super().__init__()
        if not len(widths) == len(depths) == len(strides) + 1:
            raise ValueError(
                "expected as many widths as depths and one stride fewer, got "
                f"{len(widths)} widths, {len(depths)} depths, {len(strides)} strides"
            )
        self.deep_supervision = deep_supervision
        step_in: list[Triple] = [(1, 1, 1), *strides]
        inputs = [in_channels, *widths[:-1]]
        self.conv_blocks_context = nn.ModuleList(
            stage(inputs[s], widths[s], depths[s], step_in[s]) for s in range(len(widths))
        )
        upward = range(len(strides) - 1, -1, -1)
        self.upsample_layers = nn.ModuleList(Upsample(widths[s + 1], widths[s], step_in[s + 1]) for s in upward)
        self.conv_blocks_localization = nn.ModuleList(
            stage(2 * widths[s], widths[s], depths[s], (1, 1, 1)) for s in upward
        )
        self.seg_outputs = nn.ModuleList(nn.Conv3d(widths[s], out_channels, 1) for s in upward)

    @classmethod
    def of_size(cls, size: Size, **options: Any) -> STUNet:
        """Build one of the four published sizes; `options` are the class's other arguments."""
        width, depth = BASE_WIDTH_AND_DEPTH[size]
        widths = [width * factor for factor in WIDTH_FACTORS]
        return cls(widths=widths, depths=[depth] * len(widths), **options)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the logits of each class.

        image: (batch, channel, z, y, x), z-scored; z, y, x divisible by the product of their strides.
        Returns (batch, class, z, y, x), or with deep supervision a tuple of them, finest first.
        """
        x = image
        skips = []
        for encode in self.conv_blocks_context:
            x = encode(x)  # (batch, width, z, y, x) / strides so far
            skips.append(x)
        skips.pop()
        logits = []
        last = len(self.seg_outputs) - 1
        decoder = zip(self.upsample_layers, self.conv_blocks_localization, self.seg_outputs, strict=True)
        for level, (upsample, decode, head) in enumerate(decoder):
            x = decode(torch.cat((upsample(x), skips.pop()), dim=1))
            if self.deep_supervision or level == last:
                logits.append(head(x))
        return tuple(reversed(logits)) if self.deep_supervision else logits[0]


def stage(in_channels: int, out_channels: int, depth: int, stride: Triple) -> nn.Sequential:
    """`depth` residual blocks, the first of which changes width and resolution."""
    first = ResidualBlock(in_channels, out_channels, stride, project=True)
    rest = [ResidualBlock(out_channels, out_channels, (1, 1, 1), project=False) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a skip, which a 1x1x1 convolution projects where `project` says so."""

    def __init__(self, in_channels: int, out_channels: int, stride: Triple, *, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride, padding=1)
        self.norm1 = nn.InstanceNorm3d(out_channels, affine=True)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.InstanceNorm3d(out_channels, affine=True)
        self.conv3 = nn.Conv3d(in_channels, out_channels, 1, stride) if project else None
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += x if self.conv3 is None else self.conv3(x)
        activated: Tensor = self.activation(y)
        return activated


class Upsample(nn.Module):
    """Nearest-neighbour enlargement, then a 1x1x1 convolution to the width of the finer level."""

    def __init__(self, in_channels: int, out_channels: int, factor: Triple) -> None:
        super().__init__()
        self.factor = tuple(float(f) for f in factor)
        self.conv = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # A 1x1x1 convolution commutes with repetition of voxels: first is 2 to 8 times cheaper, same numbers.
        enlarged: Tensor = nn.functional.interpolate(self.conv(x), scale_factor=self.factor, mode="nearest")
        return enlarged
