"""The winner of autoPET 2022 (arXiv:2210.07490): lesions in whole-body FDG-PET/CT, by a plain U-Net.

Experimental: no reference answers are at hand, and the plan of the published weights is not public beside them. The
network's stages, its channels and its tile are those of its training code; the spacing is that of the challenge's
images, and the numbers that CT values are standardised by are those of its training images in later plans for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.names.name_predictor import PROMPTS
from PromptSegLib.predictors.names.plan import ClipAndStandardise, Plan, ZScore
from PromptSegLib.predictors.names.predictor import ClassPredictor

if TYPE_CHECKING:
    from torch import nn

LESION = "whole-body tumour"


class AutoPet2022(ClassPredictor):
    """One of its five networks, which were trained on different parts of the data and averaged in the challenge."""

    capabilities = Capabilities.published(
        "autopet-2022",
        title="autoPET 2022, Blackbean",
        summary="lesions in whole-body FDG-PET/CT; experimental",
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        channels=("ct", "pet"),
        classes=(LESION,),
        devices=("cuda", "mps", "cpu"),
        experimental=True,
    )
    plans = (
        Plan(
            channels=("pet", "ct"),
            normalisations=(ZScore(), ClipAndStandardise(low=-832.06, high=1127.76, mean=107.73, std=286.34)),
            spacing_kji_mm=(3.0, 2.0364, 2.0364),
            tile=(192, 192, 192),
            classes=(LESION,),
        ),
    )

    def build(self) -> nn.Module:
        from PromptSegLib.predictors.names.plain_unet import PlainUNet

        return PlainUNet(2, 2, widths=(32, 64, 128, 256, 512), strides=[(2, 2, 2)] * 4)
