"""ScribblePrompt's UNet (arXiv:2312.07381): an image and maps of its prompts in, logits of one mask out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ScribblePromptUNet(nn.Module):
    """A UNet of single convolutions with PReLU, all of one width, and no normalisation.

    The published network is `ScribblePromptUNet()`; its weights are a plain state dict. With
    `PromptSegLib.predictors.scribbleprompt.transforms`::

        network = ScribblePromptUNet().eval()  # a smaller one: ScribblePromptUNet(width=12)
        network.load_state_dict(torch.load(path, weights_only=True))
        frame = ScribblePromptFrame(image.shape[2:])
        channels = prompt_channels(frame.maps(image), frame.points(points_xy), labels, frame.boxes(boxes_xyxy))
        logits = frame.logits(network(channels))

    Args:
        channels: input maps (image, box, positive, negative, previous logits).
        width: channels of every hidden layer.
        levels: how many times the size is halved.
    """

    def __init__(self, *, channels: int = 5, width: int = 192, levels: int = 4) -> None:
        super().__init__()
        self.downs = nn.ModuleList(Convolution(channels if level == 0 else width, width) for level in range(levels))
        self.bottleneck = Convolution(width, width)
        # The state dict counts the doublings of the size as layers too; `forward` does these itself.
        self.ups = nn.ModuleList(
            layer for _ in range(levels) for layer in (nn.Identity(), Convolution(2 * width, width))
        )
        self.final_conv = nn.ModuleDict({"conv": nn.Sequential(nn.Conv2d(width, 1, kernel_size=1))})

    def forward(self, channels: Tensor) -> Tensor:
        """Logits (B, 1, H, W) for (B, channels, H, W); trained at 128 x 128, runs from 2**levels on."""
        x = channels
        skips = []
        for down in self.downs:
            skips.append(down(x))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.bottleneck(x)
        for up, skip in zip(self.ups[1::2], reversed(skips), strict=True):
            x = functional.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=True)
            x = up(torch.cat([skip, x], dim=1))
        logits: Tensor = self.final_conv["conv"](x)
        return logits


class Convolution(nn.Module):
    """A 3 x 3 convolution and a PReLU with one slope."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(channels, out, kernel_size=3, padding=1), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out
