"""Probabilities on a network's grid become labels on the image's, without ever holding all of either.

nnU-Net's order (Nature Methods 18, 203, 2021): each class is resampled linearly, then the most probable one taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.names.axis_resampling import linear_taps, nearest_index


@dataclass(frozen=True, eq=False)
class LayerPair:
    """Where a layer of the image lies between two of the network's grid.

    below, above: (class, j, i) of the two. weight: how much of `above` there is in it.
    """

    below: Tensor
    above: Tensor
    weight: float


def layers_between(
    slabs: Iterable[Tensor],
    grid_k: int,
    shape_k: int,
    *,
    nearest: bool = False,
    cancel: CancelToken | None = None,
) -> Iterator[LayerPair]:
    """Yield for each layer of the image which of the network's layers it lies between.

    slabs: (class, n, j, i) that follow each other along k, `grid_k` layers in all. shape_k: the image's layers.
    nearest: take the nearest layer.

    Raises:
        VolumeError: layers are missing.
        Cancelled: between two layers.
    """
    cancel = cancel or CancelToken()
    lower, upper, weight = (tap.tolist() for tap in taps(grid_k, shape_k, nearest=nearest))
    k, first, last_layer = 0, 0, torch.empty(0)
    for slab in slabs:
        stop = first + slab.shape[1]
        while k < shape_k and upper[k] < stop:
            cancel.check()
            below = slab[:, lower[k] - first] if lower[k] >= first else last_layer
            yield LayerPair(below, slab[:, upper[k] - first], weight[k])
            k += 1
        if slab.shape[1]:
            last_layer = slab[:, -1].clone()
        first = stop
    if k < shape_k:
        raise VolumeError(f"expected probabilities of {grid_k} layers, got {first}")


def labels_from_slabs(
    slabs: Iterable[Tensor],
    grid_kji: Sequence[int],
    shape_kji: Sequence[int],
    *,
    thick_axis: int | None = None,
    cancel: CancelToken | None = None,
) -> NDArray[Any]:
    """Return the number of the most probable class of each voxel, (k, j, i) uint8 or uint16, of `shape_kji`.

    slabs: (class, n, j, i) probabilities that follow each other along k, `grid_kji` in all.
    thick_axis: the axis along which the nearest layer is taken, see `nnunet_preparation`.

    Raises:
        VolumeError: layers are missing.
        Cancelled: between two layers.
    """
    labels: NDArray[Any] | None = None
    pairs = layers_between(slabs, grid_kji[0], shape_kji[0], nearest=thick_axis == 0, cancel=cancel)
    for k, pair in enumerate(pairs):
        if labels is None:
            labels = np.empty(tuple(shape_kji), np.uint8 if len(pair.below) <= 256 else np.uint16)
        layer = pair.below.float().lerp(pair.above.float(), pair.weight)
        labels[k] = _labels_of_layer(layer, shape_kji[1:], thick_axis)
    assert labels is not None
    return labels


def _labels_of_layer(layer: Tensor, shape_ji: Sequence[int], thick_axis: int | None) -> NDArray[Any]:
    """The strongest class of each pixel of `layer` : (class, j, i) float, once it is resampled to `shape_ji`."""
    # A class below this everywhere wins nowhere, also between voxels: most of 105 classes need not be resampled.
    floor = layer.sum(dim=0).min() * (0.999 / len(layer))
    possible = (layer.amax(dim=(1, 2)) >= floor).nonzero().squeeze(1)
    layer = layer[possible]
    layer = layer_resampled(layer, shape_ji, thick_axis)
    return np.asarray(possible[layer.argmax(dim=0)].cpu().numpy())


def layer_resampled(layer: Tensor, shape_ji: Sequence[int], thick_axis: int | None) -> Tensor:
    """Resample `layer` : (class, j, i) to `shape_ji`, linearly but along `thick_axis` (1 for j, 2 for i)."""
    for axis in (2, 1):
        lower, upper, weight = taps(layer.shape[axis], shape_ji[axis - 1], nearest=axis == thick_axis)
        by = weight.to(layer).view(-1, *[1] * (2 - axis))
        layer = layer.index_select(axis, lower.to(layer.device)).lerp_(
            layer.index_select(axis, upper.to(layer.device)), by
        )
    return layer


def taps(length: int, new_length: int, *, nearest: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper index and the upper one's weight, for each resampled voxel of a line.

    `torch.nn.functional.interpolate` finds them in single precision, which decides otherwise between equals.
    """
    if nearest:
        index = torch.from_numpy(nearest_index(length, new_length))
        return index, index, torch.zeros(new_length)
    lower, upper, weight = (torch.from_numpy(tap) for tap in linear_taps(length, new_length))
    return lower, upper, weight
