"""From label maps to images of no modality and of all: random intensities, textures, and what scanners do to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from PromptSegLib.training.draws import Draws
from PromptSegLib.training.fields import blur, each, positions, smooth_noise, superellipse, tube
from PromptSegLib.training.label_maps import AIR, IDS, LabelMaps

_CLASSES = IDS + 16
"""More than any class number of a label map."""

_TISSUES_HU = ((-850, 60), (-100, 20), (10, 10), (40, 15), (60, 15), (110, 30), (170, 40), (400, 150), (900, 250))
"""Mean and spread of lung, fat, water, muscle, organs, organs with contrast, vessels, spongy bone, dense bone."""

_TISSUE_CHANCES = (0.06, 0.18, 0.12, 0.18, 0.16, 0.12, 0.08, 0.06, 0.04)

_WINDOWS_HU = ((40, 400), (50, 350), (60, 160), (-500, 1500), (400, 1800), (0, 2000), (100, 700))
"""Center and width: as radiologists set them, and full ranges."""


def render(draws: Draws, maps: LabelMaps) -> Tensor:
    """Images (B, *S) float32 in [0, 1] of label maps."""
    shape, batch = maps.labels.shape[1:], len(maps.labels)
    dims = len(shape)
    ct = draws.chance(0.3, batch)
    image = _tissues(draws, maps, ct)
    image = _outlined(draws, image, maps.labels, ct)
    image = _with_vessels(draws, image, maps.vessels, ct)
    image = _with_distractors(draws, image)
    image = _with_lost_edges(draws, image)
    image = _scanned(draws, image, ct)
    image = _shadowed(draws, image, draws.chance(0.1, batch) & ~ct)
    image = _streaked(draws, image, draws.chance(0.08, batch) & ct)
    image = _noisy(draws, image, ct)
    image = torch.where(each(ct, dims), _windowed(draws, image), _stretched(draws, image))
    gamma = torch.where(
        draws.chance(0.3, batch) & ~ct, draws.log_uniform(0.45, 2.2, batch), torch.ones(batch, device=ct.device)
    )
    return image.clamp(0.0, 1.0).pow(each(gamma, dims))


def _of_labels(table: Tensor, labels: Tensor) -> Tensor:
    """(B, *S): each voxel's entry in its sample's table (B, IDS)."""
    return table.gather(1, labels.flatten(1)).view(labels.shape)


def _tissues(draws: Draws, maps: LabelMaps, ct: Tensor) -> Tensor:
    """Intensities by class, with jitter between structures of a class, and textures. CT: one unit is 1000 HU."""
    labels, batch, device = maps.labels, len(maps.labels), maps.labels.device
    shape, side = labels.shape[1:], max(labels.shape[1:])
    means = draws.uniform(0.0, 1.0, batch, _CLASSES)
    steps = draws.uniform(2.0, 6.0, batch, 1)
    means = torch.where(draws.chance(0.3, batch)[:, None], (means * steps).round() / 4, means)
    tissues = torch.tensor(_TISSUES_HU, device=device) / 1000.0
    kinds = torch.multinomial(
        torch.tensor(_TISSUE_CHANCES, device=device), batch * _CLASSES, True, generator=draws.generator
    ).view(batch, _CLASSES)
    hounsfield = tissues[kinds, 0] + tissues[kinds, 1] * draws.normal(batch, _CLASSES)
    means = torch.where(ct[:, None], hounsfield, means)
    by_id = means.gather(1, maps.classes)
    jitter = torch.where(ct, draws.log_uniform(0.001, 0.02, batch), draws.log_uniform(0.003, 0.06, batch))
    by_id = by_id + jitter[:, None] * draws.normal(batch, IDS)
    faint = draws.chance(0.15, batch) & ~ct
    by_id = torch.where(faint[:, None], 0.5 + (by_id - 0.5) * draws.uniform(0.1, 0.3, batch, 1), by_id)
    dark = torch.where(ct, -1.0, draws.uniform(-0.1, 0.05, batch))
    by_id[:, AIR] = torch.where(draws.chance(0.85, batch) | ct, dark, by_id[:, AIR])
    image = _of_labels(by_id, labels)
    alike = draws.chance(0.3, batch)[:, None]
    for scale in (draws.one_log(1.0, 2.5), draws.one_log(2.0, 8.0), draws.one_log(4.0, side / 3)):
        amount = draws.uniform(0.0, 1.0, batch, IDS).square() * draws.chance(0.75, batch, IDS)
        amount = torch.where(alike, amount[:, :1], amount).gather(1, maps.classes.clamp(max=IDS - 1))
        amount = amount * draws.log_uniform(0.01, 0.25, batch, 1) * torch.where(ct, 0.2, 1.0)[:, None]
        amount[:, AIR] *= 0.1
        image = image + _of_labels(amount, labels) * smooth_noise(draws, batch, 1, shape, scale)[:, 0]
    image = image + _mottles(draws, maps, ct)
    for sample in draws.chance(0.15, batch).nonzero()[:, 0].tolist():
        image[sample] += _stripes(draws, shape) * draws.one_log(0.01, 0.15)
    return image


def _mottles(draws: Draws, maps: LabelMaps, ct: Tensor) -> Tensor:
    """Some structures are of two tissues throughout: gas in bowel, marrow between trabeculae, vessels in a liver."""
    labels, batch = maps.labels, len(maps.labels)
    shape, side = labels.shape[1:], max(labels.shape[1:])
    image = torch.zeros(labels.shape, device=labels.device)
    for scale in (draws.one_log(side / 60, side / 20), draws.one_log(side / 25, side / 8)):
        strength = draws.log_uniform(0.05, 0.6, batch, IDS) * draws.sign(batch, IDS) * draws.chance(0.12, batch, IDS)
        strength = strength * torch.where(ct, 0.5, 1.0)[:, None]
        strength[:, AIR] = 0.0
        level = draws.uniform(-0.5, 1.5, batch, IDS)
        noise = smooth_noise(draws, batch, 1, shape, max(2.0, scale))[:, 0]
        spots = torch.sigmoid(6.0 * (noise - _of_labels(level, labels)))
        image = image + _of_labels(strength.gather(1, maps.classes.clamp(max=IDS - 1)), labels) * spots
    return image


def _stripes(draws: Draws, shape: Sequence[int]) -> Tensor:
    """(*S): a wavy pattern of fibres."""
    dims, side = len(shape), max(shape)
    direction = each(draws.rotations(dims, 1)[:, 0], dims)
    phase = (positions(shape, draws.device) * direction).sum(1) * draws.one(20, 90) * side / 128
    return torch.sin(phase + smooth_noise(draws, 1, 1, shape, side / 4)[:, 0] * draws.one(0, 3))[0]


def _outlined(draws: Draws, image: Tensor, labels: Tensor, ct: Tensor) -> Tensor:
    """Some samples with bright or dark borders between structures: fasciae, cell walls, phase contrast."""
    dims = labels.dim() - 1
    chosen = (draws.chance(0.15, len(image)) & ~ct).nonzero()[:, 0]
    if len(chosen) == 0:
        return image
    of = labels[chosen]
    edges = torch.zeros_like(image[chosen])
    for axis in range(1, dims + 1):
        count = of.shape[axis] - 1
        edges.narrow(axis, 0, count)[of.narrow(axis, 1, count) != of.narrow(axis, 0, count)] = 1.0
    few = len(chosen)
    edges = blur(edges, draws.uniform(0.5, 1.5, few, 1).expand(-1, dims))
    flat = torch.where(draws.chance(0.5, few), draws.uniform(0.1, 0.6, few), 1.0)
    image = image.clone()
    image[chosen] = (
        0.5
        + (image[chosen] - 0.5) * each(flat, dims)
        + edges * each(draws.uniform(0.3, 1.5, few) * draws.sign(few), dims)
    )
    return image


def _with_vessels(draws: Draws, image: Tensor, vessels: Tensor, ct: Tensor) -> Tensor:
    """Vessels that are brighter or darker than what they run through, much or hardly so; in CT they are brighter."""
    batch, dims = len(image), image.dim() - 1
    chosen = vessels.flatten(1).any(1).nonzero()[:, 0]
    if len(chosen) == 0:
        return image
    strength = torch.where(
        ct, draws.log_uniform(0.02, 0.3, batch), draws.log_uniform(0.04, 0.8, batch) * draws.sign(batch)
    )[chosen]
    soft = blur(vessels[chosen].float(), draws.uniform(0.3, 0.8, len(chosen), 1).expand(-1, dims))
    return image.index_add(0, chosen, soft * each(strength, dims))


def _with_distractors(draws: Draws, image: Tensor) -> Tensor:
    """Up to three structures per sample that no label map knows."""
    batch, dims, shape = len(image), image.dim() - 1, image.shape[1:]
    grid = positions(shape, image.device)
    for _ in range(3):
        chosen = draws.chance(0.5, batch).nonzero()[:, 0]
        few = len(chosen)
        if few == 0:
            continue
        points = grid.expand(few, -1, *shape)
        if draws.one(0, 1) < 0.5:
            radii = draws.log_uniform(0.03, 0.5, few, 1) * draws.uniform(-0.7, 0.7, few, dims).exp()
            center, power = draws.uniform(-1.0, 1.0, few, dims), torch.full((few,), 2.0, device=image.device)
            distance = superellipse(points, center, radii, draws.rotations(dims, few), power)
        else:
            coarse = grid[(slice(None), slice(None), *[slice(None, None, 2)] * dims)]
            thin = draws.log_uniform(0.012 if dims == 2 else 0.025, 0.05, few)
            distance = tube(
                draws,
                coarse.expand(few, *coarse.shape[1:]),
                thin,
                draws.log_uniform(0.5, 2.0, few),
                draws.uniform(0.0, 0.5, few),
            )
            distance = functional.interpolate(
                distance[:, None], size=shape, mode="bilinear" if dims == 2 else "trilinear"
            )[:, 0]
        softness = draws.log_uniform(0.03, 0.4, few)
        bump = torch.sigmoid((1.0 - distance) / each(softness, dims))
        strength = draws.uniform(0.03, 0.2, few) * draws.sign(few)
        image = image.index_add(0, chosen, bump * each(strength, dims))
    return image


def _with_lost_edges(draws: Draws, image: Tensor) -> Tensor:
    """Some samples are so blurred in places that borders vanish."""
    dims, shape = image.dim() - 1, image.shape[1:]
    chosen = draws.chance(0.2, len(image)).nonzero()[:, 0]
    if len(chosen) == 0:
        return image
    few, of = len(chosen), image[chosen]
    where = smooth_noise(draws, few, 1, shape, draws.one_log(max(shape) / 5, max(shape)))[:, 0]
    share = torch.sigmoid(4 * where - each(draws.uniform(0.0, 4.0, few), dims))
    soft = blur(of, draws.log_uniform(2.0, 6.0, few, 1).expand(-1, dims))
    image = image.clone()
    image[chosen] = torch.lerp(of, soft, share)
    return image


def _scanned(draws: Draws, image: Tensor, ct: Tensor) -> Tensor:
    """Point spread, thick slices or low resolution, and a slowly varying sensitivity (not in CT)."""
    batch, dims, shape = len(image), image.dim() - 1, image.shape[1:]
    sigma = draws.log_uniform(0.3, 1.8, batch, 1) * torch.where(
        draws.chance(0.7, batch)[:, None], 1.0, draws.log_uniform(0.5, 2.0, batch, dims)
    )
    image = blur(image, sigma.clamp(max=2.5)).clone()
    linear = "bilinear" if dims == 2 else "trilinear"
    for sample in draws.chance(0.3, batch).nonzero()[:, 0].tolist():
        factor = torch.where(draws.chance(0.5, dims), draws.log_uniform(1.0, 5.0, dims), 1.0).tolist()
        few = [max(6, int(side / by)) for side, by in zip(shape, factor, strict=True)]
        coarse = functional.interpolate(image[sample][None, None], size=few, mode="area")
        mode = "nearest" if draws.one(0, 1) < 0.2 else linear
        image[sample] = functional.interpolate(coarse, size=shape, mode=mode)[0, 0]
    bias = draws.log_uniform(0.03, 0.4, batch) * draws.chance(0.5, batch) * ~ct
    field = smooth_noise(draws, batch, 1, shape, draws.one_log(max(shape) / 2, max(shape) * 1.5))[:, 0]
    return image * torch.exp(each(bias, dims) * field)


def _shadowed(draws: Draws, image: Tensor, chosen: Tensor) -> Tensor:
    """Ultrasound: attenuation with depth, and shadows that fan out from the probe."""
    few, dims = int(chosen.sum()), image.dim() - 1
    if few == 0:
        return image
    grid = positions(image.shape[1:], image.device)
    depth = grid[:, 0] + 1.0
    fan = torch.atan2(grid[:, 1], grid[:, 0] + 2.0)
    waves = torch.sin(fan * each(draws.uniform(4, 25, few), dims) + each(draws.uniform(0, 6, few), dims))
    shadow = torch.sigmoid(30 * (waves - each(draws.uniform(0.7, 1.2, few), dims)))
    darker = torch.exp(-depth * each(draws.uniform(0.0, 1.0, few), dims))
    image = image.clone()
    image[chosen] = image[chosen] * darker * (1.0 - each(draws.uniform(0.3, 1.0, few), dims) * shadow)
    return image


def _streaked(draws: Draws, image: Tensor, chosen: Tensor) -> Tensor:
    """Metal in CT: a small bright spot, with bright and dark rays from it within the last two axes."""
    few, dims = int(chosen.sum()), image.dim() - 1
    if few == 0:
        return image
    grid = positions(image.shape[1:], image.device)
    center = draws.uniform(-0.7, 0.7, few, 2)
    row, column = grid[:, -2] - each(center[:, 0], dims), grid[:, -1] - each(center[:, 1], dims)
    radius = (row.square() + column.square()).sqrt()
    angle = torch.atan2(row, column)
    rays = torch.zeros_like(radius)
    for _ in range(4):
        rays = rays + torch.sin(angle * each(draws.integers(2, 30, few), dims) + each(draws.uniform(0, 6.3, few), dims))
    strength = each(draws.log_uniform(0.005, 0.05, few), dims)
    image = image.clone()
    image[chosen] = image[chosen] + strength * rays / (0.3 + radius) + 2.0 * (radius < 0.04)
    return image


def _noisy(draws: Draws, image: Tensor, ct: Tensor) -> Tensor:
    """None, white or correlated Gaussian, Rician, speckle or signal-dependent noise; CT: Gaussian of 3 to 60 HU."""
    batch, dims = len(image), image.dim() - 1
    kinds = draws.choice({"none": 0.07, "gaussian": 0.5, "rician": 0.15, "speckle": 0.2, "shot": 0.08}, batch)
    sigma = torch.where(ct, draws.log_uniform(0.003, 0.06, batch), draws.log_uniform(0.003, 0.14, batch))
    if dims == 3:
        sigma = sigma * 0.6
    grain = draws.log_uniform(0.2, 1.2, batch, dims) * draws.chance(0.5, batch)[:, None]
    noise = [blur(draws.normal(*image.shape), grain) for _ in range(2)]
    noise = [each(sigma / (part.flatten(1)[:, ::8].std(1) + 1e-6), dims) * part for part in noise]
    image = image + 0.0
    for sample, kind in enumerate(kinds):
        of, one, two = image[sample], noise[0][sample], noise[1][sample]
        if kind == "gaussian" or bool(ct[sample]):
            image[sample] = of + one
        elif kind == "rician":
            image[sample] = ((of + one).square() + two.square()).sqrt()
        elif kind == "speckle":
            speckle = (one.square() + two.square()).sqrt()
            strength = draws.one(0.2, 1.0)
            image[sample] = (of - of.min()) * (1 + strength * (speckle / speckle.mean() - 1))
        elif kind == "shot":
            image[sample] = of + one * (of - of.min()).sqrt()
    return image


def _windowed(draws: Draws, image: Tensor) -> Tensor:
    """CT in [0, 1] by a usual window, varied."""
    batch, dims = len(image), image.dim() - 1
    windows = torch.tensor(_WINDOWS_HU, device=image.device) / 1000.0
    window = windows[draws.integers(0, len(windows), batch)]
    width = window[:, 1] * draws.log_uniform(0.7, 1.4, batch)
    low = window[:, 0] + width * draws.uniform(-0.15, 0.15, batch) - width / 2
    return (image - each(low, dims)) / each(width, dims)


def _stretched(draws: Draws, image: Tensor) -> Tensor:
    """Robust range to [0, 1], in some samples with a window that cuts more off."""
    batch, dims = len(image), image.dim() - 1
    some = image.flatten(1)[:, :: max(1, image[0].numel() // 5000)]
    low, high = torch.quantile(some, torch.tensor([0.003, 0.997], device=image.device), dim=1)
    image = (image - each(low, dims)) / each(high - low + 1e-6, dims)
    cut = draws.chance(0.15, batch)
    bottom, top = draws.uniform(0.0, 0.35, batch) * cut, 1.0 - draws.uniform(0.0, 0.4, batch) * cut
    return (image - each(bottom, dims)) / each(top - bottom, dims)
