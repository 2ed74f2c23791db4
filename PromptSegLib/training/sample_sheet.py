"""A picture of what the network is trained on: one can see there what no figure tells."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PromptSegLib.training.draws import Draws
from PromptSegLib.training.pool import Pool
from PromptSegLib.training.recipe import Recipe
from PromptSegLib.training.slots import Slots

_ROWS, _COLUMNS, _SIDE, _GAP = 5, 8, 128, 4
_IMAGES = {2: 40, 3: 8}
_TRUTH, _BOX, _PREVIOUS, _POSITIVE, _NEGATIVE = (
    *((255, 220, 0), (60, 160, 255), (220, 60, 220)),
    *((40, 255, 40), (255, 40, 40)),
)


def sample_sheet(recipe: Recipe, device: torch.device | str = "cpu") -> NDArray[np.uint8]:
    """(height, width, 3) uint8: first prompts on 40 views; in 3D the slice with most of the prompts or the target."""
    size, count = recipe.phases[0].size, _ROWS * _COLUMNS
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        pool = Pool(Path(folder), recipe.dims, recipe.seed, _IMAGES[recipe.dims], device)
        pool.prepare(1)
        slots = Slots(pool, count, size, Draws(recipe.seed, 2, device=device))
        slots.fill()
    maps = slots.maps()
    layers = [maps.image, maps.truth, maps.box, maps.previous, maps.positive, maps.negative]
    if recipe.dims == 3:
        shown = (maps.truth + 1000 * (maps.positive + maps.negative))[:, 0].sum((2, 3)).argmax(1)
        layers = [layer[torch.arange(count), :, shown] for layer in layers]
    tiles = [_tile([layer[number, 0].cpu() for layer in layers]) for number in range(count)]
    rows = [np.concatenate(tiles[start : start + _COLUMNS], axis=1) for start in range(0, count, _COLUMNS)]
    return np.concatenate(rows)


def _tile(layers: list[Tensor]) -> NDArray[np.uint8]:
    """One view in colour, with a black edge."""
    image, *masks = [functional.interpolate(layer[None, None], size=(_SIDE, _SIDE))[0, 0] for layer in layers]
    tile = (image[..., None].expand(-1, -1, 3) * 255).to(torch.uint8).numpy()
    colors = (_TRUTH, _BOX, _PREVIOUS, _POSITIVE, _NEGATIVE)
    for number, (mask, color) in enumerate(zip(masks, colors, strict=True)):
        tile[(_outline(mask) if number < 3 else mask > 0.5).numpy()] = color
    return np.pad(tile, ((0, _GAP), (0, _GAP), (0, 0)))


def _outline(mask: Tensor) -> Tensor:
    """The mask's own border."""
    inner = -functional.max_pool2d(-(mask > 0.5).float()[None], 3, 1, 1)[0]
    return (mask > 0.5) & (inner < 0.5)
