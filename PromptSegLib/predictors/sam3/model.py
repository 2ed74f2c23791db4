"""SAM 3's tracker as a model of slices: it answers and remembers as SAM 2 does."""

from __future__ import annotations

from PromptSegLib.predictors.sam.model import SamWay, is_single_click
from PromptSegLib.predictors.sam2.model import Sam2Model
from PromptSegLib.predictors.sam3.network import Sam3
from PromptSegLib.predictors.sam3.transforms import Sam3Frame

SAM3_WAY = SamWay(Sam3Frame, is_single_click)


class Sam3Model(Sam2Model):
    """See `SliceModel` and `FollowsSlices`. `device`: see `OnDevice`."""

    def __init__(self, network: Sam3, device: str = "auto") -> None:
        super().__init__(network, device, SAM3_WAY)
