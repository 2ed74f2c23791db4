"""Images, coordinates and masks between an image and the square that MedSAM's network sees.

Wang and Ma's inference (Nature Communications 15, 654, 2024): cubic resampling without keeping the aspect, smoothed
before it shrinks, whole grey levels, then 0 to 1; a mask is what has a probability above a half after bilinear
interpolation of the probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from PromptSegLib.predictors.sam.transforms import StretchedFrame, bilinear, checked


@dataclass(frozen=True)
class MedSamFrame(StretchedFrame):
    """Each side becomes `side`, whatever the aspect; see `StretchedFrame` for points and boxes.

    Attributes:
        image_hw: height and width of the image in pixels.
        side: of the network's input in pixels.
    """

    side: int = 1024

    def image(self, image: NDArray[np.uint8]) -> Tensor:
        """The network's input (1, 3, side, side), float32 from 0 to 1, of an RGB image (H, W, 3), uint8."""
        image = checked(image, self.image_hw)
        is_grey = (image == image[..., :1]).all()
        channels = [resized_cubic(image[..., c], (self.side, self.side)) for c in range(1 if is_grey else 3)]
        pixels = np.stack(channels * 3 if is_grey else channels).astype(np.float32)  # (3, side, side)
        low, high = pixels.min(), pixels.max()
        return torch.from_numpy((pixels - low) / max(high - low, np.float32(1e-8)))[None]

    def logits(self, low_res: Tensor) -> Tensor:
        """The network's logits (B, M, h, w) as (B, M, H, W), those of the interpolated probabilities."""
        return torch.logit(bilinear(low_res.sigmoid(), self.image_hw), eps=1e-6)


def resized_cubic(channel: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A channel (H, W), uint8, as (h, w), by cubic splines, edges mirrored, smoothed along what becomes shorter."""
    ratios = np.divide(channel.shape, size_hw)
    smooth = ndimage.gaussian_filter(channel.astype(np.float64), np.maximum(0, (ratios - 1) / 2), mode="mirror")
    resized = ndimage.zoom(smooth, 1 / ratios, order=3, mode="mirror", grid_mode=True)
    whole: NDArray[np.uint8] = np.clip(resized, channel.min(), channel.max()).astype(np.uint8)
    return whole
