"""Where to look next, in the slice views."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from PromptSegLib.imaging.doubt import Doubt
from PromptSegLib.mrml.transforms import array_from_matrix, matrix_between, node_to_world


def look_at(doubt: Doubt, volume_node: Any, slice_nodes: Iterable[Any]) -> str:
    """Show a place in the slice views; return the name of the one that shows it best, in whose middle it then is.

    doubt: in the volume's own RAS. slice_nodes: of the views; without any, nothing happens.
    """
    (point_world,) = node_to_world([doubt.point_ras], volume_node)
    normal = matrix_between(volume_node, None)[:3, :3] @ np.asarray(doubt.normal_ras)
    nodes = list(slice_nodes)
    x, y, z = (float(v) for v in point_world)
    for node in nodes:
        node.JumpSliceByOffsetting(x, y, z)
    if not nodes:
        return ""
    best = max(nodes, key=lambda node: abs(float(array_from_matrix(node.GetSliceToRAS())[:3, 2] @ normal)))
    best.JumpSliceByCentering(x, y, z)
    return str(best.GetLayoutName() or best.GetName())
