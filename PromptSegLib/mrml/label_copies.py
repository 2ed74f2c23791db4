"""Copies of layers that many segments share, to see which segments somebody else changed without reading each one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.geometry import Extent
from PromptSegLib.mrml.layers import Layer

_MANY = 8
"""From so many segments on, a copy takes no more than what is known of them, a bit for each voxel and segment."""


class LabelCopies:
    """The labels of layers as they were seen last; of those that at least `_MANY` segments share."""

    def __init__(self) -> None:
        self._copies: dict[object, tuple[Extent, NDArray[np.generic]]] = {}

    def changed_labels(self, layer: Layer) -> set[int] | None:
        """Return the labels of the segments that changed on `layer`; None when that is not known."""
        extent, before = self._copies.get(layer.image, (None, None))
        if before is None or extent != layer.extent:
            return None
        labels: set[int] = set()
        for old, new in zip(before, layer.array, strict=True):
            if not np.array_equal(old, new):
                differs = old != new
                labels.update(np.unique(old[differs]).tolist(), np.unique(new[differs]).tolist())
        return labels

    def keep(self, layers: Iterable[Layer]) -> None:
        """Copy these layers anew, as far as many share them, and drop all others."""
        self._copies = {
            layer.image: (layer.extent, layer.array.copy()) for layer in layers if len(layer.segment_ids) >= _MANY
        }

    def follow(self, layer: Layer, extent: Extent) -> None:
        """Take note that `extent` of `layer` was changed by ourselves."""
        known, copy = self._copies.get(layer.image, (None, None))
        if copy is None:
            return
        if known != layer.extent or copy.dtype != layer.array.dtype:
            self._copies[layer.image] = (layer.extent, layer.array.copy())
            return
        inside = extent.intersection(layer.extent).slices_within(layer.extent)
        copy[inside] = layer.array[inside]
