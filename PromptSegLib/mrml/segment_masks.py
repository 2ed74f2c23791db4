"""The mask of a segment on its volume's grid, without a session."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import PromptError


def segment_mask(segmentation_node: Any, name: str, volume_node: Any) -> BoolArray:
    """Return the mask : (k, j, i) of the segment called `name`, on the grid of `volume_node`.

    Raises:
        PromptError: there is no such segment.
    """
    segmentation = segmentation_node.GetSegmentation()
    segment_id = segmentation.GetSegmentIdBySegmentName(name)
    if not segment_id:
        raise PromptError(f"expected a segment of {segmentation_node.GetName()!r}, got {name!r}")
    k, j, i = (int(n) for n in reversed(volume_node.GetImageData().GetDimensions()))
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, volume_node)
    return np.zeros((k, j, i), dtype=bool) if array is None else np.asarray(array) > 0
