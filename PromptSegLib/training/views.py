"""What of a synthetic image the network is shown: a turned square or cube of varying size, sampled on its grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from PromptSegLib.training.draws import Draws

_ANTIALIAS_FROM = 1.3
"""Pixels of the image per pixel of the view from which on a 2D view is sampled twice as densely and averaged."""


@dataclass(frozen=True)
class Views:
    """Where the views are, in the image's own frame, in which it spans [-1, 1].

    center: (B, dims); half: (B,), half the side of a view; rotation: (B, dims, dims), from the view's frame (in which
    the view spans [-1, 1]) to the image's. A rotation may mirror.
    """

    center: Tensor
    half: Tensor
    rotation: Tensor

    def to_image(self, points: Tensor) -> Tensor:
        """Points (B, N, dims) of the views in the images."""
        return self.center[:, None] + self.half[:, None, None] * points @ self.rotation.mT

    def from_image(self, points: Tensor) -> Tensor:
        """Points (B, N, dims) of the images in the views."""
        return ((points - self.center[:, None]) @ self.rotation) / self.half[:, None, None]

    def __getitem__(self, which: Tensor) -> Views:
        return Views(self.center[which], self.half[which], self.rotation[which])


def grid_points(size: int, dims: int, device: torch.device) -> Tensor:
    """(size**dims, dims): voxel centers of a view in its frame, last axis fastest."""
    axis = (2 * torch.arange(size, device=device) + 1) / size - 1.0
    return torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"), dim=-1).flatten(0, -2)


def sample(images: Tensor, views: Views, size: int, *, border: bool) -> Tensor:
    """(B, C, *[size] * dims) of images (B, C, *S): linear; beyond the image its border is repeated, or there is 0."""
    dims = images.dim() - 2
    factor = float(views.half.max()) * images.shape[2] / size
    dense = 2 if dims == 2 and factor > _ANTIALIAS_FROM else 1
    points = views.to_image(grid_points(size * dense, dims, images.device)[None].expand(len(images), -1, -1))
    sampled = _at(images, points, size * dense, border=border)
    return functional.avg_pool2d(sampled, dense) if dense > 1 else sampled


def resample(maps: Tensor, old: Views, new: Views) -> Tensor:
    """Maps (B, C, *S) of the old views, as the new views show them; 0 where the old ones showed nothing."""
    dims, size = maps.dim() - 2, maps.shape[2]
    points = old.from_image(new.to_image(grid_points(size, dims, maps.device)[None].expand(len(maps), -1, -1)))
    return _at(maps, points, size, border=False)


def _at(images: Tensor, points: Tensor, size: int, *, border: bool) -> Tensor:
    """Values of images (B, C, *S) at points (B, size**dims, dims) of their frame: (B, C, *[size] * dims)."""
    dims = images.dim() - 2
    grid = points.flip(-1).view(len(images), *[size] * dims, dims)
    padding = "border" if border else "zeros"
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def bounds(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (B, dims) of the masks' bounding boxes in [-1, 1]; masks (B, 1, *S). Of nothing: an empty corner."""
    dims = masks.dim() - 2
    lows, highs = [], []
    for axis in range(dims):
        others = [2 + other for other in range(dims) if other != axis]
        line = (masks[:, 0].amax([other - 1 for other in others]) > 0.5).to(torch.uint8)
        side = line.shape[1]
        lows.append(2 * line.argmax(1) / side - 1.0)
        highs.append(1.0 - 2 * line.flip(1).argmax(1) / side)
    return torch.stack(lows, 1), torch.stack(highs, 1)


def turned(draws: Draws, count: int, dims: int) -> Tensor:
    """Rotations (B, dims, dims): half of them any, half of them along the axes; mirrored or not."""
    order = draws.uniform(0.0, 1.0, count, dims).argsort(1)
    along = torch.eye(dims, device=draws.device)[order] * draws.sign(count, dims, 1)
    return torch.where(draws.chance(0.5, count)[:, None, None], draws.rotations(dims, count), along)


def view_targets(draws: Draws, masks: Tensor) -> Views:
    """First views of targets (B, 1, *S): of 1.1 to 7 times its extent, somewhat off its middle; a few cut it off."""
    count, dims = len(masks), masks.dim() - 2
    low, high = bounds(masks)
    extent = ((high - low) / 2).amax(1)
    zoom = torch.where(draws.chance(0.6, count), draws.log_uniform(1.8, 4.2, count), draws.log_uniform(1.1, 7.0, count))
    zoom = torch.where(draws.chance(0.06, count), draws.uniform(0.5, 1.1, count), zoom)
    half = (extent * zoom).clamp(16 / masks.shape[2], 1.15)
    slack = 0.6 * (half - extent).clamp(min=0.0) * draws.uniform(0.0, 1.0, count)
    center = (low + high) / 2 + slack[:, None] * draws.uniform(-1.0, 1.0, count, dims)
    room = (1.0 - 0.9 * half).clamp(min=0.0)[:, None]  # most views show little of what is beyond the image
    within = torch.maximum(torch.minimum(center, room), -room)
    center = torch.where(draws.chance(0.75, count)[:, None], within, center)
    return Views(center, half, turned(draws, count, dims))


def view_again(draws: Draws, views: Views, masks: Tensor) -> Views:
    """Other views of what masks (B, 1, *S) in these views show: 1.15 to 3 times its extent, turned alike."""
    count, dims = len(masks), masks.dim() - 2
    low, high = bounds(masks)
    extent = ((high - low) / 2).amax(1)
    zoom = draws.log_uniform(1.15, 3.0, count)
    jitter = 0.3 * (zoom - 1.0)[:, None] * extent[:, None] * draws.uniform(-1.0, 1.0, count, dims)
    center = views.to_image(((low + high) / 2 + jitter)[:, None])[:, 0]
    return Views(center, (views.half * extent * zoom).clamp(0.06, 1.15), views.rotation)
