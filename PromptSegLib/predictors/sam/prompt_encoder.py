"""The prompt encoder of the Segment Anything Model (arXiv:2304.02643, appendix A)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.sam.layers import LayerNorm2d

PADDING, NEGATIVE, POSITIVE, FIRST_CORNER, LAST_CORNER = -1, 0, 1, 2, 3
"""Labels of points. Padding means nothing; corners come from boxes."""


class PromptEncoder(nn.Module):
    """Points, boxes and masks as embeddings of `width` channels that the mask decoder takes.

    Args:
        width: channels of an embedding.
        patch: side in pixels of the image encoder's patches.
        mask_width: channels of the mask's last hidden map.
    """

    def __init__(self, *, width: int = 256, patch: int = 16, mask_width: int = 16) -> None:
        super().__init__()
        self.patch = patch
        self.pe_layer = FourierPositions(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_width // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_width // 4),
            nn.GELU(),
            nn.Conv2d(mask_width // 4, mask_width, kernel_size=2, stride=2),
            LayerNorm2d(mask_width),
            nn.GELU(),
            nn.Conv2d(mask_width, width, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(
        self,
        grid_hw: Sequence[int],
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sparse (B, N, width) and dense (B or 1, width, h, w or 1, 1) embeddings of B prompts.

        Points (B, K, 2), labels (B, K), boxes (B, 4) and mask (B, 1, 4h, 4w) as in `Sam.decode`, on an image
        of (h, w) patches.
        """
        mask_shape = (1, 4 * grid_hw[0], 4 * grid_hw[1])
        if mask is not None and mask.shape[1:] != mask_shape:
            raise PromptError(f"the mask must have shape (B, *{mask_shape}), got {tuple(mask.shape)}")
        check_shapes(points, labels, boxes)
        device = self.no_mask_embed.weight.device
        here = (None if prompt is None else prompt.to(device) for prompt in (points, labels, boxes))
        return self.sparse(*points_and_corners(*here), grid_hw), self.dense(mask, grid_hw)

    def sparse(self, points: Tensor, labels: Tensor, grid_hw: Sequence[int]) -> Tensor:
        """(B, N, 2) points (x, y), in pixels of the network's input, and (B, N) labels as (B, N, width)."""
        weight = self.not_a_point_embed.weight
        points, labels = points.to(weight.device), labels.to(weight.device, torch.long)
        input_xy = torch.tensor([grid_hw[1], grid_hw[0]], device=weight.device) * self.patch
        positions: Tensor = self.pe_layer((points.float() + 0.5) / input_xy)  # centres of pixels, (B, N, width)
        placed = positions.masked_fill((labels == PADDING)[..., None], 0)
        kinds = torch.cat(
            [cast(nn.Embedding, kind).weight for kind in (self.not_a_point_embed, *self.point_embeddings)]
        )
        return placed + kinds[labels + 1]

    def dense(self, mask: Tensor | None, grid_hw: Sequence[int]) -> Tensor:
        """A (B, 1, 4h, 4w) mask as (B, width, h, w); without one, (1, width, 1, 1) for all places."""
        weight = self.no_mask_embed.weight
        if mask is None:
            return weight[:, :, None, None]
        embedded: Tensor = self.mask_downscaling(mask.to(weight.device, weight.dtype))
        return embedded

    def positions(self, grid_hw: Sequence[int]) -> Tensor:
        """The positional code of every token of an (h, w) grid: (1, width, h, w)."""
        height, width = grid_hw
        device = self.no_mask_embed.weight.device
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        grid_xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2)
        positions: Tensor = self.pe_layer(grid_xy).permute(2, 0, 1)[None]
        return positions


def points_and_corners(points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Points (B, N, 2) and labels (B, N) of all that is given: points (B, K, 2), labels (B, K), boxes (B, 4).

    The corners of the box come last; a point of padding stands for a missing box, as in training.
    """
    if boxes is not None:
        last = boxes.reshape(-1, 2, 2)
        last_labels = torch.tensor([FIRST_CORNER, LAST_CORNER], device=boxes.device).expand(len(boxes), 2)
    elif points is not None:
        last = points.new_zeros(len(points), 1, 2)
        last_labels = torch.full((len(points), 1), PADDING, device=points.device)
    else:
        return torch.zeros(1, 0, 2), torch.zeros(1, 0)
    if points is None or labels is None:
        return last, last_labels
    return torch.cat([points, last], dim=1), torch.cat([labels, last_labels], dim=1)


def check_shapes(points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> None:
    """Raise a PromptError unless points are (B, N, 2), labels (B, N) and boxes (B, 4), of one B."""
    of_points, of_labels, of_boxes = (
        None if prompt is None else tuple(prompt.shape) for prompt in (points, labels, boxes)
    )
    fitting = None if of_labels is None else (*of_labels, 2)
    if of_points != fitting or (fitting and len(fitting) != 3):
        raise PromptError(f"points and labels must have shapes (B, N, 2) and (B, N), got {of_points} and {of_labels}")
    if of_boxes and (len(of_boxes) != 2 or of_boxes[1] != 4):
        raise PromptError(f"boxes must have shape (B, 4), got {of_boxes}")
    if of_points and of_boxes and of_points[0] != of_boxes[0]:
        raise PromptError(f"points and boxes must be as many, got {of_points[0]} and {of_boxes[0]}")


class FourierPositions(nn.Module):
    """Sines and cosines of random projections of a place (arXiv:2006.10739): (…, 2) in 0..1 to (…, width)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """The code, in the network's dtype; float32 until then: in half precision, pixels would coincide."""
        projection = self.positional_encoding_gaussian_matrix
        x, y = (2 * xy.float() - 1)[..., None].unbind(-2)  # each (…, 1)
        angles = 2 * math.pi * (x * projection[0].float() + y * projection[1].float())  # (…, width / 2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(projection.dtype)
