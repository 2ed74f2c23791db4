"""What nnU-Net's second version does to an image before its network sees it.

Crop to what is not zero, normalise each channel, resample to the plans' spacing: its first version normalised last.
Everything is computed in the same order and precision as there, where it decides about the last bit: answers are
added up in half precision, which turns the smallest difference into one of a thousandth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Float32Array
from PromptSegLib.predictors.names.axis_resampling import nearest_index, resize, resize_planes
from PromptSegLib.predictors.names.nnunet_preparation import PreparedImage, nonzero_extent
from PromptSegLib.predictors.nnunet.configuration import Configuration, Normalisation, Resampling

Array = NDArray[Any]
_LEAST = 1e-8
_OUTSIDE = -1


def prepare(
    channels: Sequence[Float32Array],
    spacing_mm: Sequence[float],
    configuration: Configuration,
    previous: tuple[Array, Sequence[int]] | None = None,
    cancel: CancelToken | None = None,
) -> PreparedImage:
    """Crop, normalise and resample an image.

    channels: arrays on one grid, their axes as `configuration` has them. spacing_mm: of these axes. previous: labels
    of the whole image by the stage before, and those that the network sees, each as a channel of its own.
    """
    cancel = cancel or CancelToken()
    shape = channels[0].shape
    crop = nonzero_extent(channels)
    spacing = np.asarray(spacing_mm, np.float64)
    target = np.array([*spacing_mm[:1], *configuration.spacing_mm][-3:], np.float64)
    if len(configuration.spacing_mm) == 2:
        target[0] = spacing[0]
    resampled = crop.shape_kji
    if not configuration.data.is_none:
        resampled = tuple(np.round(spacing / target * crop.shape_kji).astype(int).clip(1).tolist())
    inside = None
    if previous is not None or any(one.masked for one in configuration.normalisations):
        inside = ndimage.binary_fill_holes(np.logical_or.reduce([c[crop.slices] != 0 for c in channels]))
    more = () if previous is None else previous[1]
    data = np.empty((len(channels) + len(more), *resampled), np.float32)
    for channel, normalisation, values in zip(channels, configuration.normalisations, data, strict=False):
        cancel.check()
        cropped = channel[crop.slices]
        normalise(cropped, normalisation, inside)
        values[...] = resampled_values(cropped, resampled, configuration.data, spacing, target)
    if previous is not None and inside is not None:
        cancel.check()
        labels = previous[0][crop.slices].astype(np.int32)
        labels[(labels == 0) & ~inside] = _OUTSIDE
        labels = resampled_labels(labels, resampled, configuration.labels, spacing, target)
        for label, values in zip(more, data[len(channels) :], strict=True):
            values[...] = labels == label
    thick = configuration.answers.thick_axis(target, spacing)
    return PreparedImage(data, (shape[0], shape[1], shape[2]), crop, thick)


def normalise(values: Float32Array, how: Normalisation, inside: Array | None) -> None:
    """Normalise the values of one channel in place. inside: what is not background, for those that go by it."""
    if how.scheme == "ZScoreNormalization":
        counted = values[inside] if how.masked and inside is not None else values
        mean, std = counted.mean(), max(counted.std(), _LEAST)
        if how.masked and inside is not None:
            values[inside] = (counted - mean) / std
        else:
            values -= mean
            values /= std
    elif how.scheme == "CTNormalization":
        np.clip(values, how.low, how.high, out=values)
        values -= how.mean
        values /= max(how.std, _LEAST)
    elif how.scheme == "RescaleTo01Normalization":
        values -= values.min()
        values /= np.clip(values.max(), _LEAST, None)
    elif how.scheme == "RGBTo01Normalization":
        if values.min() < 0 or values.max() > 255:
            raise VolumeError(f"expected colours from 0 to 255, got {values.min():g} to {values.max():g}")
        values /= 255.0


def resampled_values(
    values: Array, shape: tuple[int, ...], how: Resampling, spacing: NDArray[np.float64], target: NDArray[np.float64]
) -> Float32Array:
    if values.shape == shape:
        return values
    axis = how.thick_axis(spacing, target)
    if how.by_torch:
        return _by_torch(values, shape, axis)
    if axis is None:
        return resize(values, shape, order=how.order, exact=True)
    return resize_planes(values, shape, axis=axis, order=how.order, exact=True)


def _by_torch(values: Array, shape: tuple[int, ...], axis: int | None) -> Float32Array:
    import torch
    from torch.nn.functional import interpolate

    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    if axis is None:
        return np.asarray(interpolate(tensor[None, None], shape, mode="trilinear")[0, 0].numpy())
    across = [n for a, n in enumerate(shape) if a != axis]
    planes = interpolate(tensor.movedim(axis, 0)[:, None], across, mode="bilinear")[:, 0].numpy()
    return np.moveaxis(planes[nearest_index(len(planes), shape[axis])], 0, axis)


def resampled_labels(
    labels: Array, shape: tuple[int, ...], how: Resampling, spacing: NDArray[np.float64], target: NDArray[np.float64]
) -> Array:
    """Resample labels : (a, b, c) to `shape`: of each voxel the label that has the largest part in it.

    Between two of one share, the nearest voxel's label where it is one of them, else the lowest.
    """
    if labels.shape == shape or how.is_none:
        return labels
    axis = how.thick_axis(spacing, target)
    found = np.unique(labels)
    planes = np.moveaxis(labels, axis, 0)[:, None] if axis is not None else labels[None]
    wanted = shape if axis is None else (1, *(n for a, n in enumerate(shape) if a != axis))
    resized = np.stack([_labels_of_block(block, wanted, how.order, found) for block in planes])
    if axis is None:
        return np.asarray(resized[0])
    return np.moveaxis(resized[:, 0][nearest_index(labels.shape[axis], shape[axis])], 0, axis)


def _labels_of_block(block: Array, shape: Sequence[int], order: int, labels: Array) -> Array:
    """Resample one block of labels, out of `labels`, by the share of each."""
    nearest = block[np.ix_(*(nearest_index(n, m) for n, m in zip(block.shape, shape, strict=True)))]
    if order == 0 or len(labels) == 1:
        return nearest
    best = np.full(tuple(shape), -np.inf, np.float32)
    winner = nearest.copy()
    for label in labels:
        share = resize((block == label).astype(np.float32), shape, order=order, exact=True)
        # What float32 cannot tell apart is a tie: an even factor leaves exact halves at each border.
        better = share > best + 1e-6
        tied = (np.abs(share - best) <= 1e-6) & (nearest == label)
        winner[better | tied] = label
        np.maximum(best, share, out=best)
    return winner
