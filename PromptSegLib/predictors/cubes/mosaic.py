"""Cubes of one size that together answer for a structure larger than each of them.

Each tile holds logits on a coarse grid that all tiles share. Where tiles overlap, the mean of their logits counts,
those from a tile's middle weighing more: a network knows least of what lies at the faces of its cube. Where the
structure leaves a tile through a face, and the image goes on, another tile lies about that place.

Axes are those of the tiles, whatever their order; starts are in coarse voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Float32Array, FloatArray, IntArray

Start = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Tile:
    """One answered cube.

    start: its first voxel on the coarse grid. logits: (n, n, n), above 0 inside the structure. parent: start of the
    tile that it grew from; None for one that was asked for.
    """

    start: Start
    logits: Float32Array
    parent: Start | None = None


def blend(tiles: Iterable[Tile], start: Start, shape: Sequence[int]) -> tuple[Float32Array, BoolArray]:
    """Return the tiles' logits in the box at `start` of `shape`, 0 where there is no tile; and where there is one."""
    # In double precision, so that a tile that nothing overlaps comes back to the last bit of its float32.
    total, mass = np.zeros(tuple(shape)), np.zeros(tuple(shape))
    for tile in tiles:
        common = _common(tile, start, shape)
        if common is not None:
            here, there = common
            weights = _weights(len(tile.logits))[there]
            total[here] += weights * tile.logits[there]
            mass[here] += weights
    covered = mass > 0
    np.divide(total, mass, out=total, where=covered)
    return total.astype(np.float32), covered


def extended(values: Float32Array, covered: BoolArray) -> Float32Array:
    """Return `values` with those of the nearest covered voxel where none are known."""
    if covered.all():
        return values
    nearest = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)])


def parts_at(mask: BoolArray, seeds: IntArray) -> BoolArray:
    """Return the connected parts of `mask` that any of `seeds` : (n, 3) lies in; seeds may lie outside of the array."""
    parts, _ = ndimage.label(mask)
    inside = seeds[((seeds >= 0) & (seeds < np.array(mask.shape))).all(axis=1)]
    hit = np.unique(parts[tuple(inside.T)])
    return np.isin(parts, hit[hit > 0])


def largest_part(mask: BoolArray) -> BoolArray:
    """Return the largest connected part of `mask`; nothing where nothing is set."""
    parts, count = ndimage.label(mask)
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax() if count else mask


def exits(tiles: Sequence[Tile], tile: Tile, part: BoolArray, image_box: FloatArray) -> Iterator[Start]:
    """Yield the voxels beyond a face of `tile` about which the next tiles are to lie, for `part` leaves it there.

    image_box: (2, 3), first and last face of the image in coarse voxels. Voxels of which half or more lies beyond it,
    and those that a tile covers already, are no exits. Tiles about those yielded cover all others.
    """
    size = len(tile.logits)
    low = np.array(tile.start) - 1
    _, covered = blend(tiles, (int(low[0]), int(low[1]), int(low[2])), (size + 2,) * 3)
    beyond = ndimage.binary_dilation(np.pad(part, 1))
    beyond[1:-1, 1:-1, 1:-1] = False
    beyond &= ~covered
    for axis in range(3):
        middles = low[axis] + np.arange(size + 2) + 0.5
        is_outside = (middles <= image_box[0][axis]) | (middles >= image_box[1][axis])
        np.moveaxis(beyond, axis, 0)[is_outside] = False
    parts, count = ndimage.label(beyond, structure=np.ones((3, 3, 3)))
    for number in range(1, count + 1):
        left = np.argwhere(parts == number)
        while len(left):
            middle = left[np.square(left - left.mean(axis=0)).sum(axis=1).argmin()]
            x, y, z = (int(v) for v in middle + low)
            yield x, y, z
            first = middle - size // 2
            left = left[((left < first) | (left >= first + size)).any(axis=1)]


def innermost(mask: BoolArray) -> IntArray:
    """Return the voxel (3,) of `mask` that lies deepest in it; the faces of the array are borders too."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    return np.array(np.unravel_index(int(depth.argmax()), depth.shape))


def _common(tile: Tile, start: Start, shape: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Return where the box and the tile overlap, in either's indices; None where they do not."""
    offset = np.array(tile.start) - start
    low = np.maximum(offset, 0)
    high = np.minimum(offset + tile.logits.shape, shape)
    if (high <= low).any():
        return None
    here = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    there = tuple(slice(int(a), int(b)) for a, b in zip(low - offset, high - offset, strict=True))
    return here, there


def _weights(size: int) -> FloatArray:
    """(size, size, size): the distance to the nearest face along each axis, multiplied; 1 at most."""
    ramp = np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5) / (size / 2)
    return np.asarray(ramp[:, None, None] * ramp[:, None] * ramp)
