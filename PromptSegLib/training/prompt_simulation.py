"""How people prompt: clicks in the middle of an error and off it, loose boxes, strokes, lassos, masks gone wrong.

All functions take masks (B, 1, *S), float32 of 0 and 1, on the network's grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from PromptSegLib.training.draws import Draws
from PromptSegLib.training.fields import blur, each, smooth_noise

_OFF_CENTER = 0.25
"""How many clicks are anywhere in the error, not about its middle."""

_STROKES = 4
"""At most, of one scribble."""

_SLOPPY = 0.25
"""How many scribbles go a voxel beyond what is meant."""


def click(draws: Draws, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Where the next click goes: (flat indices (B,), whether there is an error at all (B,))."""
    count, dims = len(errors), errors.dim() - 2
    one = [1] * (dims + 1)
    wobble = 0.4 * draws.uniform(0.0, 1.0, count, *one) * draws.uniform(0.0, 1.0, *errors.shape)
    middle = errors * depth(errors) * (1.0 + wobble)
    anywhere = errors * draws.uniform(0.01, 1.0, *errors.shape)
    score = torch.where(draws.chance(_OFF_CENTER, count, *one), anywhere, middle)
    best = score.flatten(1).max(1)
    return best.indices, best.values > 0


def depth(masks: Tensor) -> Tensor:
    """How deep inside a mask voxels are, roughly: means over neighbourhoods of 3, 6, 12, 24 voxels, added up."""
    dims = masks.dim() - 2
    pool = functional.avg_pool2d if dims == 2 else functional.avg_pool3d
    linear = "bilinear" if dims == 2 else "trilinear"
    coarse, total = masks, pool(masks, 3, 1, 1)
    for _ in range(3):
        if min(coarse.shape[2:]) < 6:
            break
        coarse = pool(coarse, 2)
        around = pool(coarse, 3, 1, 1)
        total = total + functional.interpolate(around, size=masks.shape[2:], mode=linear, align_corners=False)
    return total


def box(draws: Draws, truth: Tensor) -> Tensor:
    """Filled boxes (B, 1, *S) around the targets: each side off by a few percent and voxels, rather outward."""
    count, dims = len(truth), truth.dim() - 2
    size = truth.shape[2]
    loose = torch.where(draws.chance(0.15, count), draws.uniform(0.1, 0.3, count), draws.uniform(0.0, 0.1, count))
    boxes = torch.ones_like(truth)
    for axis in range(dims):
        others = [1 + other for other in range(dims) if other != axis]
        line = (truth[:, 0].amax(others) > 0.5).to(torch.uint8)
        low, high = line.argmax(1), size - line.flip(1).argmax(1)
        slack = loose * (high - low) + size / 64
        low = (low - slack * draws.uniform(-0.4, 1.0, count)).floor()
        high = (high + slack * draws.uniform(-0.4, 1.0, count)).ceil()
        place = torch.arange(size, device=truth.device)
        inside = (place >= low[:, None]) & (place < torch.maximum(high, low + 1)[:, None])
        shape = [count, 1, *[1] * dims]
        shape[2 + axis] = size
        boxes = boxes * inside.view(shape)
    return boxes


def strokes(draws: Draws, regions: Tensor) -> Tensor:
    """Scribbles inside each region, of one to three voxels' width: a few bent strokes, or along the region's border.

    In 3D most are drawn on one slice. Some go a little beyond the region.
    """
    count, dims = len(regions), regions.dim() - 2
    one = [1] * (dims + 1)
    if dims == 3:
        flat = regions * _one_slice(draws, regions)
        regions = torch.where(draws.chance(0.75, count, *one), flat, regions)
    border = _along_border(draws, regions)
    bordered = draws.chance(0.2, count, *one) & (border.flatten(1).amax(1).view(-1, *one) > 0)
    drawn = torch.where(bordered, border, _bent_strokes(draws, regions))
    wide = torch.maximum(drawn, _widened(drawn, 3))
    drawn = torch.where(draws.chance(0.5, count, *one), wide, drawn)
    sloppy = draws.chance(_SLOPPY, count, *one)
    return drawn * torch.where(sloppy, _widened(regions, 3), regions)


def _bent_strokes(draws: Draws, regions: Tensor) -> Tensor:
    """One to four strokes through each region, some short, some long; they may leave it."""
    count, dims, size = len(regions), regions.dim() - 2, regions.shape[2]
    deep, anywhere = (_some_voxels(draws, weights, 2 * _STROKES) for weights in (depth(regions) * regions, regions))
    ends = torch.cat([deep, anywhere], dim=1).view(count, _STROKES, 4, 1)[:, :, :3]
    a, b, c = _unflatten(ends, size, dims).unbind(2)
    along = torch.linspace(0.0, 1.0, 4 * size, device=regions.device)[:, None]
    a, b, c = a[:, :, None], b[:, :, None], c[:, :, None]
    curves = (1 - along) ** 2 * a + 2 * along * (1 - along) * b + along**2 * c
    drawn = draws.chance(0.5, count, _STROKES)
    drawn[:, 0] = True
    kept = drawn[:, :, None] & (along[:, 0] <= draws.uniform(0.2, 1.0, count, _STROKES, 1))
    marks = torch.zeros_like(regions)
    _mark(marks, curves.round().long().flatten(1, 2), kept.flatten(1))
    return marks


def _along_border(draws: Draws, regions: Tensor) -> Tensor:
    """Pieces of a line that follows each region's border some voxels inside it."""
    count, dims = len(regions), regions.dim() - 2
    soft = blur(regions[:, 0], draws.log_uniform(1.0, regions.shape[2] / 24, count, 1).expand(-1, dims))[:, None]
    level = each(draws.uniform(0.55, 0.85, count), dims + 1)
    gaps = smooth_noise(draws, count, 1, regions.shape[2:], regions.shape[2] / 4)
    kept = gaps > each(draws.uniform(-1.0, 0.8, count), dims + 1)
    return ((soft > level) & (soft < level + 0.1) & kept).to(regions.dtype)


def beside(draws: Draws, truth: Tensor) -> Tensor:
    """Where people stroke what does not belong: within a few voxels around the targets, or anywhere outside."""
    outside = 1.0 - _widened(truth, 3)
    reach = 2 * int(draws.integers(1, 8 if truth.dim() == 4 else 5, 1)) + 1
    anywhere = draws.chance(0.3, len(truth), *[1] * (truth.dim() - 1))
    return torch.where(anywhere, outside, _widened(truth, reach) * outside)


def lasso(draws: Draws, truth: Tensor) -> Tensor:
    """What a sloppy outline surrounds: (B, 1, *S) filled; in 3D on one slice along a random axis."""
    count, dims = len(truth), truth.dim() - 2
    size = truth.shape[2]
    soft = blur(truth[:, 0], draws.uniform(0.01, 0.05, count, 1).expand(-1, dims) * size)
    wobble = smooth_noise(draws, count, 1, truth.shape[2:], size / 6)
    surrounded = (soft[:, None] + 0.12 * wobble > 0.5).to(truth.dtype)
    return surrounded if dims == 2 else surrounded * _one_slice(draws, truth)


def _one_slice(draws: Draws, regions: Tensor) -> Tensor:
    """1 on one slice (B, 1, *S) through the depth of each region (B, 1, *S), along a random axis."""
    count, dims, size = len(regions), regions.dim() - 2, regions.shape[2]
    place = _unflatten(_some_voxels(draws, regions * depth(regions), 1), size, dims)
    axis = draws.integers(0, dims, count)
    grid = torch.stack(torch.meshgrid(*[torch.arange(size, device=regions.device)] * dims, indexing="ij"))
    wanted = place.gather(1, axis[:, None])[:, 0]
    return (grid[axis] == each(wanted, dims)).to(regions.dtype)[:, None]


def spoilt(draws: Draws, truth: Tensor) -> Tensor:
    """Masks that went wrong: moved, grown or shrunk, with a part missing or too much."""
    dims, size = truth.dim() - 2, truth.shape[2]
    axes = list(range(1, dims + 1))
    spoilt_masks = []
    for mask in truth:
        most = max(2, size // 24)
        if draws.one(0, 1) < 0.7:
            mask = torch.roll(mask, draws.integers(-most, most + 1, dims).tolist(), axes)
        reach = 2 * int(draws.integers(0, most, 1)) + 1
        grow = draws.one(0, 1) < 0.5
        mask = _widened(mask[None], reach)[0] if grow else 1.0 - _widened(1.0 - mask[None], reach)[0]
        if draws.one(0, 1) < 0.6:
            start = draws.integers(0, size - size // 8, dims).tolist()
            sides = draws.integers(size // 12, size // 2, dims).tolist()
            block = mask = mask.clone()
            for axis, (low, side) in enumerate(zip(start, sides, strict=True), start=1):
                block = block.narrow(axis, low, min(side, size - low))
            block.fill_(float(draws.one(0, 1) < 0.4))
        spoilt_masks.append(mask)
    return torch.stack(spoilt_masks)


def _widened(masks: Tensor, reach: int) -> Tensor:
    """Maximum over a cube of `reach` voxels, an odd number."""
    if reach == 1:
        return masks
    pool = functional.max_pool2d if masks.dim() == 4 else functional.max_pool3d
    return pool(masks, reach, 1, reach // 2)


def _some_voxels(draws: Draws, weights: Tensor, number: int) -> Tensor:
    """Flat indices (B, number) of random voxels, more probable where the weights (B, 1, *S) are larger."""
    drawn = (weights * draws.uniform(0.01, 1.0, *weights.shape)).flatten(1).topk(number)
    places = torch.where(drawn.values > 0, drawn.indices, drawn.indices[:, :1])  # a region may have fewer voxels
    return places.gather(1, draws.uniform(0.0, 1.0, *places.shape).argsort(1))


def _unflatten(indices: Tensor, size: int, dims: int) -> Tensor:
    """Float voxel positions (…, dims) of flat indices (…, 1)."""
    powers = torch.tensor([size**power for power in reversed(range(dims))], device=indices.device)
    return ((indices // powers) % size).float()


def _mark(maps: Tensor, voxels: Tensor, kept: Tensor) -> None:
    """Set maps (B, 1, *S) to 1 at voxels (B, N, dims) where kept (B, N), in place."""
    sample, point = kept.nonzero(as_tuple=True)
    where = voxels[sample, point].clamp(0, maps.shape[2] - 1)
    maps[(sample, torch.zeros_like(sample), *where.unbind(1))] = 1.0
