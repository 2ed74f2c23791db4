"""How far from a prompt its answer changed something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from PromptSegLib.bitmask import BitMask, MaskDelta
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.prompts import Box, Prompt

# What is farther from the prompt is far, in parts of the mask's longest side.
_FAR = 0.25


def far_voxels(change: MaskDelta, prompts: Sequence[Prompt], before: BitMask | None, grid: Grid) -> int:
    """Return how many voxels of `change` are far from the newest of `prompts`, along one axis of the image at least.

    before: the mask that was changed. All on `grid`. 0 where nothing has a place.
    """
    bounds = before.bounds() if before is not None else None
    newest = prompts[-1] if prompts else None
    positions = np.zeros((0, 3))
    if newest is not None:
        positions = newest.corners_ras() if isinstance(newest, Box) else newest.positions_ras()
    if bounds is None or not len(positions):
        return 0
    longest_mm = float((np.array(bounds.shape_kji) * grid.spacing_kji_mm).max())
    reach = np.ceil(_FAR * longest_mm / grid.spacing_kji_mm).astype(int).tolist()
    near = Extent.of_points(grid.to_ijk(positions)).padded(reach).intersection(change.extent)
    added, removed = change.added_and_removed()
    changed = added | removed
    total = int(changed.sum())
    return total - (int(changed[near.slices_within(change.extent)].sum()) if near.size else 0)
