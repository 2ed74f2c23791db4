"""SAM-UNet as a model of slices: one mask for a prompt, of whose quality the network says nothing.

Yang et al., arXiv:2408.09886: the longest side becomes 256 pixels, a mask is fed back as logits.
"""

from __future__ import annotations

from PromptSegLib.predictors.sam.model import SamModel, SamWay
from PromptSegLib.predictors.sam.transforms import LongestSideFrame
from PromptSegLib.predictors.sam_unet.network import PromptableSamUNet, SamUNet

SAM_UNET_WAY = SamWay(LongestSideFrame, lambda prompts: False, predicts_iou=False)


class SamUNetModel(SamModel):
    """See `SliceModel`. `device`: see `OnDevice`."""

    def __init__(self, network: SamUNet, device: str = "auto") -> None:
        super().__init__(PromptableSamUNet(network), SAM_UNET_WAY, device)
