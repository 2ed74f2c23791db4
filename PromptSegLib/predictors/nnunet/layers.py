"""Answers on a network's grid become layers of the image, resampled as nnU-Net does, to the last bit where it can be.

nnU-Net resamples logits in float64 and keeps them in half precision, where neighbours are a hundredth apart: exact
ties between two such numbers are frequent, and decided by the order in which products are added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from PromptSegLib.cancel import CancelToken
from PromptSegLib.predictors.names.axis_resampling import positions
from PromptSegLib.predictors.names.label_export import LayerPair, layer_resampled, layers_between, taps
from PromptSegLib.predictors.names.nnunet_preparation import PreparedImage
from PromptSegLib.predictors.nnunet.configuration import Resampling

EXACT_VALUES = 1 << 27
"""Of more values than these, ties in half precision may fall otherwise than in nnU-Net; it is five times faster."""


def layers_of_image(
    slabs: Iterator[Tensor], image: PreparedImage, how: Resampling, cancel: CancelToken, *, may_win: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the logits of each layer of the image's crop.

    slabs: (output, n, j, i) in half precision, which follow each other along k. may_win: leave out outputs that are
    nowhere above the background's, the first: they win nowhere, since interpolation is linear.
    Yields the numbers of the outputs and their logits : (output, j, i).
    """
    crop, grid = image.crop.shape_kji, image.data.shape[1:]
    thick = image.thick_axis == 0
    beyond = positions(grid[0], crop[0])
    for at, pair in zip(beyond, layers_between(slabs, grid[0], crop[0], nearest=thick, cancel=cancel), strict=True):
        below, above = pair.below, pair.below if at < 0 else pair.above
        outputs = torch.arange(len(below))
        if tuple(grid) == crop:
            yield outputs, below
            continue
        exact = not how.by_torch and len(below) * np.prod(crop) <= EXACT_VALUES
        if may_win:
            possible = (below > below[:1]).flatten(1).any(1) | (above > above[:1]).flatten(1).any(1)
            possible[0] = True
            outputs = outputs[possible]
            below, above = below[possible], above[possible]
        if exact:
            weight = 0.0 if thick else float(at - np.floor(at))
            layer = _sum_of_corners(LayerPair(below, above, weight), crop[1:], image.thick_axis)
        else:
            layer = below.float().lerp(above.float(), pair.weight)
            layer = layer_resampled(layer, crop[1:], image.thick_axis)
        # By NumPy, as there: torch rounds twice, by way of float32, which moved one voxel in a thousand.
        yield outputs, layer if how.by_torch else torch.from_numpy(layer.numpy().astype(np.float16))


def _sum_of_corners(pair: LayerPair, shape_ji: Sequence[int], thick_axis: int | None) -> Tensor:
    """Interpolate linearly : (output, j, i) float64, the products of values and weights added up in SciPy's order."""
    _, j, i = pair.below.shape
    rows = _ends(j, shape_ji[0], nearest=thick_axis == 1)
    columns = _ends(i, shape_ji[1], nearest=thick_axis == 2)
    total = torch.zeros((len(pair.below), *shape_ji), dtype=torch.float64)
    for layer, by in ((pair.below, 1 - pair.weight), (pair.above, pair.weight)):
        weighed = layer.double() * by
        for (row, row_weight), (column, column_weight) in product(rows, columns):
            corner = weighed.index_select(1, row) * row_weight[:, None]
            total += corner.index_select(2, column) * column_weight
    return total


def _ends(length: int, new_length: int, *, nearest: bool) -> list[tuple[Tensor, Tensor]]:
    """The lower and the upper neighbours of a line's voxels, each with its weights."""
    if nearest:
        index, _, _ = taps(length, new_length, nearest=True)
        return [(index, torch.ones(new_length, dtype=torch.float64))]
    at = torch.from_numpy(positions(length, new_length))
    lower = at.floor()
    weight = at - lower
    first = lower.long()
    # Beyond the outermost voxels both neighbours are the same, as in SciPy.
    return [(first.clamp(0, length - 1), 1 - weight), ((first + 1).clamp(0, length - 1), weight)]
