"""The default model's network without torch: the same features and the same layers, in products of matrices.

Equal to `PromptUNet` and its features, which explain both, to 1e-3, at 1.7 times the processor time. Channels come
last in here, so that a convolution is one product a slab of its windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.geometry import Float32Array

# What the torch network has them as.
_SLOPE, _GROUPS = 0.01, 8
_CLICK_RADIUS, _SAMPLE_RADIUS = 2.5, 1.0
_BINS, _BIN_SIGMA = 32, 1.5
_OUTSIDE_WEIGHT, _NOT_KNOWN = 0.02, 0.5
_FEATURES, _HEAD_CHANNELS, _DETAIL_CHANNELS = 8, 4, 8
# Windows laid out at a time: 8 MiB stay in a processor's cache, larger slabs are slower.
_SLAB_FLOATS = 2 * 2**20


class NumpyPromptUNet:
    """The network with weights : state dict of `PromptUNet(dims, widths)`, any floating type."""

    def __init__(self, dims: int, widths: Sequence[int], weights: Mapping[str, NDArray[Any]]) -> None:
        self.dims = dims
        self._levels = len(widths)
        self._weights = {key: _as_matrix(key, value) for key, value in weights.items()}

    def logits(
        self,
        image: Float32Array,
        positive: Float32Array,
        negative: Float32Array,
        box: Float32Array,
        previous: Float32Array,
    ) -> Float32Array:
        """Logits (*S) float32, mask where > 0, for maps (*S) float32; every side a multiple of 2**levels."""
        features = prompt_features(image, positive, negative, box, previous)
        x = _space_to_depth(features)
        skips = []
        for level in range(self._levels):
            x = self._block(f"encoder.{level}", x, stride=1 if level == 0 else 2)
            skips.append(x)
        for level in reversed(range(self._levels - 1)):
            x = _doubled(x @ self._weights[f"narrow.{level}.weight"], self.dims)
            x = self._block(f"decoder.{level}", np.concatenate([x, skips[level]], axis=-1))
        x = np.concatenate([_depth_to_space(self._product("head", x), self.dims), features], axis=-1)
        x = _leaky(self._convolved("detail", x) + self._weights["detail.bias"])
        logits: Float32Array = self._product("out", x)[..., 0]
        return logits

    def _block(self, name: str, x: Float32Array, stride: int = 1) -> Float32Array:
        x = self._convolved(f"{name}.first", x, stride)
        x = _leaky(_normalised(x, self._weights[f"{name}.norm.weight"], self._weights[f"{name}.norm.bias"]))
        return _leaky(self._convolved(f"{name}.second", x) + self._weights[f"{name}.second.bias"] + x)

    def _product(self, name: str, x: Float32Array) -> Float32Array:
        """A convolution of kernel 1."""
        product: Float32Array = x @ self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return product

    def _convolved(self, name: str, x: Float32Array, stride: int = 1) -> Float32Array:
        """A convolution of kernel 3 along every axis of x (*S, channels), zeros around, without its bias."""
        weight, dims = self._weights[f"{name}.weight"], self.dims
        padded = np.pad(x, [(1, 1)] * dims + [(0, 0)])
        windows = sliding_window_view(padded, (3,) * dims, axis=tuple(range(dims)))
        windows = windows[(slice(None, None, stride),) * dims]
        windows = np.moveaxis(windows, dims, -1)  # (*S, 3, 3[, 3], channels)
        shape = windows.shape[:dims]
        result = np.empty((*shape, weight.shape[1]), dtype=np.float32)
        layers = max(1, _SLAB_FLOATS // (int(np.prod(shape[1:])) * len(weight)))
        for first in range(0, shape[0], layers):
            slab = windows[first : first + layers]
            np.matmul(slab.reshape(*slab.shape[:dims], -1), weight, out=result[first : first + layers])
        return result


def weight_shapes(dims: int, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shape of each weight of `PromptUNet(dims, widths)`, by its key."""
    cell, shapes = 2**dims, dict[str, tuple[int, ...]]()

    def convolution(name: str, channels: int, width: int, kernel: int, has_bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (width, channels, *[kernel] * dims)
        if has_bias:
            shapes[f"{name}.bias"] = (width,)

    def block(name: str, channels: int, width: int) -> None:
        convolution(f"{name}.first", channels, width, 3, has_bias=False)
        shapes[f"{name}.norm.weight"] = shapes[f"{name}.norm.bias"] = (width,)
        convolution(f"{name}.second", width, width, 3)

    for level, (before, width) in enumerate(zip((_FEATURES * cell, *widths[:-1]), widths, strict=True)):
        block(f"encoder.{level}", before, width)
    for level, (width, deep) in enumerate(pairwise(widths)):
        convolution(f"narrow.{level}", deep, width, 1, has_bias=False)
        block(f"decoder.{level}", 2 * width, width)
    convolution("head", widths[0], _HEAD_CHANNELS * cell, 1)
    convolution("detail", _HEAD_CHANNELS + _FEATURES, _DETAIL_CHANNELS, 3)
    convolution("out", _DETAIL_CHANNELS, 1, 1)
    return shapes


def prompt_features(
    image: Float32Array, positive: Float32Array, negative: Float32Array, box: Float32Array, previous: Float32Array
) -> Float32Array:
    """The channels (*S, 8) float32 of the torch function of that name, for maps (*S)."""
    image = np.clip(image, 0, 1)
    means = ndimage.uniform_filter(image, 3, mode="nearest")
    position = np.clip(means * (_BINS - 1), 0, _BINS - 1 - 1e-4)
    masked, boxed = bool(previous.any()), bool(box.any())
    region = previous if masked else box
    ratio = np.full(image.shape, _NOT_KNOWN, dtype=np.float32)
    if masked or boxed:
        inside = _histogram(position, region)
        outside = _histogram(position, 1 - region)
        inside, outside = (counts / (counts.sum() + 1e-6) for counts in (inside, outside))
        ratio = _projected(position, (inside + 1e-4) / (inside + outside + 2e-4))
    beside = _grown(negative, _SAMPLE_RADIUS) + np.float32(_OUTSIDE_WEIGHT * boxed) * (1 - box)
    likelihoods = (_histogram(position, weights) for weights in (_grown(positive, _SAMPLE_RADIUS), beside))
    channels = [
        (image - image.mean()) / (image.std() + np.float32(1e-3)),
        _grown(positive, _CLICK_RADIUS),
        _grown(negative, _CLICK_RADIUS),
        box,
        previous,
        *(_projected(position, counts / (counts.max() + 1e-6)) for counts in likelihoods),
        ratio,
    ]
    return np.stack(channels, axis=-1, dtype=np.float32)


def _grown(marks: Float32Array, radius: float) -> Float32Array:
    """Marks (*S), 0 or 1, dilated by the ball of that radius."""
    reach = int(radius)
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * marks.ndim), axis=-1).reshape(-1, marks.ndim)
    offsets = offsets[(offsets**2).sum(axis=1) <= radius**2 + 1e-3]
    index = (np.argwhere(marks)[:, None] + offsets).reshape(-1, marks.ndim)
    index = index[((index >= 0) & (index < marks.shape)).all(axis=1)]
    result = np.zeros(marks.shape, dtype=np.float32)
    result[tuple(index.T)] = 1
    return result


def _histogram(position: Float32Array, weights: Float32Array) -> NDArray[np.float64]:
    """Smoothed counts (bins,) of positions in bins, each shared by its two bins."""
    low = position.astype(np.intp)
    share, weights, low = (position - low).ravel(), weights.ravel(), low.ravel()
    counts = np.bincount(low, weights * (1 - share), _BINS) + np.bincount(low + 1, weights * share, _BINS)
    kernel = np.exp(-(np.arange(-4.0, 5.0) ** 2) / (2 * _BIN_SIGMA**2))
    return np.convolve(counts, kernel, mode="same")


def _projected(position: Float32Array, table: NDArray[np.float64]) -> Float32Array:
    low = position.astype(np.intp)
    table = table.astype(np.float32)
    return np.asarray(table[low] + (position - low) * (table[low + 1] - table[low]))


def _as_matrix(key: str, value: NDArray[Any]) -> Float32Array:
    """A kernel (out, in, *kernel) as a matrix (kernel * in, out); biases and the like as they are."""
    value = np.asarray(value, dtype=np.float32)
    if value.ndim < 3:
        return value
    return np.ascontiguousarray(np.moveaxis(value, (0, 1), (-1, -2)).reshape(-1, value.shape[0]))


def _leaky(x: Float32Array) -> Float32Array:
    result: Float32Array = np.maximum(x, np.float32(_SLOPE) * x, out=x)
    return result


def _normalised(x: Float32Array, weight: Float32Array, bias: Float32Array) -> Float32Array:
    """Group normalisation of x (*S, channels)."""
    channels = x.shape[-1]
    flat = x.reshape(-1, channels)
    # Sums of a group's channels; in double precision, as the difference of two large numbers.
    count = len(flat) * channels // _GROUPS
    sums = flat.sum(axis=0, dtype=np.float64).reshape(_GROUPS, -1).sum(axis=1)
    squares = np.einsum("nc,nc->c", flat, flat, dtype=np.float64).reshape(_GROUPS, -1).sum(axis=1)
    mean = sums / count
    scale = np.repeat(1 / np.sqrt(np.maximum(squares / count - mean**2, 0) + 1e-5), channels // _GROUPS) * weight
    shift = bias - np.repeat(mean, channels // _GROUPS) * scale
    return x * scale.astype(np.float32) + shift.astype(np.float32)


def _space_to_depth(x: Float32Array) -> Float32Array:
    """(*S / 2, channels * 2**dims) for (*S, channels): a channel's cell, last axis fastest, stays together."""
    dims = x.ndim - 1
    halves = [n for side in x.shape[:-1] for n in (side // 2, 2)]
    cells = x.reshape(*halves, x.shape[-1])
    order = (*range(0, 2 * dims, 2), 2 * dims, *range(1, 2 * dims, 2))
    return np.ascontiguousarray(cells.transpose(order)).reshape(*halves[::2], -1)


def _depth_to_space(x: Float32Array, dims: int) -> Float32Array:
    """The inverse of `_space_to_depth`."""
    cells = x.reshape(*x.shape[:dims], -1, *(2,) * dims)  # (*S / 2, channels, 2, 2[, 2])
    order = [axis for pair in zip(range(dims), range(dims + 1, 2 * dims + 1), strict=True) for axis in pair]
    sides = [2 * side for side in x.shape[:dims]]
    return np.ascontiguousarray(cells.transpose(*order, dims)).reshape(*sides, -1)


def _doubled(x: Float32Array, dims: int) -> Float32Array:
    for axis in range(dims):
        x = np.repeat(x, 2, axis=axis)
    return x
