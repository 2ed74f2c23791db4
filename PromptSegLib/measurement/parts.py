"""The parts of a segment that do not touch: lesions, each on its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import Extent


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a mask, the largest first. Voxels that touch by a face, an edge or a corner are one part.

    extent: the box they are in. labels_kji: the numbers of parts in that box, 0 elsewhere. numbers: of the parts in
    `labels_kji`, in their order. voxels: of each.
    """

    extent: Extent
    labels_kji: NDArray[Any]
    numbers: NDArray[np.int64]
    voxels: NDArray[np.int64]
    boxes: list[tuple[slice, ...]]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Patch]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Patch:
        number = int(self.numbers[index])
        slices = self.boxes[number - 1]
        k, j, i = ((int(s.start), int(s.stop)) for s in slices)
        box = Extent((k[0], j[0], i[0]), (k[1], j[1], i[1]))
        return Patch(box.shifted(self.extent.start_kji), self.labels_kji[slices] == number)


def parts_of(patch: Patch) -> Parts:
    """Return the parts of a mask that is not empty."""
    from scipy import ndimage

    labels, count = ndimage.label(patch.mask_kji, np.ones((3, 3, 3), dtype=bool))
    voxels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-voxels, kind="stable")
    return Parts(patch.extent, labels, order + 1, voxels[order], ndimage.find_objects(labels))
