"""What a user could mean in a label map: a structure, a part of it, nested ones together, all of a class, vessels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PromptSegLib.training.draws import Draws
from PromptSegLib.training.label_maps import AIR, FIRST_CELL, FIRST_OBJECT, IDS, LabelMaps

TARGETS = 8
"""Per label map; each is one bit of a byte."""

_SMALLEST = {2: 0.0006, 3: 0.0003}
_LARGEST = 0.6
_VESSELS = 0.5
"""How many targets are the vessels, in images that have some."""

_TRIES = 40


def choose_targets(draws: Draws, maps: LabelMaps) -> Tensor:
    """(B, *S) uint8: bit t is set inside target t. Targets repeat where a map has fewer than TARGETS."""
    labels, classes, vessels = (of.cpu().numpy() for of in (maps.labels, maps.classes, maps.vessels))
    seeds = draws.integers(0, 2**31 - 1, len(labels)).tolist()
    chosen = [
        _targets_of(sample, kinds, trees, np.random.default_rng(seed))
        for sample, kinds, trees, seed in zip(labels, classes, vessels, seeds, strict=True)
    ]
    return torch.from_numpy(np.stack(chosen)).to(maps.labels.device)


def compactness(masks: Tensor) -> Tensor:
    """(B,) of masks (B, *S): area over perimeter squared, or volume squared over surface cubed; scaled, in no unit.

    Counted on voxel faces: a square or cube has 1, plain organs little less, trees and torn structures next to 0.
    """
    dims = masks.dim() - 1
    inside = masks.to(torch.int8)
    faces = sum(inside.diff(dim=axis).abs().flatten(1).sum(1) for axis in range(1, dims + 1))
    content = inside.flatten(1).sum(1).float()
    if dims == 2:
        return 16.0 * content / (torch.as_tensor(faces).float().square() + 1.0)
    return 216.0 * content.square() / (torch.as_tensor(faces).float().pow(3) + 1.0)


def _targets_of(
    labels: NDArray[np.int64], classes: NDArray[np.int64], vessels: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The bits of one label map; all zero where nothing in it is of a usable size."""
    counts = np.bincount(labels.ravel(), minlength=IDS)
    smallest = _SMALLEST[labels.ndim] * labels.size
    present = [int(number) for number in np.flatnonzero(counts >= smallest) if number != AIR]
    found: list[NDArray[np.bool_]] = []
    for _ in range(_TRIES):
        mask = vessels
        if present and not (vessels.any() and rng.random() < _VESSELS):
            mask = _a_target(labels, classes, present, rng)
        if smallest <= np.count_nonzero(mask) <= _LARGEST * labels.size:
            found.append(mask)
        if len(found) == TARGETS:
            break
    bits = np.zeros(labels.shape, dtype=np.uint8)
    for bit in range(TARGETS if found else 0):
        bits |= found[bit % len(found)].astype(np.uint8) << bit
    return bits


def _a_target(
    labels: NDArray[np.int64], classes: NDArray[np.int64], present: list[int], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """One candidate, of whatever size."""
    objects = [number for number in present if number >= FIRST_OBJECT] or present
    number, kind = int(rng.choice(objects)), rng.random()
    if kind < 0.40:
        mask = labels == number
        return mask if rng.random() < 0.45 else _component(mask, rng)
    if kind < 0.68 and FIRST_OBJECT <= number < FIRST_CELL:  # outer and inner part together
        outer = number - (number - FIRST_OBJECT) % 2
        return _component((labels == outer) | (labels == outer + 1), rng)
    if kind < 0.70:
        return _component((labels == number) | (labels == int(rng.choice(present))), rng)
    if kind < 0.75:
        return np.asarray(np.isin(labels, np.flatnonzero(classes == classes[number])))
    if kind < 0.97:
        return _component(labels == int(rng.choice(present)), rng)
    return np.asarray(labels != AIR)


def _component(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """One connected part, a large one more probably."""
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(parts.ravel())[1:].astype(float)
    part = 1 + int(rng.choice(count, p=sizes / sizes.sum()))
    return np.asarray(parts == part)
