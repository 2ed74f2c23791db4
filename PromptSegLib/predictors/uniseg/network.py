"""UniSeg: one U-Net for eleven tasks, told which by a learned prompt (arXiv:2304.03493)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.names.plain_unet import ConvBlock, ConvStack, Triple, UNetParts, convolution
from PromptSegLib.predictors.uniseg.tasks import TASKS

PUBLISHED_PATCH = (64, 192, 192)
PUBLISHED_STRIDES = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
PUBLISHED_KERNELS = ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
PUBLISHED_WIDTHS = (32, 64, 128, 256, 320, 320)


class UniSeg(UNetParts):
    """A plain U-Net whose deepest features are completed by the prompt of one task.

    The defaults are the published network (32.1 M parameters); others are built from their patch and widths:

    >>> net = UniSeg()
    >>> net.load_state_dict(checkpoint["state_dict"])
    >>> logits = net(patch, task=6)
    >>> net = UniSeg(patch=(32, 64, 64), widths=(8, 16, 32, 48, 48, 48))

    The image must be exactly one patch: the learned prompt has a value for each place in it. One, two and four
    channels have a first convolution each.
    """

    def __init__(
        self,
        out_channels: int = 4,
        *,
        tasks: int = len(TASKS),
        patch: Triple = PUBLISHED_PATCH,
        widths: Sequence[int] = PUBLISHED_WIDTHS,
        strides: Sequence[Triple] = PUBLISHED_STRIDES,
        kernels: Sequence[Triple] = PUBLISHED_KERNELS,
        deep_supervision: bool = False,
    ) -> None:
        """Build the network; patch: (z, y, x) voxels; the rest as for `UNetParts`."""
        super().__init__(
            1,
            out_channels,
            widths=widths,
            strides=strides,
            kernels=kernels,
            prompt_channels=1,
            deep_supervision=deep_supervision,
        )
        self.patch = tuple(patch)
        prompt_size = [p // prod(s[axis] for s in strides) for axis, p in enumerate(patch)]
        self.intermedia_prompt = nn.Parameter(torch.randn(1, tasks, *prompt_size))
        self.fusion_layer = FusionStack(widths[-1] + tasks, tasks)
        self.conv_blocks_context[0] = Stem(widths[0], kernels[0])

    def forward(self, image: Tensor, task: int) -> Tensor | tuple[Tensor, ...]:
        """Return the logits of each class.

        image: (batch, 1, 2 or 4, *patch), normalised. task: its number, see `TASKS`.
        Returns (batch, class, *patch), or with deep supervision a tuple of them, finest first. Channels beyond
        the task's classes mean nothing: they are cut after the softmax, as in training.
        """
        if tuple(image.shape[2:]) != self.patch:
            raise VolumeError(f"expected an image of one patch {self.patch}, got {tuple(image.shape[2:])}")
        *features, deepest = self.encode(image)
        prompt = self.task_prompts(deepest)[:, task : task + 1]  # (batch, 1, *prompt size)
        return self.decode([*features, torch.cat((deepest, prompt), dim=1)])

    def task_prompts(self, deepest: Tensor) -> Tensor:
        """The prompts of all tasks, (batch, tasks, z, y, x), for the deepest features (batch, width, z, y, x)."""
        learned = self.intermedia_prompt.expand(len(deepest), -1, -1, -1, -1)
        prompts: Tensor = self.fusion_layer(torch.cat((deepest, learned), dim=1))
        return prompts


class FusionStack(ConvStack):
    """Three convolution blocks from `in_channels` over a quarter of them to one channel a task."""

    def __init__(self, in_channels: int, tasks: int) -> None:
        middle = in_channels // 4
        super().__init__(in_channels, middle, 2, (3, 3, 3), (1, 1, 1))
        self.blocks.append(ConvBlock(middle, tasks, (3, 3, 3), (1, 1, 1)))


class Stem(ConvStack):
    """The first level: two convolution blocks, the first of which takes any of the numbers of channels."""

    def __init__(self, out_channels: int, kernel: Triple) -> None:
        super().__init__(1, out_channels, 2, kernel, (1, 1, 1))
        self.blocks[0] = AnyChannelsBlock(out_channels, kernel)


class AnyChannelsBlock(nn.Module):
    """The first block: a convolution for each number of channels, then what they share."""

    def __init__(self, out_channels: int, kernel: Triple) -> None:
        super().__init__()
        self.conv_1 = convolution(1, out_channels, kernel, (1, 1, 1))
        self.conv_2 = convolution(2, out_channels, kernel, (1, 1, 1))
        self.conv_4 = convolution(4, out_channels, kernel, (1, 1, 1))
        self.instnorm = nn.InstanceNorm3d(out_channels, affine=True)
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        by_channels = {1: self.conv_1, 2: self.conv_2, 4: self.conv_4}
        if x.shape[1] not in by_channels:
            raise VolumeError(f"expected an image of 1, 2 or 4 channels, got {x.shape[1]}")
        out: Tensor = self.activation(self.instnorm(by_channels[x.shape[1]](x)))
        return out
