"""Random anatomy: maps of numbered structures, in 2D and 3D by the same code.

Grounds (flat, argmax of noise, Voronoi cells, layers, organs packed side by side) carry objects (warped blobs, rings,
nested shells, bent tubes, curved plates, spiculated lesions with cores, polytopes, clusters of touching cells), some
are run through by vessels, and some of it is cut out by a body with air around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from PromptSegLib.training.draws import Draws
from PromptSegLib.training.fields import each, half_space, positions, smooth_noise, superellipse, tube
from PromptSegLib.training.vessels import draw_vessels

AIR, FIRST_GROUND, FIRST_OBJECT, FIRST_CELL, IDS = 1, 2, 42, 72, 96
"""Numbers: 0 what nothing covers, 1 air, grounds from 2, objects from 42 (in pairs: outer, inner), cells from 72."""

_MOST_OBJECTS = (FIRST_CELL - FIRST_OBJECT) // 2
_MOST_GROUNDS = FIRST_OBJECT - FIRST_GROUND
_GROUNDS = {"flat": 0.25, "argmax": 0.17, "voronoi": 0.13, "layers": 0.10, "packed": 0.35}
_VASCULAR = {2: 0.3, 3: 0.08}
_OBJECTS = {"blob": 0.31, "ring": 0.16, "tube": 0.13, "plate": 0.08, "lesion": 0.16, "polytope": 0.09, "none": 0.07}


@dataclass(frozen=True)
class LabelMaps:
    """labels: (B, *S) int64, below IDS; classes: (B, IDS) int64: structures of one class look alike; vessels: (B, *S)
    bool, trees that run through structures and leave them seen.
    """

    labels: Tensor
    classes: Tensor
    vessels: Tensor


def make_label_maps(draws: Draws, batch: int, shape: Sequence[int]) -> LabelMaps:
    """Draw `batch` label maps of that shape."""
    grid = positions(shape, draws.device)
    points = _warped(draws, grid.expand(batch, -1, *shape), shape)
    classes = torch.arange(IDS, device=draws.device).repeat(batch, 1)
    labels = torch.zeros(batch, *shape, dtype=torch.int64, device=draws.device)
    for sample, ground in enumerate(draws.choice(_GROUNDS, batch)):
        if ground != "flat":
            labels[sample], classes[sample] = _ground(draws, ground, points[sample : sample + 1], classes[sample])
    count = draws.log_uniform(1.0, _MOST_OBJECTS, batch).long()
    shared = IDS + draws.integers(0, 3, batch, IDS)
    grouped = draws.chance(0.4, batch, IDS) & (torch.arange(IDS, device=draws.device) >= FIRST_OBJECT)
    classes = torch.where(grouped & (torch.arange(IDS, device=draws.device) < FIRST_CELL), shared, classes)
    for number in range(int(count.max())):
        _add_object(draws, labels, points, grid, number, active=count > number)
    for sample in draws.chance(0.18, batch).nonzero()[:, 0].tolist():
        _add_cells(draws, labels[sample : sample + 1], points[sample : sample + 1])
        classes[sample, FIRST_CELL:] = IDS + 3 + draws.integers(0, 2, IDS - FIRST_CELL)
    bodies = draws.chance(0.35, batch).nonzero()[:, 0]
    if len(bodies) > 0:
        labels[bodies] = torch.where(_body(draws, points[bodies]), labels[bodies], AIR)
    trees = torch.zeros_like(labels, dtype=torch.bool)
    for sample in draws.chance(_VASCULAR[len(shape)], batch).nonzero()[:, 0].tolist():
        trees[sample] = draw_vessels(draws, shape) & (labels[sample] != AIR)
    return LabelMaps(labels, classes, trees)


def _warped(draws: Draws, points: Tensor, shape: Sequence[int]) -> Tensor:
    """Positions bent by coarse and by fine noise, each sample by its own amount."""
    batch, dims, side = len(points), len(shape), max(shape)
    coarse = draws.log_uniform(0.01, 0.15, batch) * draws.chance(0.85, batch)
    fine = draws.log_uniform(0.003, 0.015, batch) * draws.chance(0.3, batch)
    for amount, scale in ((coarse, draws.one_log(side / 8, side)), (fine, draws.one_log(4, side / 8))):
        points = points + each(amount, dims)[:, None] * smooth_noise(draws, batch, dims, shape, scale)
    return points


def _body(draws: Draws, points: Tensor) -> Tensor:
    """Which voxels are inside the body (B, *S)."""
    batch, dims = points.shape[:2]
    center, radii = draws.uniform(-0.2, 0.2, batch, dims), draws.uniform(0.6, 1.3, batch, dims)
    return superellipse(points, center, radii, draws.rotations(dims, batch), _powers(draws, batch)) < 1


def _powers(draws: Draws, batch: int) -> Tensor:
    """Exponents (B,) of superellipses, most of them plain ellipses."""
    return torch.where(draws.chance(0.7, batch), 2.0, draws.uniform(1.2, 5.0, batch))


def _ground(draws: Draws, kind: str, points: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """One sample's ground: labels (1, *S), classes (IDS,)."""
    dims, shape, side = points.shape[1], points.shape[2:], max(points.shape[2:])
    if kind == "argmax":
        kinds = int(draws.integers(2, 8 if dims == 2 else 6, 1))
        noise = smooth_noise(draws, 1, kinds, shape, draws.one_log(side / 7, side / 1.5))
        return noise.argmax(1) + FIRST_GROUND, classes
    if kind == "layers":
        edges = draws.uniform(-1.0, 1.0, int(draws.integers(2, 8, 1))).sort().values
        depth = (points * each(draws.rotations(dims, 1)[:, 0], dims)).sum(1)
        return torch.bucketize(depth.contiguous(), edges) + FIRST_GROUND, classes
    most = _MOST_GROUNDS if dims == 2 else 16
    number, nearest, second = _nearest(draws, points, int(draws.integers(3, most, 1)))
    if kind == "voronoi":
        classes = classes.clone()
        kinds = int(draws.integers(2, 6, 1))
        classes[FIRST_GROUND:FIRST_OBJECT] = IDS + 10 + draws.integers(0, kinds, _MOST_GROUNDS)
        return number + FIRST_GROUND, classes
    gap = draws.one_log(0.004, 0.15)
    reach = draws.uniform(0.15, 0.8, _MOST_GROUNDS)
    organ = (second.sqrt() - nearest.sqrt() > gap) & (nearest.sqrt() < reach[number])
    return torch.where(organ, number + FIRST_GROUND, 0), classes


def _nearest(draws: Draws, points: Tensor, seeds: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which of random seeds is nearest, its squared distance and that of the second; each (1, *S)."""
    dims = points.shape[1]
    places = draws.uniform(-1.1, 1.1, seeds, dims)
    stretch = draws.log_uniform(0.6, 1.6, dims)
    nearest = torch.full_like(points[:, 0], torch.inf)
    second, number = nearest.clone(), torch.zeros_like(nearest, dtype=torch.int64)
    for index in range(seeds):
        offset = (points - each(places[index : index + 1], dims)) * each(stretch[None], dims)
        squared = offset.square().sum(1)
        nearer = squared < nearest
        second = torch.where(nearer, nearest, torch.minimum(second, squared))
        number = torch.where(nearer, index, number)
        nearest = torch.where(nearer, squared, nearest)
    return number, nearest, second


def _add_object(draws: Draws, labels: Tensor, points: Tensor, grid: Tensor, number: int, active: Tensor) -> None:
    """Draw one object into each active sample, in place: its outer part and perhaps an inner one."""
    outer = FIRST_OBJECT + 2 * number
    kinds = draws.choice(_OBJECTS, len(labels))
    chosen = {kind: [i for i, k in enumerate(kinds) if k == kind and bool(active[i])] for kind in _OBJECTS}
    solid = [i for kind in ("blob", "ring", "plate", "lesion", "polytope") for i in chosen[kind]]
    if solid:
        _add_solids(draws, labels, points, [kinds[i] for i in solid], solid, outer)
    if chosen["tube"]:
        inside = _tubes(draws, points[chosen["tube"]])
        labels[chosen["tube"]] = torch.where(inside, outer, labels[chosen["tube"]])


def _add_solids(draws: Draws, labels: Tensor, points: Tensor, kinds: list[str], samples: list[int], outer: int) -> None:
    """Superellipses and what is made of them: rings and nested shells, plates, lesions with cores, polytopes."""
    points, batch, dims = points[samples], len(samples), points.shape[1]
    shape, side = points.shape[2:], max(points.shape[2:])
    size = draws.log_uniform(0.06, 0.75, batch)
    radii = size[:, None] * (draws.uniform(0.3, 1.0, batch, 1) * draws.uniform(-1.0, 1.0, batch, dims)).exp()
    rough = draws.log_uniform(0.05, 0.35, batch) * draws.chance(0.5, batch) * size
    scale = max(3.0, draws.one_log(0.2, 1.2) * float(size.mean()) * side / 2)
    center, rotation = draws.uniform(-0.9, 0.9, batch, dims), draws.rotations(dims, batch)
    bent = points + each(rough, dims)[:, None] * smooth_noise(draws, batch, dims, shape, scale)
    bow = draws.uniform(0.0, 1.0, batch) * draws.chance(0.5, batch) / size
    along = half_space(points, center, rotation[:, 0])
    bent = bent + each(bow[:, None] * rotation[:, 1], dims) * along.square()[:, None]
    power = _powers(draws, batch)
    distance = superellipse(bent, center, radii, rotation, power)
    is_kind = {kind: torch.tensor([k == kind for k in kinds], device=labels.device) for kind in _OBJECTS}
    if is_kind["lesion"].any():
        scale = max(6.0, draws.one_log(0.15, 0.7) * float(size.mean()) * side / 2)
        spicules = smooth_noise(draws, batch, 1, shape, scale)[:, 0]
        distance = distance + each(draws.log_uniform(0.05, 0.3, batch) * is_kind["lesion"], dims) * spicules
    inside = distance < 1
    thickness = draws.log_uniform(0.03, 0.2, batch) / size.clamp(min=0.2)
    cut = half_space(points, center, functional.normalize(draws.normal(batch, dims), dim=1))
    plate = ((distance - 1).abs() < each(thickness, dims)) & (cut > each(draws.uniform(-0.6, 0.3, batch) * size, dims))
    inside = torch.where(each(is_kind["plate"], dims), plate, inside)
    if is_kind["polytope"].any():
        faces = torch.ones_like(inside)
        for _ in range(6):
            normal = functional.normalize(draws.normal(batch, dims), dim=1)
            faces &= half_space(points, center, normal) < each(draws.uniform(0.5, 1.3, batch) * size, dims)
        inside = torch.where(each(is_kind["polytope"], dims), faces, inside)
    nested = (is_kind["ring"] | (is_kind["lesion"] & draws.chance(0.35, batch))).nonzero()[:, 0]
    hole = center + 0.15 * radii.amin(1, keepdim=True) * draws.uniform(-1.0, 1.0, batch, dims)
    reach = each(draws.uniform(0.35, 0.93, batch), dims)
    drawn = torch.where(inside, outer, labels[samples])
    if len(nested) > 0:
        core = superellipse(bent[nested], hole[nested], radii[nested], rotation[nested], power[nested]) < reach[nested]
        drawn[nested] = torch.where(core & inside[nested], outer + 1, drawn[nested])
    labels[samples] = drawn


def _tubes(draws: Draws, points: Tensor) -> Tensor:
    """(B, *S) bool: a tree of bent tubes, straight rods among them. At half resolution: distances are smooth."""
    batch, dims = points.shape[:2]
    shape = points.shape[2:]
    mode = "bilinear" if dims == 2 else "trilinear"
    coarse = functional.interpolate(points, scale_factor=0.5, mode=mode, align_corners=True)
    radius = draws.log_uniform(0.015 if dims == 2 else 0.035, 0.13, batch)
    branches = torch.where(draws.chance(0.6, batch), 1, draws.integers(2, 6, batch))
    curl = draws.log_uniform(0.03, 0.7, batch)
    nearest = torch.full_like(coarse[:, 0], torch.inf)
    for branch in range(int(branches.max())):
        one = tube(draws, coarse, radius * draws.uniform(0.6, 1.2, batch), draws.log_uniform(0.5, 4.0, batch), curl)
        nearest = torch.where(each(branches > branch, dims), torch.minimum(nearest, one), nearest)
    return functional.interpolate(nearest[:, None], size=shape, mode=mode, align_corners=True)[:, 0] < 1


def _add_cells(draws: Draws, labels: Tensor, points: Tensor) -> None:
    """A cluster of touching cells in one sample (1, *S), in place."""
    dims = points.shape[1]
    size, spread = draws.one_log(0.05, 0.22), draws.one(1.0, 3.0)
    middle = draws.uniform(-0.6, 0.6, dims)
    for cell in range(int(draws.integers(3, IDS - FIRST_CELL if dims == 2 else 12, 1))):
        center = middle + draws.normal(dims) * size * spread
        radii = size * draws.uniform(-0.4, 0.4, 1, dims).exp()
        distance = superellipse(points, center[None], radii, draws.rotations(dims, 1), draws.uniform(2.0, 2.5, 1))
        labels[distance < 1] = FIRST_CELL + cell
