"""SAM (arXiv:2304.02643) and its family on slices: MedSAM, SAM-Med2D (arXiv:2308.16184), FT-SAM.

An embedding is made once for each slice; a click after that takes a fraction of it. Black and white come from the
session's window; without one, from percentiles 0.5 and 99.5 of the volume. Images of 8 bit are taken as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.slices.capabilities import on_slices
from PromptSegLib.predictors.slices.predictor import SlicePredictor

if TYPE_CHECKING:
    from torch import Tensor

    from PromptSegLib.predictors.sam.model import SamModel, SamWay
    from PromptSegLib.predictors.sam.network import Sam


class SamPredictor(SlicePredictor):
    """Base of the family, whose members differ in their network and in how they use it; see `SlicePredictor`.

    configuration: what the network is built with, see `SamConfig`.
    """

    intensities = IntensityRule()
    configuration: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @abstractmethod
    def build(self) -> Sam:
        """Return the network, without numbers: it is built on the device "meta"."""

    def way(self) -> SamWay:
        """Return how the network is used."""
        from PromptSegLib.predictors.sam.model import SAM_WAY

        return SAM_WAY

    def published(self) -> Sam:
        from PromptSegLib.predictors.published import with_weights

        return with_weights(self.build, self.state_dict())

    def model_of(self, network: Sam) -> SamModel:
        from PromptSegLib.predictors.sam.model import SamModel

        return SamModel(network, self.way(), self._device)


class SamVitB(SamPredictor):
    capabilities = on_slices("sam-vit-b", "SAM ViT-B", "clicks and boxes on a slice, any kind of image")

    def build(self) -> Sam:
        from PromptSegLib.predictors.sam.network import sam_vit_b

        return sam_vit_b(**self.configuration)


class SamVitL(SamPredictor):
    capabilities = on_slices("sam-vit-l", "SAM ViT-L", "as SAM ViT-B: larger, slower, better")

    def build(self) -> Sam:
        from PromptSegLib.predictors.sam.network import sam_vit_l

        return sam_vit_l(**self.configuration)


class SamVitH(SamPredictor):
    capabilities = on_slices("sam-vit-h", "SAM ViT-H", "the largest SAM; a GPU is advised")

    def build(self) -> Sam:
        from PromptSegLib.predictors.sam.network import sam_vit_h

        return sam_vit_h(**self.configuration)


class MedSam(SamVitB):
    """For CT, give the window that it was trained with: level 40, width 400 for soft tissue."""

    capabilities = on_slices(
        "medsam", "MedSAM", "a box on a slice, medical images of all kinds", prompts=frozenset({"box2d+"})
    )
    intensities = IntensityRule(positive_only=True)

    def way(self) -> SamWay:
        from PromptSegLib.predictors.sam.model import MEDSAM_WAY

        return MEDSAM_WAY


class SamMed2D(SamPredictor):
    capabilities = on_slices(
        "sam-med2d", "SAM-Med2D", "clicks and boxes on a slice, trained on medical images; fast on a CPU"
    )

    def build(self) -> Sam:
        from PromptSegLib.predictors.sam.network import sam_med2d

        return sam_med2d(**self.configuration)

    def way(self) -> SamWay:
        from PromptSegLib.predictors.sam.model import SAM_MED2D_WAY

        return SAM_MED2D_WAY


class SamMed2DNoAdapter(SamMed2D):
    capabilities = on_slices(
        "sam-med2d",
        "SAM-Med2D without adapters",
        "SAM-Med2D, its adapters dropped: three times smaller, less accurate",
        name="sam-med2d-no-adapter",
    )
    configuration = MappingProxyType({"adapters": False})

    def state_dict(self) -> dict[str, Tensor]:
        from PromptSegLib.predictors.sam.network import without_adapters

        return without_adapters(super().state_dict())


class FtSam(SamMed2D):
    capabilities = on_slices(
        "ft-sam", "FT-SAM", "SAM ViT-B fine-tuned on medical images by SAM-Med2D's authors, without adapters"
    )
    configuration = MappingProxyType({"adapters": False})
