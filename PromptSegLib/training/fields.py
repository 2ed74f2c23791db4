"""Scalar fields over a batch of grids: positions, smooth noise, blur, and distances to shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from PromptSegLib.training.draws import Draws

_TUBE_PIECES = 12


def each(values: Tensor, dims: int) -> Tensor:
    """Per-sample values (B, …), made to broadcast over grids: (B, …, 1, 1[, 1])."""
    return values.reshape(*values.shape, *[1] * dims)


def positions(shape: Sequence[int], device: torch.device) -> Tensor:
    """(1, dims, *shape): where each voxel is; the grid spans [-1, 1] along every axis."""
    axes = [torch.linspace(-1.0, 1.0, side, device=device) for side in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def smooth_noise(draws: Draws, batch: int, channels: int, shape: Sequence[int], scale: float) -> Tensor:
    """(B, channels, *shape) Gaussian noise with features of about `scale` voxels, standard deviation 1 per map."""
    coarse = [max(2, math.ceil(side / scale) + 1) for side in shape]
    noise = draws.normal(batch, channels, *coarse)
    smooth, linear = ("bicubic", "bilinear") if len(shape) == 2 else ("trilinear", "trilinear")
    # In two stages: the first is smoother than linear, the second three times as fast as cubic.
    finer = 4 if len(shape) == 2 else 2
    between = [min(side, finer * few) for side, few in zip(shape, coarse, strict=True)]
    noise = functional.interpolate(noise, size=between, mode=smooth, align_corners=True)
    if between != list(shape):
        noise = functional.interpolate(noise, size=list(shape), mode=linear, align_corners=True)
    some = noise[..., ::4].flatten(2)
    return noise / (each(some.square().mean(2).sqrt(), len(shape)) + 1e-6)


def blur(field: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of (B, *S), each sample by its own sigma (B, dims) in voxels; at borders, of what is there."""
    for axis in range(1, field.dim()):
        side = field.shape[axis]
        steps = torch.arange(side, dtype=field.dtype, device=field.device)
        squares = (steps[:, None] - steps).square()
        exponents = squares / (2 * sigma[:, axis - 1].clamp(min=1e-2).square()[:, None, None])
        kernel = torch.exp(-exponents.clamp(max=30.0))  # smaller numbers are slow
        kernel = kernel / kernel.sum(2, keepdim=True)
        # A product with a (side, side) matrix: BLAS makes this faster than a convolution with many kernels.
        lines = field.movedim(axis, 1)
        field = torch.bmm(kernel, lines.flatten(2)).view(lines.shape).movedim(1, axis)
    return field.contiguous()


def superellipse(points: Tensor, center: Tensor, radii: Tensor, rotation: Tensor, power: Tensor) -> Tensor:
    """(B, *S): 0 at the center, 1 at the surface of the superellipse or superellipsoid.

    points: (B, dims, *S); center, radii: (B, dims); rotation: (B, dims, dims); power: (B,), 2 for an ellipse.
    """
    dims = points.shape[1]
    offset = (points - each(center, dims)).flatten(2)
    turned = torch.bmm(rotation / radii[:, :, None], offset).view(points.shape)
    distance = turned.square().sum(1).sqrt()
    odd = (power != 2.0).nonzero()[:, 0]
    if len(odd) > 0:  # powers take ten times as long as squares
        exponent = each(power[odd], dims)
        summed = turned[odd].abs().clamp(min=1e-4).log().mul(exponent[:, None]).exp().sum(1)
        distance[odd] = summed.log().div(exponent).exp()
    return distance


def half_space(points: Tensor, center: Tensor, normal: Tensor) -> Tensor:
    """(B, *S): signed distance from the plane through `center` (B, dims) with `normal` (B, dims)."""
    dims = points.shape[1]
    return ((points - each(center, dims)) * each(normal, dims)).sum(1)


def tube(draws: Draws, points: Tensor, radius: Tensor, length: Tensor, curl: Tensor) -> Tensor:
    """(B, *S): distance to a bending line, 1 at the surface of the tube around it, which tapers.

    radius, length: (B,), in units of the grid's half side; curl: (B,), 0 for a straight line.
    """
    batch, dims = points.shape[:2]
    start = draws.uniform(-0.9, 0.9, batch, dims)
    heading = functional.normalize(draws.normal(batch, dims), dim=1)
    taper = draws.uniform(0.4, 1.0, batch)
    nearest = torch.full_like(points[:, 0], torch.inf)
    for piece in range(_TUBE_PIECES):
        heading = functional.normalize(heading + curl[:, None] * draws.normal(batch, dims), dim=1)
        step = heading * (length / _TUBE_PIECES)[:, None]
        offset = points - each(start, dims)
        along = (offset * each(step, dims)).sum(1) / each(step.square().sum(1) + 1e-9, dims)
        offset = offset - along.clamp(0.0, 1.0)[:, None] * each(step, dims)
        thickness = radius * (1.0 - (1.0 - taper) * piece / _TUBE_PIECES)
        nearest = torch.minimum(nearest, offset.square().sum(1) / each(thickness.square(), dims))
        start = start + step
    return nearest.sqrt()
