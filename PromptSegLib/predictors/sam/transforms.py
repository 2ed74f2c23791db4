"""Images, coordinates and logits between an image and the square that a network of SAM's shape sees.

`LongestSideFrame` is the way of SAM and SAM-UNet, `StretchedFrame` SAM-Med2D's; both have the same methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.sam.antialias import resized_antialiased

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Of ImageNet's red, green and blue, 0 to 255."""


@dataclass(frozen=True)
class LongestSideFrame:
    """The longest side becomes `side`; zeros fill the square on the right and at the bottom.

    Attributes:
        image_hw: height and width of the image in pixels.
        side: of the network's input in pixels.
    """

    image_hw: tuple[int, int]
    side: int

    @property
    def resized_hw(self) -> tuple[int, int]:
        """Height and width of the part of the square that holds the image."""
        scale = self.side / max(self.image_hw)
        height, width = (max(int(length * scale + 0.5), 1) for length in self.image_hw)
        return height, width

    def image(self, image: NDArray[np.uint8]) -> Tensor:
        """The network's input (1, 3, side, side), float32, of an RGB image (H, W, 3), uint8."""
        resized = resized_antialiased(checked(image, self.image_hw), self.resized_hw)
        height, width = self.resized_hw
        return functional.pad(normalised(resized), (0, self.side - width, 0, self.side - height))

    def points(self, points_xy: Tensor) -> Tensor:
        """Points (…, 2) in pixels of the image as pixels of the network's input."""
        return scaled_points(points_xy, self.image_hw, self.resized_hw)

    def boxes(self, boxes_xyxy: Tensor) -> Tensor:
        """Boxes (…, 4) in pixels of the image as pixels of the network's input."""
        return self.points(boxes_xyxy.reshape(-1, 2, 2)).reshape(boxes_xyxy.shape)

    def logits(self, low_res: Tensor) -> Tensor:
        """The network's logits (B, M, h, w) as (B, M, H, W), one for each pixel of the image."""
        height, width = self.resized_hw
        square = bilinear(low_res, (self.side, self.side))
        return bilinear(square[..., :height, :width], self.image_hw)

    def low_res(self, masks: Tensor, size_hw: Sequence[int]) -> Tensor:
        """Masks (B, 1, H, W) of the image, 0 to 1, as (B, 1, h, w) of the network's square."""
        height, width = self.resized_hw
        square = functional.pad(bilinear(masks, (height, width)), (0, self.side - width, 0, self.side - height))
        return functional.adaptive_avg_pool2d(square, (size_hw[0], size_hw[1]))


@dataclass(frozen=True)
class StretchedFrame:
    """Each side becomes `side`, whatever the aspect.

    Attributes:
        image_hw: height and width of the image in pixels.
        side: of the network's input in pixels.
    """

    image_hw: tuple[int, int]
    side: int = 256

    def image(self, image: NDArray[np.uint8]) -> Tensor:
        """The network's input (1, 3, side, side), float32, of an RGB image (H, W, 3), uint8."""
        rows, columns = (nearest_indices(length, self.side) for length in self.image_hw)
        return normalised(checked(image, self.image_hw)[rows][:, columns])

    def points(self, points_xy: Tensor) -> Tensor:
        """Points (…, 2) in pixels of the image as pixels of the network's input."""
        return scaled_points(points_xy, self.image_hw, (self.side, self.side))

    def boxes(self, boxes_xyxy: Tensor) -> Tensor:
        """Boxes (…, 4) in pixels of the image as pixels of the network's input."""
        return self.points(boxes_xyxy.reshape(-1, 2, 2)).reshape(boxes_xyxy.shape)

    def logits(self, low_res: Tensor) -> Tensor:
        """The network's logits (B, M, h, w) as (B, M, H, W), one for each pixel of the image."""
        return bilinear(bilinear(low_res, (self.side, self.side)), self.image_hw)

    def low_res(self, masks: Tensor, size_hw: Sequence[int]) -> Tensor:
        """Masks (B, 1, H, W) of the image, 0 to 1, as (B, 1, h, w) of the network's square."""
        square = bilinear(masks, (self.side, self.side))
        return functional.adaptive_avg_pool2d(square, (size_hw[0], size_hw[1]))


def checked(image: NDArray[np.uint8], image_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The image, if it is one that the frame was made for."""
    if image.shape != (*image_hw, 3) or image.dtype != np.uint8:
        raise VolumeError(f"expected a uint8 image {(*image_hw, 3)}, got {image.dtype} {image.shape}")
    return image


def normalised(image: NDArray[np.uint8]) -> Tensor:
    """An RGB image (H, W, 3) as (1, 3, H, W), float32, less the mean and in standard deviations."""
    pixels = torch.from_numpy(np.array(image, dtype=np.float32, order="C"))
    return ((pixels - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)).permute(2, 0, 1)[None]


def scaled_points(points_xy: Tensor, from_hw: Sequence[int], to_hw: Sequence[int]) -> Tensor:
    """Points (…, 2) as (x, y) on an image of one size, on another size's; float64."""
    scale = [to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]]
    return points_xy.double() * torch.tensor(scale, dtype=torch.float64, device=points_xy.device)


def nearest_indices(length: int, new_length: int) -> NDArray[np.intp]:
    """The pixel that each of `new_length` pixels is taken from: the one at or before its place.

    As in OpenCV, the step is the rounded reciprocal of a rounded ratio and may miss a whole number by a hair.
    """
    step = 1.0 / (new_length / length)
    return np.minimum((np.arange(new_length) * step).astype(np.intp), length - 1)


def bilinear(maps: Tensor, size_hw: Sequence[int]) -> Tensor:
    """(B, C, h, w) maps interpolated to (B, C, H, W), outer edge upon outer edge."""
    return functional.interpolate(maps, size=tuple(size_hw), mode="bilinear", align_corners=False)
