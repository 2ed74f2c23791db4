"""Images between an image and the square that SAM 3's networks see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PromptSegLib.predictors.sam.transforms import checked
from PromptSegLib.predictors.sam2.transforms import Sam2Frame


@dataclass(frozen=True)
class Sam3Frame(Sam2Frame):
    """Each side becomes `side`, in whole grey levels, and black to white -1 to 1; see `Sam2Frame` for the rest.

    Attributes:
        image_hw: height and width of the image in pixels.
        side: of the network's input in pixels.
    """

    side: int = 1008

    def image(self, image: NDArray[np.uint8]) -> Tensor:
        """The network's input (1, 3, side, side), float32, of an RGB image (H, W, 3), uint8."""
        pixels = torch.from_numpy(np.ascontiguousarray(checked(image, self.image_hw))).permute(2, 0, 1)[None]
        size = (self.side, self.side)
        # Of 8 bits, as transformers' own processor resizes: the sides of a pixel are rounded before it is scaled.
        square = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
        return square.float() / 127.5 - 1
