"""SAM-Med3D (arXiv:2310.15161): a click gives the structure in 3D.

The network sees cubes of 192 mm. It is shown one about what was prompted and, where the structure leaves that, the
next ones. A cube is encoded once; the next click in it takes a fraction of the time. Boxes are taken as clicks in
their middle: the network never learnt to read corners.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.cubes.predictor import CubePredictor
from PromptSegLib.predictors.sam_med3d.preparation import SPACING_MM

if TYPE_CHECKING:
    from PromptSegLib.predictors.sam_med3d.model import SamMed3DModel
    from PromptSegLib.predictors.sam_med3d.network import SAMMed3D


def _capabilities(weights: str, name: str, title: str, summary: str) -> Capabilities:
    return Capabilities.published(
        weights,
        name=name,
        title=title,
        summary=summary,
        dimensions=frozenset({3}),
        prompts=frozenset({"point+", "point-", "box2d+", "box3d+", "mask"}),
        devices=("cuda", "mps", "cpu"),
    )


class SamMed3D(CubePredictor):
    """See `CubePredictor`. configuration: what the network is built with."""

    capabilities = _capabilities(
        "sam-med3d-turbo",
        "sam-med3d",
        "SAM-Med3D turbo",
        "a click gives the structure in 3D; CT, MR and other volumes",
    )
    configuration: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    spacing_mm = SPACING_MM
    as_stored_by_itk: ClassVar[bool] = False

    def published(self) -> SAMMed3D:
        from PromptSegLib.predictors.published import with_weights
        from PromptSegLib.predictors.sam_med3d.network import SAMMed3D

        return with_weights(partial(SAMMed3D, **self.configuration), self.state_dict())

    def model_of(self, network: SAMMed3D) -> SamMed3DModel:
        from PromptSegLib.predictors.sam_med3d.model import SamMed3DModel

        return SamMed3DModel(network, self._device, as_stored_by_itk=self.as_stored_by_itk)


class SamMed3DCvpr(SamMed3D):
    """The same network, trained on what the challenge's images are: 0 to 255 between black and white, axes (z, y, x).

    Black and white come from the session's cube, or from percentiles 0.5 and 99.5 of what is above 0.
    """

    capabilities = _capabilities(
        "sam-med3d-turbo-cvpr-coreset",
        "sam-med3d-cvpr",
        "SAM-Med3D, CVPR 2025",
        "SAM-Med3D trained on the CVPR 2025 challenge's coreset; for CT, give a cube",
    )
    intensities = IntensityRule(positive_only=True)
    as_stored_by_itk = True
