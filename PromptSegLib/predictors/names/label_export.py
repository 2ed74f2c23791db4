"""Probabilities on a network's grid become labels on the image's, without ever holding all of either.

nnU-Net's order (Nature Methods 18, 203, 2021): each class is resampled linearly, then the most probable one taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.names.axis_resampling import linear_taps, nearest_index


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
    cancel = cancel or CancelToken()
    labels: NDArray[Any] | None = None
    taps = _taps(grid_kji[0], shape_kji[0], nearest=thick_axis == 0)
    lower, upper, weight = (tap.tolist() for tap in taps)
    k, first, last_layer = 0, 0, torch.empty(0)
    for slab in slabs:
        if labels is None:
            labels = np.empty(tuple(shape_kji), np.uint8 if len(slab) <= 256 else np.uint16)
        stop = first + slab.shape[1]
        while k < shape_kji[0] and upper[k] < stop:
            cancel.check()
            below = slab[:, lower[k] - first] if lower[k] >= first else last_layer  # (class, j, i)
            layer = below.float().lerp(slab[:, upper[k] - first].float(), weight[k])
            labels[k] = _labels_of_layer(layer, shape_kji[1:], thick_axis)
            k += 1
        if slab.shape[1]:
            last_layer = slab[:, -1].clone()
        first = stop
    if labels is None or k < shape_kji[0]:
        raise VolumeError(f"expected probabilities of {grid_kji[0]} layers, got {first}")
    return labels


def _labels_of_layer(layer: Tensor, shape_ji: Sequence[int], thick_axis: int | None) -> NDArray[Any]:
    """The strongest class of each pixel of `layer` : (class, j, i) float, once it is resampled to `shape_ji`."""
    # A class below this everywhere wins nowhere, also between voxels: most of 105 classes need not be resampled.
    floor = layer.sum(dim=0).min() * (0.999 / len(layer))
    possible = (layer.amax(dim=(1, 2)) >= floor).nonzero().squeeze(1)
    layer = layer[possible]
    for axis in (2, 1):
        lower, upper, weight = _taps(layer.shape[axis], shape_ji[axis - 1], nearest=axis == thick_axis)
        by = weight.to(layer).view(-1, *[1] * (2 - axis))
        layer = layer.index_select(axis, lower.to(layer.device)).lerp_(
            layer.index_select(axis, upper.to(layer.device)), by
        )
    return np.asarray(possible[layer.argmax(dim=0)].cpu().numpy())


def _taps(length: int, new_length: int, *, nearest: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper index and the upper one's weight, for each resampled voxel of a line.

    `torch.nn.functional.interpolate` finds them in single precision, which decides otherwise between equals.
    """
    if nearest:
        index = torch.from_numpy(nearest_index(length, new_length))
        return index, index, torch.zeros(new_length)
    lower, upper, weight = (torch.from_numpy(tap) for tap in linear_taps(length, new_length))
    return lower, upper, weight
