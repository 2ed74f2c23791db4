"""Segments to be measured: masks under names on one grid, read box by box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.bitmask import Patch
from PromptSegLib.errors import GeometryError, PromptError, VolumeError
from PromptSegLib.geometry import AxisMap, Extent, FloatArray, Grid
from PromptSegLib.label_values import as_labels, described_range
from PromptSegLib.volume import Volume

LARGEST_LABEL = 65535


@dataclass(frozen=True)
class Entry:
    """A segment of a `Segmentation`. layer: index of the array that it is in. value: its number there."""

    name: str
    layer: int
    value: int


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments on one grid.

    layers: arrays (k, j, i), bool or unsigned, in which each voxel holds the value of a segment, or 0; several where
    segments overlap. whole: the box, in voxels of `grid`, of the image that was segmented, of which `grid` may be a
    part; None when nothing is known of it.

    Raises:
        GeometryError: a layer is not of the grid's shape.
        VolumeError: two segments have one name.
    """

    grid: Grid
    layers: Sequence[NDArray[Any]]
    entries: Sequence[Entry]
    whole: Extent | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for layer in self.layers:
            if layer.shape != self.grid.shape_kji:
                raise GeometryError(f"expected labels of shape {self.grid.shape_kji} (k, j, i), got {layer.shape}")
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            raise VolumeError(f"expected a name of its own for each segment, got {', '.join(twice)} more than once")

    @classmethod
    def of_masks(cls, masks: Mapping[str, ArrayLike], ijk_to_ras: ArrayLike, name: str = "") -> Segmentation:
        """Return masks : (k, j, i), what is not 0 of each, by their names; `ijk_to_ras` is the 4x4 of all of them."""
        if not masks:
            raise VolumeError("expected at least one mask, got none")
        layers = [np.asarray(mask) != 0 for mask in masks.values()]
        if layers[0].ndim != 3:
            raise GeometryError(f"expected masks (k, j, i), got shape {layers[0].shape}")
        k, j, i = layers[0].shape
        grid = Grid((k, j, i), np.asarray(ijk_to_ras, dtype=np.float64))
        return cls(grid, layers, [Entry(one, index, 1) for index, one in enumerate(masks)], grid.extent, name)

    @classmethod
    def of_labels(cls, volume: Volume, names: Mapping[str, int] | None = None) -> Segmentation:
        """Return the segments of a labelmap. names: values by name; the others are called "label 5" by their value.

        Raises:
            VolumeError: for colour and for values that are no labels.
            PromptError: a named value is not there.
        """
        labels = checked_labels(volume)
        called = {value: name for name, value in (names or {}).items()}
        present = [int(value) for value in _present(labels)]
        if absent := [f"{name}={value}" for value, name in called.items() if value not in present]:
            found = ", ".join(map(str, present[:9])) + (", …" if len(present) > 9 else "")
            raise PromptError(f"expected {', '.join(absent)} in {volume.name or 'the labelmap'}, got {found or 'none'}")
        entries = [Entry(called.get(value, f"label {value}"), 0, value) for value in present]
        return cls(volume.grid, [labels], entries, volume.grid.extent, volume.name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.entries)

    def patch(self, name: str) -> Patch | None:
        """Return the smallest box that holds the segment, with its mask; None when it is empty.

        Raises:
            PromptError: there is no such segment.
        """
        entry = self._by_name.get(name)
        if entry is None:
            raise PromptError(f"expected a segment out of {', '.join(self.names) or 'none'}, got {name!r}")
        extent = self._boxes[entry.layer].get(entry.value)
        if extent is None:
            return None
        layer = self.layers[entry.layer][extent.slices]
        return Patch(extent, layer if layer.dtype == bool else layer == entry.value)

    @cached_property
    def _by_name(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.entries}

    @cached_property
    def _boxes(self) -> list[dict[int, Extent]]:
        """The box of each value of each layer."""
        from scipy import ndimage

        boxes: list[dict[int, Extent]] = []
        for layer in self.layers:
            if layer.dtype == bool:
                extent = Extent.of_mask(layer)
                boxes.append({1: extent} if extent else {})
                continue
            found = ndimage.find_objects(layer)
            boxes.append({value: _extent(slices) for value, slices in enumerate(found, start=1) if slices})
        return boxes


def checked_labels(volume: Volume) -> NDArray[Any]:
    """Return a labelmap's values, bool or unsigned integers.

    Raises:
        VolumeError: they are no labels.
    """
    array = volume.array
    what = volume.name or "the labelmap"
    if volume.components > 1:
        raise VolumeError(
            f"expected a labelmap of one value a voxel, got {volume.components} in {what}: is it a picture?"
        )
    if array.dtype in (bool, np.uint8, np.uint16):
        return array
    labels = np.empty(array.shape, np.uint16)
    for layer, values in zip(labels, array, strict=True):
        whole = as_labels(values)
        if whole is None or whole.min() < 0 or whole.max() > LARGEST_LABEL:
            found = described_range(values) if whole is None else f"{whole.min():g} to {whole.max():g}"
            raise VolumeError(
                f"expected labels, whole numbers from 0 to {LARGEST_LABEL}, in {what}, got {found}: "
                "is it an image, or a mask of probabilities?"
            )
        layer[...] = whole
    return labels


def _present(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the values other than 0, layer by layer: sorting a whole volume at once takes its memory twice."""
    if labels.dtype == bool:
        return np.ones(int(labels.any()), dtype=np.int64)
    counts = np.zeros(LARGEST_LABEL + 1, dtype=bool)
    for layer in labels:
        counts[layer.ravel()] = True
    return np.flatnonzero(counts[1:]) + 1


def _extent(slices: tuple[slice, ...]) -> Extent:
    (k0, k1), (j0, j1), (i0, i1) = ((int(s.start), int(s.stop)) for s in slices)
    return Extent((k0, j0, i0), (k1, j1, i1))


def reference_box(grid: Grid, reference: Grid, tolerance: float = 1e-3) -> Extent | None:
    """Return the box of `reference` in voxels of `grid`; None when its voxels are not those of `grid`."""
    axis_map = AxisMap.between(reference, grid.ijk_to_ras, tolerance)
    return axis_map.extent(reference.extent) if axis_map else None


def affine_and_extent(numbers: Sequence[float]) -> tuple[FloatArray, Extent]:
    """Return what Slicer writes as an image's geometry: 16 numbers of the affine, then i0, i1, j0, j1, k0, k1."""
    i0, i1, j0, j1, k0, k1 = (int(n) for n in numbers[16:22])
    return np.reshape(numbers[:16], (4, 4)), Extent((k0, j0, i0), (k1 + 1, j1 + 1, i1 + 1))
