"""SAM (arXiv:2304.02643) and its family on slices: MedSAM, SAM-Med2D (arXiv:2308.16184), FT-SAM.

An embedding is made once for each slice; a click after that takes a fraction of it. Black and white come from the
session's window; without one, from percentiles 0.5 and 99.5 of the volume. Images of 8 bit are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.slices.predictor import SlicePredictor
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from torch import Tensor

    from PromptSegLib.predictors.sam.model import SamModel, SamWay
    from PromptSegLib.predictors.sam.network import Sam

_POINTS_BOX_MASK = frozenset({"point+", "point-", "box2d+", "mask"})
_OF_SAM_MED2D = "not stated; the training data (SA-Med2D-20M) is CC BY-NC-SA 4.0"
_SAM = "Kirillov et al., Segment Anything, ICCV 2023, arXiv:2304.02643"
_SAM_MED2D = "Cheng et al., SAM-Med2D, arXiv:2308.16184"


def _capabilities(name: str, title: str, summary: str, citation: str, **others: Any) -> Capabilities:
    terms = {"prompts": _POINTS_BOX_MASK, "weights": (name,), "weights_license": "Apache-2.0", **others}
    return Capabilities(
        name=name,
        title=title,
        summary=summary,
        dimensions=frozenset({2}),
        code_license="Apache-2.0",
        devices=("cuda", "mps", "cpu"),
        citation=citation,
        **terms,
    )


class SamPredictor(SlicePredictor):
    """Base of the family, whose members differ in their constants.

    network: one to use in place of the published weights, of any configuration. device: "auto" for the best there
    is, or a name such as "cpu". weights: where weights are; by default the user's store. cache: for embeddings.
    Raises WeightsError, which says how to get them, when the weights are not here.
    """

    intensities = IntensityRule()
    builder: ClassVar[str]
    configuration: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    way: ClassVar[str] = "SAM_WAY"

    def __init__(
        self,
        network: Sam | None = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        cache: EmbeddingCache | None = None,
    ) -> None:
        super().__init__(cache=cache)
        self._network = network
        self._device = device
        self._weights = weights or WeightsStore()
        if network is None:
            self._weights.require(self._weights_name)

    @property
    def _weights_name(self) -> str:
        return self.capabilities.weights[0]

    def _load(self) -> SamModel:
        from PromptSegLib.predictors.sam import model as sam_model

        way: SamWay = getattr(sam_model, self.way)
        return sam_model.SamModel(self._network or self._published(), way, self._device)

    def _published(self) -> Sam:
        from PromptSegLib.predictors.published import with_weights
        from PromptSegLib.predictors.sam import network as sam

        make: Callable[[], Sam] = partial(getattr(sam, self.builder), **self.configuration)
        return with_weights(make, self._state_dict())

    def _state_dict(self) -> dict[str, Tensor]:
        return self._weights.state_dict(self._weights_name)


class SamVitB(SamPredictor):
    capabilities = _capabilities("sam-vit-b", "SAM ViT-B", "clicks and boxes on a slice, any kind of image", _SAM)
    builder = "sam_vit_b"


class SamVitL(SamPredictor):
    capabilities = _capabilities("sam-vit-l", "SAM ViT-L", "as SAM ViT-B: larger, slower, better", _SAM)
    builder = "sam_vit_l"


class SamVitH(SamPredictor):
    capabilities = _capabilities("sam-vit-h", "SAM ViT-H", "the largest SAM; a GPU is advised", _SAM)
    builder = "sam_vit_h"


class MedSam(SamPredictor):
    """For CT, give the window that it was trained with: level 40, width 400 for soft tissue."""

    capabilities = _capabilities(
        "medsam",
        "MedSAM",
        "a box on a slice, medical images of all kinds",
        "Ma et al., Segment anything in medical images, Nature Communications 15, 654 (2024)",
        prompts=frozenset({"box2d+"}),
    )
    intensities = IntensityRule(positive_only=True)
    builder = "medsam"
    way = "MEDSAM_WAY"


class SamMed2D(SamPredictor):
    capabilities = _capabilities(
        "sam-med2d",
        "SAM-Med2D",
        "clicks and boxes on a slice, trained on medical images; fast on a CPU",
        _SAM_MED2D,
        weights_license=_OF_SAM_MED2D,
    )
    builder = "sam_med2d"
    way = "SAM_MED2D_WAY"


class SamMed2DNoAdapter(SamPredictor):
    capabilities = _capabilities(
        "sam-med2d-no-adapter",
        "SAM-Med2D without adapters",
        "SAM-Med2D, its adapters dropped: three times smaller, less accurate",
        _SAM_MED2D,
        weights_license=_OF_SAM_MED2D,
        weights=("sam-med2d",),
    )
    builder = "sam_med2d"
    configuration = MappingProxyType({"adapters": False})
    way = "SAM_MED2D_WAY"

    def _state_dict(self) -> dict[str, Tensor]:
        from PromptSegLib.predictors.sam.network import without_adapters

        return without_adapters(super()._state_dict())


class FtSam(SamPredictor):
    capabilities = _capabilities(
        "ft-sam",
        "FT-SAM",
        "SAM ViT-B fine-tuned on medical images by SAM-Med2D's authors, without adapters",
        _SAM_MED2D,
        weights_license=_OF_SAM_MED2D,
    )
    builder = "sam_med2d"
    configuration = MappingProxyType({"adapters": False})
    way = "SAM_MED2D_WAY"
