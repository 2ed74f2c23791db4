"""The plain U-Net of nnU-Net's first version (arXiv:1904.08128; Nature Methods 18, 203, 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Triple = tuple[int, int, int]


class UNetParts(nn.Module):
    """Encoder and decoder of plain convolutions, with one 1x1x1 head for each level of the decoder.

    Its keys are those of nnU-Net v1's `Generic_UNet` with strided and transposed convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int],
        strides: Sequence[Triple],
        kernels: Sequence[Triple] | None = None,
        convs: int = 2,
        prompt_channels: int = 0,
        deep_supervision: bool = False,
    ) -> None:
        """Build the network.

        widths: channels of each level, full resolution first.
        strides: downsampling between consecutive levels, one fewer than the levels.
        kernels: of each level; 3x3x3 where None.
        convs: convolutions of each level, at least 2.
        prompt_channels: channels that are appended to the deepest features before they are decoded.
        deep_supervision: return the logits of every level of the decoder, not only the finest.
        """
        super().__init__()
        kernels = [(3, 3, 3)] * len(widths) if kernels is None else kernels
        if not len(widths) == len(kernels) == len(strides) + 1 or convs < 2:
            raise ValueError(
                "expected as many widths as kernels, one stride fewer and 2 convolutions or more, got "
                f"{len(widths)} widths, {len(kernels)} kernels, {len(strides)} strides, {convs} convolutions"
            )
        self.deep_supervision = deep_supervision
        inputs = [in_channels, *widths[:-1]]
        steps: list[Triple] = [(1, 1, 1), *strides]
        deepest = len(strides)
        self.conv_blocks_context = nn.ModuleList(
            ConvStack(inputs[n], widths[n], convs, kernels[n], steps[n]) for n in range(deepest)
        )
        self.conv_blocks_context.append(
            stacks(inputs[deepest], widths[deepest], convs, kernels[deepest], steps[deepest])
        )
        upward = range(deepest - 1, -1, -1)
        self.tu = nn.ModuleList(
            nn.ConvTranspose3d(
                widths[n + 1] + (prompt_channels if n + 1 == deepest else 0),
                widths[n],
                steps[n + 1],
                steps[n + 1],
                bias=False,
            )
            for n in upward
        )
        # A level of the decoder has the kernels of the level below it: so the published networks are built.
        self.conv_blocks_localization = nn.ModuleList(
            stacks(2 * widths[n], widths[n], convs, kernels[n + 1], (1, 1, 1)) for n in upward
        )
        self.seg_outputs = nn.ModuleList(nn.Conv3d(widths[n], out_channels, 1, bias=False) for n in upward)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of each level, full resolution first: (batch, width, z, y, x) / strides so far."""
        features = []
        for encode in self.conv_blocks_context:
            image = encode(image)
            features.append(image)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Logits from the features of `encode`, the deepest with `prompt_channels` more channels."""
        *skips, x = features
        logits = []
        last = len(self.seg_outputs) - 1
        for level, (up, decode, head) in enumerate(
            zip(self.tu, self.conv_blocks_localization, self.seg_outputs, strict=True)
        ):
            x = decode(torch.cat((up(x), skips.pop()), dim=1))
            if self.deep_supervision or level == last:
                logits.append(head(x))
        return tuple(reversed(logits)) if self.deep_supervision else logits[0]


class PlainUNet(UNetParts):
    """The U-Net that a plan describes; triples of a level's stride and kernel are (z, y, x).

    >>> net = PlainUNet(1, 3, widths=(32, 64, 128, 256, 320, 320), strides=[(1, 2, 2)] + [(2, 2, 2)] * 4,
    ...                 kernels=[(1, 3, 3)] + [(3, 3, 3)] * 5)
    >>> net.load_state_dict(checkpoint["state_dict"])

    The winner of autoPET 2022 (arXiv:2210.07490, "S5_D2_W32"; channels PET and CT, in this order; patch 192^3):

    >>> net = PlainUNet(2, 2, widths=(32, 64, 128, 256, 512), strides=[(2, 2, 2)] * 4)
    """

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the logits of each class.

        image: (batch, channel, z, y, x), normalised; z, y, x divisible by the product of their strides.
        Returns (batch, class, z, y, x), or with deep supervision a tuple of them, finest first.
        """
        return self.decode(self.encode(image))


class ConvBlock(nn.Module):
    """Convolution, instance normalisation, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel, stride)
        self.instnorm = nn.InstanceNorm3d(out_channels, affine=True)
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.instnorm(self.conv(x)))
        return out


class ConvStack(nn.Module):
    """Convolution blocks one after the other, the first of which changes width and resolution."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        first = ConvBlock(in_channels, out_channels, kernel, stride)
        rest = [ConvBlock(out_channels, out_channels, kernel, (1, 1, 1)) for _ in range(depth - 1)]
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


def stacks(in_channels: int, out_channels: int, convs: int, kernel: Triple, stride: Triple) -> nn.Sequential:
    """`convs` convolution blocks with the keys of the published networks: all but the last, then the last."""
    return nn.Sequential(
        ConvStack(in_channels, out_channels, convs - 1, kernel, stride),
        ConvStack(out_channels, out_channels, 1, kernel, (1, 1, 1)),
    )


def convolution(in_channels: int, out_channels: int, kernel: Triple, stride: Triple) -> nn.Conv3d:
    """A convolution that keeps the size, but for its stride."""
    depth, height, width = kernel
    return nn.Conv3d(in_channels, out_channels, kernel, stride, (depth // 2, height // 2, width // 2))
