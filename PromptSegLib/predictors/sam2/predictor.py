"""SAM 2.1 (arXiv:2408.00714) and MedSAM2 (arXiv:2504.03600): slices as the frames of a video.

On a slice they answer as SAM does. Carried through a volume they remember what the structure looked like on the
slices before, and on those that were prompted; see `PromptSegLib.predictors.slices.propagation`. They need the package transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.slices.predictor import SlicePredictor
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from PromptSegLib.predictors.sam2.model import Sam2Model
    from PromptSegLib.predictors.sam2.network import Sam2

_SAM2 = "Ravi et al., SAM 2: Segment Anything in Images and Videos, arXiv:2408.00714"


def _capabilities(name: str, title: str, summary: str, **others: Any) -> Capabilities:
    terms = {"weights_license": "Apache-2.0", "citation": _SAM2, **others}
    return Capabilities(
        name=name,
        title=title,
        summary=summary,
        dimensions=frozenset({2}),
        prompts=frozenset({"point+", "point-", "box2d+", "mask"}),
        code_license="Apache-2.0",
        weights=(name,),
        devices=("cuda", "mps", "cpu"),
        **terms,
    )


class Sam2Predictor(SlicePredictor):
    """Base of the family, whose members differ in their constants; see `SamPredictor` for the arguments."""

    intensities = IntensityRule()
    configuration: ClassVar[Mapping[str, Any]]

    def __init__(
        self,
        network: Sam2 | None = None,
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
            self._weights.require(self.capabilities.weights[0])

    def _load(self) -> Sam2Model:
        from PromptSegLib.predictors.sam2.model import Sam2Model

        return Sam2Model(self._network or self._published(), self._device)

    def _published(self) -> Sam2:
        from PromptSegLib.predictors.published import filled
        from PromptSegLib.predictors.sam2.network import Sam2, from_published, sam2_video

        state_dict = from_published(self._weights.state_dict(self.capabilities.weights[0]))
        # It computes positional encodings, which no checkpoint holds, when it is made.
        return Sam2(filled(sam2_video(**self.configuration), state_dict))


class Sam2Tiny(Sam2Predictor):
    capabilities = _capabilities("sam2.1-tiny", "SAM 2.1, tiny", "clicks and boxes on a slice, carried on by a memory")
    configuration = MappingProxyType({"hiera": "tiny"})


class Sam2Small(Sam2Predictor):
    capabilities = _capabilities("sam2.1-small", "SAM 2.1, small", "as SAM 2.1, tiny: a little larger")
    configuration = MappingProxyType({"hiera": "small"})


class Sam2BasePlus(Sam2Predictor):
    capabilities = _capabilities("sam2.1-base-plus", "SAM 2.1, base+", "as SAM 2.1, tiny: larger; a GPU is advised")
    configuration = MappingProxyType({"hiera": "base-plus"})


class Sam2Large(Sam2Predictor):
    capabilities = _capabilities("sam2.1-large", "SAM 2.1, large", "the largest SAM 2.1; a GPU is advised")
    configuration = MappingProxyType({"hiera": "large"})


class MedSam2(Sam2Predictor):
    """For CT, give the window that shows the structure: it was trained on 8 bits of it."""

    capabilities = _capabilities(
        "medsam2",
        "MedSAM2",
        "a box on a slice, carried through the volume; trained on CT, MR, PET and ultrasound",
        weights_license="CC BY-SA 4.0; research and education",
        citation="Ma et al., MedSAM2: Segment Anything in 3D Medical Images and Videos, arXiv:2504.03600",
    )
    configuration = MappingProxyType({"hiera": "tiny", "image_size": 512})
