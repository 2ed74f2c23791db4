"""SAM 2.1 (arXiv:2408.00714) and MedSAM2 (arXiv:2504.03600): slices as the frames of a video.

On a slice they answer as SAM does. Carried through a volume they remember what the structure looked like on the
slices before, and on those that were prompted; see `predictors.slices.propagation`. They need the package
transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.slices.capabilities import on_slices
from PromptSegLib.predictors.slices.predictor import SlicePredictor

if TYPE_CHECKING:
    from PromptSegLib.predictors.sam2.model import Sam2Model
    from PromptSegLib.predictors.sam2.network import Sam2


class Sam2Predictor(SlicePredictor):
    """Base of the family, whose members differ in their constants; see `SlicePredictor`.

    configuration: what the network is built with, see `sam2_video`.
    """

    intensities = IntensityRule()
    configuration: ClassVar[Mapping[str, Any]]

    def published(self) -> Sam2:
        from PromptSegLib.predictors.published import with_weights_of_transformers
        from PromptSegLib.predictors.sam2.network import Sam2, from_published, sam2_video

        weights = from_published(self.state_dict())
        return Sam2(with_weights_of_transformers(lambda: sam2_video(**self.configuration), weights))

    def model_of(self, network: Sam2) -> Sam2Model:
        from PromptSegLib.predictors.sam2.model import Sam2Model

        return Sam2Model(network, self._device)


class Sam2Tiny(Sam2Predictor):
    capabilities = on_slices("sam2.1-tiny", "SAM 2.1, tiny", "clicks and boxes on a slice, carried on by a memory")
    configuration = MappingProxyType({"hiera": "tiny"})


class Sam2Small(Sam2Predictor):
    capabilities = on_slices("sam2.1-small", "SAM 2.1, small", "as SAM 2.1, tiny: a little larger")
    configuration = MappingProxyType({"hiera": "small"})


class Sam2BasePlus(Sam2Predictor):
    capabilities = on_slices("sam2.1-base-plus", "SAM 2.1, base+", "as SAM 2.1, tiny: larger; a GPU is advised")
    configuration = MappingProxyType({"hiera": "base-plus"})


class Sam2Large(Sam2Predictor):
    capabilities = on_slices("sam2.1-large", "SAM 2.1, large", "the largest SAM 2.1; a GPU is advised")
    configuration = MappingProxyType({"hiera": "large"})


class MedSam2(Sam2Predictor):
    """For CT, give the window that shows the structure: it was trained on 8 bits of it."""

    capabilities = on_slices(
        "medsam2",
        "MedSAM2",
        "a box on a slice, carried through the volume; trained on CT, MR, PET and ultrasound",
    )
    configuration = MappingProxyType({"hiera": "tiny", "image_size": 512})
