"""ResNet-34 and ResNet-50 (arXiv:1512.03385) as five stages, whose maps other networks read.

ResNet-50 strides in the middle convolution of a bottleneck, as the usual ImageNet weights expect.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

BLOCKS_OF_STAGES = (3, 4, 6, 3)
ResNetDepth = Literal[34, 50]


class ResNet(nn.Module):
    """(B, 3, H, W) pixels to the maps of stages 1 to 4, at 1/4, 1/8, 1/16 and 1/32 of the size.

    `channels` are the maps' channels.
    """

    def __init__(self, depth: ResNetDepth) -> None:
        super().__init__()
        bottleneck = depth == 50
        widths = (64, 128, 256, 512)
        self.channels = tuple(4 * width if bottleneck else width for width in widths)
        self.stage0 = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        before = (64, *self.channels)
        for stage, (blocks, width) in enumerate(zip(BLOCKS_OF_STAGES, widths, strict=True), start=1):
            layers = [ResidualBlock(before[stage - 1], width, 1 if stage == 1 else 2, bottleneck=bottleneck)]
            layers += [ResidualBlock(before[stage], width, 1, bottleneck=bottleneck) for _ in range(blocks - 1)]
            self.add_module(f"stage{stage}", nn.Sequential(*layers))

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stage0(image)
        maps = []
        for stage in range(1, 5):
            x = self.get_submodule(f"stage{stage}")(x)
            maps.append(x)
        return maps


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, or a bottleneck of 1 x 1, 3 x 3 and 1 x 1, added to what came in."""

    downsample: nn.Sequential | None

    def __init__(self, channels: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        out = 4 * width if bottleneck else width
        # (kernel, channels out, stride) of each convolution.
        shapes = [(1, width, 1), (3, width, stride), (1, out, 1)] if bottleneck else [(3, width, stride), (3, width, 1)]
        self.convolutions = len(shapes)
        before = channels
        for number, (kernel, after, step) in enumerate(shapes, start=1):
            convolution = nn.Conv2d(before, after, kernel, stride=step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
            before = after
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        for number in range(1, self.convolutions + 1):
            x = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x))
            x = torch.relu(x if number < self.convolutions else x + skip)
        return x
