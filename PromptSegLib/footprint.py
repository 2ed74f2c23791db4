"""What predictions for one target changed since its mask was last set otherwise: what a start-over takes back.

It is kept summed up, so that taking it back costs what the voxels in it cost, however many answers made them.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import MaskDelta
from PromptSegLib.geometry import Extent

_TILE_KJI = (16, 32, 32)
_SPARSE = 4  # boxes of which tiles fill less than a fourth are written in parts

_Index = tuple[int, int, int]


class Footprint:
    """The net change of each mask that predictions for `target` changed since its mask had `version`.

    Another mask that somebody else changed meanwhile begins anew: only what was changed since then is taken back.
    """

    def __init__(self, target: str, version: int) -> None:
        self._target = target
        self._nets = {target: NetChange(version)}

    @property
    def nbytes(self) -> int:
        return sum(net.nbytes for net in self._nets.values())

    def is_valid(self, version_of: Callable[[str], int]) -> bool:
        """Tell whether nobody else changed the target's mask since. version_of: tells a mask's version."""
        return self._nets[self._target].version == version_of(self._target)

    def add(self, mask: str, delta: MaskDelta, before: int, after: int) -> NetChange | None:
        """Add a change of `mask`, which brought it from the version `before` to `after`.

        Returns what was summed up for that mask and no longer counts, for `subtract`.
        """
        net, outdated = self._nets.get(mask), None
        if net is None or net.version != before:
            net, outdated = NetChange(before), net
            self._nets[mask] = net
        net.add(delta)
        net.version = after
        return outdated

    def subtract(self, mask: str, delta: MaskDelta, before: int, outdated: NetChange | None) -> None:
        """Take an `add` back, the newest one of `mask`; `outdated` is what it returned."""
        net = self._nets[mask]
        net.add(delta, revert=True)
        net.version = before
        if outdated is not None:
            self._nets[mask] = outdated

    def inverse(self, version_of: Callable[[str], int]) -> Iterator[tuple[str, MaskDelta]]:
        """Yield masks and changes that take all of it back, the target's own first: it makes room for the others."""
        for mask, net in self._nets.items():
            if net.version == version_of(mask):
                yield from ((mask, delta) for delta in net.inverse())

    def pack(self) -> None:
        """Take less memory, until something is added or subtracted."""
        for net in self._nets.values():
            net.pack()


class NetChange:
    """Changes of a mask one after the other as one change, in tiles: what lies between far ones takes nothing.

    version: of the mask, as the newest change left it.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self._tiles: dict[_Index, NDArray[np.uint8] | bytes] = {}

    @property
    def nbytes(self) -> int:
        return sum(len(tile) if isinstance(tile, bytes) else tile.nbytes for tile in self._tiles.values())

    def add(self, delta: MaskDelta, revert: bool = False) -> None:
        """Let `delta`, or its reversal, follow on what is summed up so far."""
        for index, tile in _tiles_of(delta):
            if not tile.any():
                continue
            added, removed = tile[::-1] if revert else tile
            if index not in self._tiles:
                self._tiles[index] = np.stack([added, removed])
                continue
            net_added, net_removed = self._tile(index)
            net = np.stack(
                [(net_added & ~removed) | (added & ~net_removed), (net_removed & ~added) | (removed & ~net_added)]
            )
            if net.any():
                self._tiles[index] = net
            else:
                del self._tiles[index]

    def inverse(self) -> Iterator[MaskDelta]:
        """Yield the changes that take all of it back, in boxes that do not meet."""
        for box in _boxes(sorted(self._tiles)):
            low = np.min(box, axis=0)
            shape = (np.max(box, axis=0) - low + 1) * _TILE_KJI
            added, removed = np.zeros((2, *shape), dtype=bool)
            for index in box:
                where = _extent_of(tuple(np.subtract(index, low))).slices
                removed[where], added[where] = np.unpackbits(self._tile(index), axis=-1).astype(bool)
            extent = Extent.of_shape(added.shape).shifted((low * _TILE_KJI).tolist())
            delta = MaskDelta.of(extent, added, removed)
            if delta is not None:
                yield delta

    def pack(self) -> None:
        for index, tile in self._tiles.items():
            if not isinstance(tile, bytes):
                self._tiles[index] = zlib.compress(tile.tobytes(), 1)

    def _tile(self, index: _Index) -> NDArray[np.uint8]:
        """Return the voxels added and removed, (2, k, j, i / 8), as bits."""
        k, j, i = _TILE_KJI
        tile = self._tiles[index]
        if isinstance(tile, bytes):
            return np.frombuffer(zlib.decompress(tile), dtype=np.uint8).reshape(2, k, j, i // 8)
        return tile


def _tiles_of(delta: MaskDelta) -> Iterator[tuple[_Index, NDArray[np.uint8]]]:
    """Yield the index of each tile that the box of `delta` meets, with the voxels added and removed, as bits."""
    tile, box = np.array(_TILE_KJI), delta.extent
    first, last = box.start_kji // tile, (np.array(box.stop_kji) - 1) // tile
    nk, nj, ni = (last - first + 1).tolist()
    depth, height, width = _TILE_KJI
    within = box.shifted((-first * tile).tolist())
    changed = delta.added_and_removed()
    for k in range(nk):  # slab by slab: a copy of the whole box, padded, would be the most that a click takes
        slab = np.zeros((2, depth, nj * height, ni * width), dtype=bool)
        start, stop = max(within.start_kji[0], k * depth), min(within.stop_kji[0], (k + 1) * depth)
        rows = slice(start - within.start_kji[0], stop - within.start_kji[0])
        slab[:, start - k * depth : stop - k * depth, within.slices[1], within.slices[2]] = changed[:, rows]
        bits = np.packbits(slab, axis=-1).reshape(2, depth, nj, height, ni, width // 8)
        for j, i in itertools.product(range(nj), range(ni)):
            yield (int(first[0]) + k, int(first[1]) + j, int(first[2]) + i), bits[:, :, j, :, i]


def _boxes(tiles: list[_Index]) -> Iterator[list[_Index]]:
    """Yield `tiles` in parts, each of which fills a good part of the box around it."""
    if not tiles:
        return
    sides = np.ptp(tiles, axis=0) + 1
    if np.prod(sides) <= _SPARSE * len(tiles):
        yield tiles
        return
    axis = int(sides.argmax())
    middle = np.min(tiles, axis=0)[axis] + sides[axis] // 2
    yield from _boxes([tile for tile in tiles if tile[axis] < middle])
    yield from _boxes([tile for tile in tiles if tile[axis] >= middle])


def _extent_of(tile: tuple[int, ...]) -> Extent:
    k, j, i = (int(n) * size for n, size in zip(tile, _TILE_KJI, strict=True))
    return Extent((k, j, i), (k + _TILE_KJI[0], j + _TILE_KJI[1], i + _TILE_KJI[2]))
