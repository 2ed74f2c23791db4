"""Images and coordinates between an image and the square that SAM 2's network sees (arXiv:2408.00714)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PromptSegLib.predictors.sam.transforms import StretchedFrame, bilinear, checked, normalised


@dataclass(frozen=True)
class Sam2Frame(StretchedFrame):
    """Each side becomes `side`, whatever the aspect, smoothed where it shrinks; see `StretchedFrame` for the rest.

    Attributes:
        image_hw: height and width of the image in pixels.
        side: of the network's input in pixels.
    """

    side: int = 1024

    def image(self, image: NDArray[np.uint8]) -> Tensor:
        """The network's input (1, 3, side, side), float32, of an RGB image (H, W, 3), uint8."""
        pixels = normalised(checked(image, self.image_hw))
        size = (self.side, self.side)
        return functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)

    def logits(self, low_res: Tensor) -> Tensor:
        """The network's logits (B, M, h, w) as (B, M, H, W), one for each pixel of the image."""
        return bilinear(low_res, self.image_hw)

    def mask(self, mask: Tensor) -> Tensor:
        """A mask (H, W), bool, as (1, 1, side, side), 0 or 1."""
        square = functional.interpolate(
            mask.float()[None, None], size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=True
        )
        return (square >= 0.5).float()
