"""SAM 3 (arXiv:2511.16719): its tracker, for clicks, boxes and masks on slices, which are the frames of a video.

On sixteen sets of medical images its answers to clicks are better than SAM 2's, which stays competitive from boxes
and masks (arXiv:2511.21926): both are here. It needs the package transformers, from 5.0 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.slices.capabilities import on_slices
from PromptSegLib.predictors.slices.predictor import SlicePredictor

if TYPE_CHECKING:
    from PromptSegLib.predictors.sam3.model import Sam3Model
    from PromptSegLib.predictors.sam3.network import Sam3


class Sam3Predictor(SlicePredictor):
    """See `SlicePredictor`. configuration: what the network is built with, see `sam3_tracker`."""

    capabilities = on_slices("sam3", "SAM 3", "clicks and boxes on a slice, carried on by a memory; a GPU is advised")
    intensities = IntensityRule()
    configuration: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def published(self) -> Sam3:
        from PromptSegLib.predictors.published import with_weights_of_transformers
        from PromptSegLib.predictors.sam3.names import tracker_from_published
        from PromptSegLib.predictors.sam3.network import Sam3, sam3_tracker

        weights = tracker_from_published(self.state_dict())
        return Sam3(with_weights_of_transformers(lambda: sam3_tracker(**self.configuration), weights))

    def model_of(self, network: Sam3) -> Sam3Model:
        from PromptSegLib.predictors.sam3.model import Sam3Model

        return Sam3Model(network, self._device)
