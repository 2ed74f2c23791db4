"""A network's answers, slab by slab on its own grid, become masks on the image's, without ever holding all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PromptSegLib.bitmask import BitMask, BoolArray
from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Extent, FloatArray, flip_axes
from PromptSegLib.imaging.aligned_sampling import AlignedSampling, within

Decide = Callable[[Tensor], Tensor]
"""(class, a, b) values of a layer to (mask, a, b) bool."""

_LAYERS_AT_ONCE = 16  # Bits are packed along i: sagittal layers written one by one would pack each byte 8 times.


def masks_from_slabs(
    slabs: Iterable[Tensor],
    sampling: AlignedSampling,
    decide: Decide,
    count: int,
    *,
    cancel: CancelToken | None = None,
) -> list[BitMask]:
    """Return the `count` masks that `decide` makes of values interpolated linearly at the image's voxels.

    slabs: (class, n, y, z) values on the grid of `sampling`, which follow each other along x. Outside of that grid
    nothing is set.

    Raises:
        VolumeError: layers are missing.
        Cancelled: between two layers.
    """
    cancel = cancel or CancelToken()
    across, *in_plane = (_Taps.at(at, n) for at, n in zip(sampling.positions_back(), sampling.shape, strict=True))
    canvas = _Canvas(sampling, [taps.indices for taps in in_plane], count)
    turn = first = 0
    last_layer = torch.empty(0)
    for slab in slabs:
        stop = first + slab.shape[1]
        while turn < len(across.indices) and across.upper[turn] < stop:
            cancel.check()
            lower, upper = int(across.lower[turn]) - first, int(across.upper[turn]) - first
            below = slab[:, lower] if lower >= 0 else last_layer  # (class, y, z)
            layer = below.float().lerp(slab[:, upper].float(), float(across.weight[turn]))
            canvas.put(int(across.indices[turn]), decide(_resampled(layer, in_plane)).cpu().numpy())
            turn += 1
        if slab.shape[1]:
            last_layer = slab[:, -1].clone()
        first = stop
    if first != sampling.shape[0]:
        raise VolumeError(f"expected values of {sampling.shape[0]} layers, got {first}")
    canvas.flush()
    return canvas.masks


@dataclass(frozen=True, eq=False)
class _Taps:
    """Where the image's voxels along one axis take their values from, in the order in which these come.

    indices: of those voxels that lie in the grid. lower, upper: the neighbours' layers. weight: the upper one's.
    """

    indices: NDArray[np.int64]
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weight: NDArray[np.float32]

    @classmethod
    def at(cls, positions: FloatArray, length: int) -> _Taps:
        """The taps of voxels at `positions` of a line of `length`; they rise or fall."""
        indices = np.flatnonzero(within(positions, length))
        indices = indices[np.argsort(positions[indices])]
        inside = np.clip(positions[indices], 0, length - 1)
        lower = np.floor(inside).astype(np.int64)
        return cls(indices, lower, np.minimum(lower + 1, length - 1), (inside - lower).astype(np.float32))


def _resampled(layer: Tensor, in_plane: Iterable[_Taps]) -> Tensor:
    """The values of `layer` : (class, y, z) at the taps along y and z."""
    for axis, taps in enumerate(in_plane, start=1):
        lower, upper, weight = (torch.from_numpy(t).to(layer.device) for t in (taps.lower, taps.upper, taps.weight))
        by = weight.view(-1, *[1] * (2 - axis))
        layer = layer.index_select(axis, lower).lerp_(layer.index_select(axis, upper), by)
    return layer


class _Canvas:
    """Masks of the whole image, put together from layers that come one beside the other along x.

    in_plane: indices of the image's voxels along y and z that a layer shows, rising or falling.
    """

    def __init__(self, sampling: AlignedSampling, in_plane: list[NDArray[np.int64]], count: int) -> None:
        self.masks = [BitMask(sampling.image.shape_kji) for _ in range(count)]
        self._sampling = sampling
        self._in_plane = in_plane
        self._held: list[tuple[int, BoolArray]] = []

    def put(self, index: int, layer: NDArray[Any]) -> None:
        """Take the layer : (mask, y, z) bool at `index` of the image's axis along x."""
        self._held.append((index, layer))
        if len(self._held) == _LAYERS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what was put, the mask of each class into the box that the layers cover."""
        if not self._held or not all(len(indices) for indices in self._in_plane):
            return
        indices_xyz = [np.array([index for index, _ in self._held]), *self._in_plane]
        layers = np.stack([layer for _, layer in self._held], axis=1)  # (mask, x, y, z)
        self._held.clear()
        backwards = tuple(slice(None, None, -1 if indices[0] > indices[-1] else 1) for indices in indices_xyz)
        bounds_ijk = [indices_xyz[self._sampling.axes.index(axis)] for axis in range(3)]
        start = flip_axes([indices.min() for indices in bounds_ijk]).tolist()
        stop = flip_axes([indices.max() + 1 for indices in bounds_ijk]).tolist()
        for mask, own in zip(self.masks, layers, strict=True):
            if own.any():
                mask.write(Extent(tuple(start), tuple(stop)), self._sampling.to_kji(own[backwards]))
