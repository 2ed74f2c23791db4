"""Trees of bending, tapering vessels, in 2D and 3D by the same code: grown branch by branch, drawn ball by ball."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from PromptSegLib.training.draws import Draws

_RADII = {2: (1.0, 6.0), 3: (1.0, 4.0)}
"""Of the stems, in voxels."""

_LEAST_RADIUS, _MOST_BRANCHES = {2: 0.45, 3: 0.7}, {2: 160, 3: 60}


def draw_vessels(draws: Draws, shape: Sequence[int]) -> Tensor:
    """(*S) bool: one to six trees that are alike, from one place, from the border, or from anywhere."""
    dims, side = len(shape), max(shape)
    starts, headings = _stems(draws, int(draws.integers(1, 7, 1)), dims)
    radii = draws.one_log(*_RADII[dims]) * draws.uniform(0.6, 1.0, len(starts))
    curl, spread = draws.one_log(0.2, 2.5), draws.one(0.4, 1.3)
    lengths = draws.one(0.6, 2.4) * draws.uniform(0.5, 1.0, len(starts))
    children, thinner = int(draws.integers(2, 6, 1)), draws.one(0.5, 0.9)
    drawn, branches = torch.zeros(list(shape), dtype=torch.bool, device=draws.device), 0
    while len(starts) > 0 and branches < _MOST_BRANCHES[dims]:
        paths, directions = _grown(draws, starts, headings, lengths, curl, side)
        taper = torch.linspace(1.0, draws.one(0.5, 1.0), side, device=draws.device)
        _draw(drawn, paths, radii[:, None] * taper)
        branches += len(starts)
        at = draws.integers(side // 10, side, len(starts), children)
        parent = torch.arange(len(starts), device=draws.device)[:, None].expand_as(at)
        aside = spread * draws.normal(*at.shape, dims)
        headings = functional.normalize(directions[parent, at] + aside, dim=2).flatten(0, 1)
        starts = paths[parent, at].flatten(0, 1)
        radii = (radii[:, None] * taper[at] * thinner * draws.uniform(0.7, 1.1, *at.shape)).flatten()
        lengths = (lengths[:, None] * draws.uniform(0.25, 0.9, *at.shape)).flatten()
        kept = (radii > _LEAST_RADIUS[dims]) & (starts.abs() < 1.1).all(1)
        starts, headings, radii, lengths = starts[kept], headings[kept], radii[kept], lengths[kept]
    return drawn


def _stems(draws: Draws, count: int, dims: int) -> tuple[Tensor, Tensor]:
    """Where trees begin and where to they grow, both (count, dims); the image spans [-1, 1] along every axis."""
    starts = draws.uniform(-0.8, 0.8, 1, dims) + draws.one(0.0, 0.1) * draws.normal(count, dims)
    if draws.one(0, 1) < 0.6:
        starts = draws.uniform(-1.0, 1.0, count, dims)
        starts = torch.where(draws.chance(0.7, count, 1), functional.normalize(starts, p=torch.inf, dim=1), starts)
    return starts, functional.normalize(-starts + 0.7 * draws.normal(count, dims), dim=1)


def _grown(
    draws: Draws, starts: Tensor, headings: Tensor, lengths: Tensor, curl: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Paths (N, steps, dims) from starts, and their directions, for headings (N, dims) and lengths (N,)."""
    count, dims = starts.shape
    wander = curl * draws.normal(count, steps, dims).cumsum(1) / steps**0.5
    directions = functional.normalize(headings[:, None] + wander, dim=2)
    return starts[:, None] + directions.cumsum(1) * (lengths / steps)[:, None, None], directions


def _draw(drawn: Tensor, paths: Tensor, radii: Tensor) -> None:
    """Set `drawn` (*S) within radii (N, steps), in voxels, of paths (N, steps, dims), in place."""
    dims, shape = drawn.dim(), torch.tensor(drawn.shape, device=drawn.device)
    voxels = ((paths + 1.0) / 2 * (shape - 1)).flatten(0, 1)
    reach = radii.flatten()
    inside = ((voxels >= 0) & (voxels <= shape - 1)).all(1)
    voxels, reach = voxels[inside], reach[inside]
    for least, most in itertools.pairwise((0, 1, 2, 4, 8)):
        chosen = (reach >= least) & (reach < most)
        if not chosen.any():
            continue
        axis = torch.arange(-most, most + 1, device=drawn.device)
        around = torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"), -1).flatten(0, -2)
        around = around[around.square().sum(1) <= most**2]
        centers = voxels[chosen]
        places = centers.round().long()[:, None] + around
        near = (places - centers[:, None]).square().sum(2) <= reach[chosen].clamp(min=0.71)[:, None].square()
        places = places[near & ((places >= 0) & (places < shape)).all(2)]
        drawn[places.unbind(1)] = True
