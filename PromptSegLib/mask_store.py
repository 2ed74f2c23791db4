"""Where the masks of a session live. In memory here; in a segmentation node when a scene is there."""

from __future__ import annotations

from typing import Protocol

from PromptSegLib.bitmask import BitMask, BoolArray, MaskDelta, Patch
from PromptSegLib.geometry import Extent


class MaskStore(Protocol):
    """The masks of all targets on one grid. What it holds after a write is the truth, not what was written."""

    revision: int
    """Changes when the store's voxels come to lie elsewhere: changes from before can then not be undone."""

    def add(self, name: str) -> str:
        """Make an empty mask and return its key: `name`, or another where that one is taken."""
        ...

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the targets, in order."""
        ...

    def find(self, name: str) -> str | None:
        """Return the key of the target that is called `name`, None when there is none."""
        ...

    def read(self, key: str, extent: Extent) -> BoolArray:
        """Return the voxels of `extent` : (k, j, i), bool."""
        ...

    def snapshot(self, key: str) -> BitMask | None:
        """Return a copy of the mask, or None when nothing is set."""
        ...

    def write(self, key: str, patch: Patch) -> dict[str, MaskDelta]:
        """Lay `patch` over the mask and return what changed, in every target that changed."""
        ...

    def apply(self, key: str, delta: MaskDelta, revert: bool) -> None:
        """Make or undo the change `delta`, exactly, whatever rules `write` follows."""
        ...

    def image_extent(self, key: str, extent: Extent) -> Extent:
        """Return the box of the image's grid for the box of a change of `key`, which may be on a grid of its own."""
        ...

    def foreign_edits(self) -> dict[str, MaskDelta]:
        """Return what somebody else changed since the last call, the last write or the last `apply`."""
        ...

    def lost(self) -> tuple[str, ...]:
        """Return the keys of targets removed since the last call, even if they stand for other ones by now."""
        ...


class MemoryMaskStore:
    """Masks as bits in memory; targets overlap freely, nobody else edits them."""

    revision = 0

    def __init__(self, shape_kji: tuple[int, int, int]) -> None:
        self._shape_kji = shape_kji
        self._masks: dict[str, BitMask] = {}

    def add(self, name: str) -> str:
        key, number = name, 2
        while key in self._masks:
            key, number = f"{name} {number}", number + 1
        self._masks[key] = BitMask(self._shape_kji)
        return key

    def keys(self) -> tuple[str, ...]:
        return tuple(self._masks)

    def find(self, name: str) -> str | None:
        return name if name in self._masks else None

    def read(self, key: str, extent: Extent) -> BoolArray:
        return self._masks[key].read(extent)

    def snapshot(self, key: str) -> BitMask | None:
        mask = self._masks[key]
        return mask.copy() if mask.any() else None

    def write(self, key: str, patch: Patch) -> dict[str, MaskDelta]:
        mask = self._masks[key]
        delta = MaskDelta.between(patch.extent, mask.read(patch.extent), patch.mask_kji)
        mask.write(patch.extent, patch.mask_kji)
        return {key: delta} if delta else {}

    def apply(self, key: str, delta: MaskDelta, revert: bool) -> None:
        before = self.read(key, delta.extent)
        self._masks[key].write(delta.extent, delta.revert(before) if revert else delta.apply(before))

    def image_extent(self, key: str, extent: Extent) -> Extent:
        return extent

    def foreign_edits(self) -> dict[str, MaskDelta]:
        return {}

    def lost(self) -> tuple[str, ...]:
        return ()
