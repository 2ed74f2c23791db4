"""Images, prompts and logits between an image and the small square that ScribblePrompt's UNet sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from PromptSegLib.errors import PromptError


@dataclass(frozen=True)
class ScribblePromptFrame:
    """Each side becomes `side`, whatever the aspect.

    Attributes:
        image_hw: height and width of the image in pixels.
        side: of the network's input in pixels.
    """

    image_hw: tuple[int, int]
    side: int = 128

    def maps(self, maps: Tensor) -> Tensor:
        """An image or scribbles (B, C, H, W) as (B, C, side, side)."""
        return functional.interpolate(maps, size=(self.side, self.side), mode="bilinear")

    def points(self, points_xy: Tensor) -> Tensor:
        """Points (…, 2) in pixels of the image as pixels of the network's input: truncated, int32."""
        size_xy = torch.tensor([self.image_hw[1], self.image_hw[0]], device=points_xy.device)
        return (points_xy.double() * self.side / size_xy).int()

    def boxes(self, boxes_xyxy: Tensor) -> Tensor:
        """Boxes (…, 4) in pixels of the image as pixels of the network's input, int32."""
        return self.points(boxes_xyxy.reshape(-1, 2, 2)).reshape(boxes_xyxy.shape)

    def logits(self, logits: Tensor) -> Tensor:
        """The network's logits (B, 1, side, side) as (B, 1, H, W), one for each pixel of the image."""
        return functional.interpolate(logits, size=self.image_hw, mode="bilinear")


def prompt_channels(
    image: Tensor,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    boxes: Tensor | None = None,
    scribbles: Tensor | None = None,
    logits: Tensor | None = None,
) -> Tensor:
    """The network's input (B, 5, H, W): image, boxes, positive and negative strokes, previous logits.

    Args:
        image: (B, 1, H, W), 0 to 1.
        points: (B, N, 2) as (x, y), whole pixels.
        labels: (B, N): 1 positive, 0 negative, anything else is left out.
        boxes: (B, K, 4) as opposite corners (x, y, x, y); the lower x and y lie inside, the upper outside.
        scribbles: (B, 2, H, W), 0 to 1: positive and negative.
        logits: (B, 1, H, W), what the network gave before.

    Raises:
        PromptError: points without labels, or a point outside the image.
    """
    filled = torch.zeros_like(image) if boxes is None else filled_boxes(boxes, image)
    strokes = torch.zeros_like(image).repeat(1, 2, 1, 1) if scribbles is None else scribbles.clone()
    if points is not None:
        if labels is None or points.shape != (*labels.shape, 2):
            raise PromptError(f"{tuple(points.shape)} points need labels, one each; got {labels}")
        add_clicks(strokes, points.long(), labels)
    previous = torch.zeros_like(image) if logits is None else logits
    return torch.cat([image, filled, strokes.clamp(0, 1), previous], dim=1)


def filled_boxes(boxes: Tensor, image: Tensor) -> Tensor:
    """A map like `image`, 1 within any box of (B, K, 4), 0 elsewhere."""
    corners = boxes.view(*boxes.shape[:2], 2, 2)
    low, high = corners.amin(dim=2)[..., None, None], corners.amax(dim=2)[..., None, None]  # (B, K, 2, 1, 1)
    y, x = (torch.arange(length, device=boxes.device) for length in image.shape[2:])
    within_x = (x >= low[:, :, 0]) & (x < high[:, :, 0])  # (B, K, 1, W)
    within_y = (y[:, None] >= low[:, :, 1]) & (y[:, None] < high[:, :, 1])  # (B, K, H, 1)
    return (within_x & within_y).any(dim=1, keepdim=True).to(image.dtype)


def add_clicks(strokes: Tensor, points: Tensor, labels: Tensor) -> None:
    """Set the pixel that each click hit in (B, 2, H, W) strokes to 1, in place."""
    height, width = strokes.shape[2:]
    for channel, label in enumerate((1, 0)):
        item, click = torch.nonzero(labels == label, as_tuple=True)
        x, y = points[item, click].unbind(-1)
        if ((x < 0) | (x >= width) | (y < 0) | (y >= height)).any():
            raise PromptError(f"points must lie within 0 to {width - 1} and 0 to {height - 1}, got {points}")
        strokes[item, channel, y, x] = 1
