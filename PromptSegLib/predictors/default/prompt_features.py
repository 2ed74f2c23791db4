"""What the default model's network sees: the image, its prompts as maps, and what their intensities say."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FEATURES = 8
"""Channels of `prompt_features`."""

BINS = 32
BIN_SIGMA = 1.5
"""Bins of an intensity histogram over [0, 1], and the Gaussian it is smoothed with (in bins, cut at 4)."""

OUTSIDE_WEIGHT = 0.02
"""What a voxel outside a box counts in the histogram of the negative prompts, where a prompt voxel counts 1."""

_PIECES = 64
"""Divides the voxels of every grid: networks halve each side at least three times."""

NOT_KNOWN = 0.5
"""The last channel where there is neither a previous mask nor a box."""


def prompt_features(image: Tensor, positive: Tensor, negative: Tensor, box: Tensor, previous: Tensor) -> Tensor:
    """(B, FEATURES, *S) float32 for maps (B, 1, *S) float32 on an isotropic grid, 2D (H, W) or 3D (D, H, W).

    Args:
        image: intensities in [0, 1] (what is beyond is clipped): 0 and 1 are the ends of the window that the user
            chose, else the 0.3 and 99.7 percentile of this grid.
        positive: 1 at the voxels of positive clicks, scribbles and of lassos' interiors, 0 elsewhere; a click is one
            voxel.
        negative: the same for negative ones.
        box: 1 inside the box, 0 elsewhere; all 0 without a box.
        previous: probability of the mask so far in [0, 1] (a mask as 0 and 1 is fine); all 0 without one.

    Returns:
        channels: 0 image, zero mean and unit standard deviation (population's, plus 1e-3) over the grid;
        1, 2 prompt voxels `grown` to balls of radius 2.5; 3 box; 4 previous;
        5 likelihood of each voxel's intensity under the positive prompts, most likely = 1; 6 the same for the
        negative ones and the box's outside; 7 likelihood inside / (inside + outside) of the previous mask, else of
        the box, else NOT_KNOWN. For 5 to 7 an intensity is the mean over 3 x 3 (x 3) voxels, and what prompts say is
        collected from their voxels and the `neighboured` ones.
    """
    image = image.clamp(0.0, 1.0)
    axes = tuple(range(1, image.dim()))
    spread, mean = torch.std_mean(image, dim=axes, correction=0, keepdim=True)
    position = (_local_mean(image).flatten(1) * (BINS - 1)).clamp(0.0, BINS - 1 - 1e-4)
    boxed = (box.flatten(1).amax(1) > 0).to(image.dtype).view(-1, *[1] * len(axes))
    masked = (previous.flatten(1).amax(1) > 0).to(image.dtype).view_as(boxed)
    region = torch.where(masked > 0, previous, box)
    beside = neighboured(negative) + OUTSIDE_WEIGHT * boxed * (1.0 - box)
    evidence = torch.cat([region, 1.0 - region, neighboured(positive), beside], dim=1)
    inside, outside, likely, unlikely = _histograms(position, evidence).unbind(1)
    inside, outside = inside / (inside.sum(1, keepdim=True) + 1e-6), outside / (outside.sum(1, keepdim=True) + 1e-6)
    likely, unlikely = (counts / (counts.amax(1, keepdim=True) + 1e-6) for counts in (likely, unlikely))
    ratio = (inside + 1e-4) / (inside + outside + 2e-4)
    return torch.cat(
        [
            (image - mean) / (spread + 1e-3),
            grown(positive),
            grown(negative),
            box,
            previous,
            _projected(position, likely).view_as(image),
            _projected(position, unlikely).view_as(image),
            torch.where((masked + boxed) > 0, _projected(position, ratio).view_as(image), NOT_KNOWN),
        ],
        dim=1,
    )


def grown(marks: Tensor) -> Tensor:
    """Marks (B, 1, *S), 0 or 1, dilated by the ball of radius 2.5: the cube of side 3, then the ball of radius 1."""
    for axis in range(2, marks.dim()):
        marks = _spread(marks, axis)
    return neighboured(marks)


def neighboured(marks: Tensor) -> Tensor:
    """Marks (B, 1, *S), 0 or 1, dilated by the ball of radius 1: a voxel and its 4 or 6 neighbours."""
    dilated = marks
    for axis in range(2, marks.dim()):
        dilated = torch.maximum(dilated, _spread(marks, axis))
    return dilated


def _spread(marks: Tensor, axis: int) -> Tensor:
    """Maximum over 3 voxels along an axis. Slices: a convolution took 20 times as long."""
    spread, count = marks.clone(), marks.shape[axis] - 1
    for to, of in ((1, 0), (0, 1)):
        there = spread.narrow(axis, to, count)
        torch.maximum(there, marks.narrow(axis, of, count), out=there)
    return spread


def _local_mean(image: Tensor) -> Tensor:
    """Mean over 3 voxels along every axis; the border is repeated."""
    for axis in range(2, image.dim()):
        count = image.shape[axis]
        before, after = image.narrow(axis, 0, 1), image.narrow(axis, count - 1, 1)
        padded = torch.cat([before, image, after], dim=axis)
        image = (padded.narrow(axis, 0, count) + image + padded.narrow(axis, 2, count)) / 3
    return image


def _histograms(position: Tensor, weights: Tensor) -> Tensor:
    """Smoothed histograms (B, C, BINS) of positions (B, N) in bins, each in its two bins, for weights (B, C, *S)."""
    counts = (_multiplied if position.is_cuda else _added)(position, weights.flatten(2))
    taps = torch.arange(-4, 5, dtype=position.dtype, device=position.device)
    kernel = torch.exp(-taps.square() / (2 * BIN_SIGMA**2))[None, None]
    return functional.conv1d(counts.flatten(0, 1)[:, None], kernel, padding=4).view_as(counts)


def _added(position: Tensor, weights: Tensor) -> Tensor:
    """Histograms (B, C, BINS) for weights (B, C, N), voxel by voxel."""
    low = position.floor()
    share, index = (position - low)[:, None], low.long()[:, None].expand_as(weights)
    counts = torch.zeros(*weights.shape[:2], BINS, dtype=position.dtype, device=position.device)
    counts.scatter_add_(2, index, weights * (1.0 - share))
    counts.scatter_add_(2, index + 1, weights * share)
    return counts


def _multiplied(position: Tensor, weights: Tensor) -> Tensor:
    """The same as products of matrices: on a GPU additions that meet in one bin come in no fixed order.

    They are many and small, which keeps more of a GPU at work than one a sample.
    """
    bins = torch.arange(BINS, dtype=position.dtype, device=position.device)
    shares = (position[..., None] - bins).abs_().neg_().add_(1.0).clamp_(min=0.0)
    pieces = weights.view(*weights.shape[:2], _PIECES, -1).transpose(1, 2)
    return (pieces @ shares.view(len(shares), _PIECES, -1, BINS)).sum(1)


def _projected(position: Tensor, table: Tensor) -> Tensor:
    """Linear interpolation in tables (B, BINS) at positions (B, N): continuous, so rounding cannot matter."""
    low = position.floor()
    share, index = position - low, low.long()
    return torch.lerp(table.gather(1, index), table.gather(1, index + 1), share)
