"""What nnU-Net's first version does to an image before its network sees it (Nature Methods 18, 203, 2021).

Crop to what is not zero, resample to the plan's spacing, normalise each channel. Arrays are (k, j, i), which is the
order its networks were trained in; images are not turned to a canonical orientation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Extent, Float32Array
from PromptSegLib.predictors.names.axis_resampling import resize, resize_planes

SEPARATE_ABOVE = 3.0
"""Ratio of the largest spacing to the smallest, above which slices are resampled one by one."""

Normalisation = Callable[[Float32Array], None]
"""Changes the float32 values of one channel, in place."""


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image as the network wants it, and how to come back.

    data: (channel, k, j, i) float32. shape_kji: of the image it was made from. crop: the part of that image which
    `data` shows. thick_axis: the axis along which slices were resampled one by one, None where there is none.
    """

    data: Float32Array
    shape_kji: tuple[int, int, int]
    crop: Extent
    thick_axis: int | None

    def paste(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Put `labels` of the crop : (k, j, i) where they belong in the image; 0 around them."""
        whole = np.zeros(self.shape_kji, labels.dtype)
        whole[self.crop.slices] = labels
        return whole


def prepare(
    channels: Sequence[NDArray[Any]],
    spacing_kji_mm: Sequence[float],
    target_kji_mm: Sequence[float],
    normalisations: Sequence[Normalisation],
    masked: Sequence[bool] = (),
) -> PreparedImage:
    """Crop, resample and normalise an image.

    channels: (k, j, i) real arrays on one grid. spacing_kji_mm: of the image. target_kji_mm: of the plan.
    normalisations: one for each channel, such as `z_score`. masked: of each, whether what is background is left out
    of it, and becomes 0.

    Raises:
        VolumeError: channels differ in shape or normalisations are not as many.
    """
    shape = channels[0].shape
    if len(shape) != 3 or any(channel.shape != shape for channel in channels):
        raise VolumeError(f"expected channels (k, j, i) of one shape, got {[c.shape for c in channels]}")
    if len(normalisations) != len(channels):
        raise VolumeError(f"expected {len(normalisations)} channels, got {len(channels)}")
    crop = nonzero_extent(channels)
    spacing, target = np.asarray(spacing_kji_mm, np.float64), np.asarray(target_kji_mm, np.float64)
    resampled_shape = np.round(spacing / target * crop.shape_kji).astype(int).clip(1)
    axis = thick_axis(spacing, target)
    data = np.empty((len(channels), *resampled_shape), np.float32)
    inside = _inside(channels, crop, data.shape[1:], axis) if any(masked) else None
    leaves_out = tuple(masked) or (False,) * len(channels)
    for channel, normalise, values, by_mask in zip(channels, normalisations, data, leaves_out, strict=True):
        values[...] = _resample(channel[crop.slices], values.shape, axis)
        if not by_mask:
            normalise(values)
            continue
        counted = values[inside]
        normalise(counted)
        values[...] = 0
        values[inside] = counted
    return PreparedImage(data, (shape[0], shape[1], shape[2]), crop, axis)


def _inside(
    channels: Sequence[NDArray[Any]], crop: Extent, shape: tuple[int, ...], axis: int | None
) -> NDArray[np.bool_]:
    """What is not background of the crop, resampled: zeros within the rest are none."""
    nonzero = ndimage.binary_fill_holes(np.logical_or.reduce([channel[crop.slices] != 0 for channel in channels]))
    if nonzero.shape == shape:
        return np.asarray(nonzero)
    part = nonzero.astype(np.float32)
    share = resize(part, shape, order=1) if axis is None else resize_planes(part, shape, axis=axis, order=1)
    return np.asarray(share >= 0.5)


def nonzero_extent(channels: Sequence[NDArray[Any]]) -> Extent:
    """The box of what is not zero in any of the `channels` : (k, j, i); all of it when everything is zero."""
    boxes = [box for channel in channels if (box := Extent.of_mask(channel != 0)) is not None]
    return reduce(Extent.union, boxes) if boxes else Extent.of_shape(channels[0].shape)


def thick_axis(spacing_mm: NDArray[np.float64], target_mm: NDArray[np.float64]) -> int | None:
    """The one axis whose spacing is more than 3 times the smallest, of the image or else of the plan.

    Two such axes are no thick slices: None, as for none.
    """
    for spacing in (spacing_mm, target_mm):
        if spacing.max() / spacing.min() > SEPARATE_ABOVE:
            coarsest = np.flatnonzero(spacing == spacing.max())
            return int(coarsest[0]) if coarsest.size == 1 else None
    return None


def _resample(array: NDArray[Any], shape: tuple[int, ...], axis: int | None) -> Float32Array:
    if axis is None:
        return resize(array, shape, order=3)
    return resize_planes(array, shape, axis=axis, order=3)


def z_score(values: Float32Array) -> None:
    """Mean 0 and standard deviation 1 over all of the image: nnU-Net's rule for what is not CT."""
    values -= values.mean(dtype=np.float64)
    # nnU-Net adds 1e-8, which in float32 is nothing, but for images whose intensities are that small.
    values /= values.std(dtype=np.float64) or 1.0


def clip_and_standardise(values: Float32Array, *, low: float, high: float, mean: float, std: float) -> None:
    """Clip to [low, high] HU, then standardise by the training set's mean and std: nnU-Net's rule for CT."""
    np.clip(values, low, high, out=values)
    values -= mean
    values /= std


def clip_to_unit(values: Float32Array, *, low: float = -325.0, high: float = 325.0) -> None:
    """Clip to [low, high] HU and map it to [0, 1]: UniSeg's rule for CT, with its bounds."""
    np.clip(values, low, high, out=values)
    values -= low
    values /= high - low
