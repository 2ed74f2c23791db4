"""One session at a time has a volume and a segmentation in hand: a new one takes them over from the one before.

The nodes carry the news, so that sessions of a library that was loaded anew meanwhile hear it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vtk

from PromptSegLib.mrml.observations import Observations

_TAKEN_OVER = vtk.vtkCommand.UserEvent + 7301


def take_over(volume_node: Any, segmentation_node: Any) -> None:
    """Tell whoever has these two nodes in hand to let go of them."""
    segmentation_node.InvokeEvent(_TAKEN_OVER, volume_node.GetID())


def on_taken_over(observations: Observations, segmentation_node: Any, callback: Callable[[str], None]) -> None:
    """Call `callback` with the ID of the volume when a session takes `segmentation_node` over, with that volume."""
    observations.add_with_text(segmentation_node, _TAKEN_OVER, callback)
