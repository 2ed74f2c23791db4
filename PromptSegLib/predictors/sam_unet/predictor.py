"""SAM-UNet (arXiv:2408.09886) on slices: a frozen SAM beside a ResNet of 34 or 50 layers, trained on SA-Med2D-16M.

Its authors published no weights: those of somebody who trained it are imported from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.slices.capabilities import on_slices
from PromptSegLib.predictors.slices.predictor import SlicePredictor

if TYPE_CHECKING:
    from PromptSegLib.predictors.sam_unet.model import SamUNetModel
    from PromptSegLib.predictors.sam_unet.network import SamUNet


class SamUNetPredictor(SlicePredictor):
    """Base of both sizes, which differ in their convolutional branch; see `SlicePredictor`.

    configuration: what the network is built with, see `SamUNet`.
    """

    intensities = IntensityRule()
    configuration: ClassVar[Mapping[str, Any]]

    def published(self) -> SamUNet:
        from PromptSegLib.predictors.published import with_weights
        from PromptSegLib.predictors.sam_unet.network import SamUNet

        return with_weights(lambda: SamUNet(**self.configuration), self.state_dict())

    def model_of(self, network: SamUNet) -> SamUNetModel:
        from PromptSegLib.predictors.sam_unet.model import SamUNetModel

        return SamUNetModel(network, self._device)


class SamUNet34(SamUNetPredictor):
    capabilities = on_slices(
        "sam-unet-res34",
        "SAM-UNet, ResNet-34",
        "boxes and clicks on a slice, medical images; no weights are published: bring your own",
    )
    configuration = MappingProxyType({"depth": 34})


class SamUNet50(SamUNetPredictor):
    capabilities = on_slices(
        "sam-unet-res50", "SAM-UNet, ResNet-50", "as SAM-UNet, ResNet-34: a little larger; bring your own weights"
    )
    configuration = MappingProxyType({"depth": 50})
