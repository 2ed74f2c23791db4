"""SAM-Med3D (arXiv:2310.15161): a click gives the structure in 3D.

The network sees cubes of 192 mm. It is shown one about what was prompted and, where the structure leaves that, the
next ones (see `window_run`). A cube is encoded once; the next click in it takes a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.prompts import MaskPrompt, Prompt
from PromptSegLib.view import Window
from PromptSegLib.volume import Image
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from PromptSegLib.predictors.cubes.cubic_lattice import Convert
    from PromptSegLib.predictors.cubes.model import WindowEncoding
    from PromptSegLib.predictors.sam_med3d.model import SamMed3DModel, SamMed3DWay
    from PromptSegLib.predictors.sam_med3d.network import SAMMed3D

_CITATION = "Wang et al., SAM-Med3D, arXiv:2310.15161"


def _capabilities(name: str, title: str, summary: str, weights: str) -> Capabilities:
    return Capabilities(
        name=name,
        title=title,
        summary=summary,
        dimensions=frozenset({3}),
        prompts=frozenset({"point+", "point-", "box2d+", "box3d+", "mask"}),
        code_license="Apache-2.0",
        weights_license="Apache-2.0",
        weights=(weights,),
        devices=("cuda", "mps", "cpu"),
        citation=_CITATION,
    )


class SamMed3D:
    """Takes clicks, and boxes as clicks in their middle: the network never learnt to read corners.

    network: one to use in place of the published weights, of any configuration. device: "auto" for the best there
    is, or a name such as "cpu". weights: where weights are; by default the user's store. most_grown: how many windows
    a structure is followed into. Raises WeightsError, which says how to get them, when the weights are not here.
    """

    capabilities = _capabilities(
        "sam-med3d",
        "SAM-Med3D turbo",
        "a click gives the structure in 3D; CT, MR and other volumes",
        "sam-med3d-turbo",
    )
    configuration: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    way: ClassVar[str] = "TURBO_WAY"

    def __init__(
        self,
        network: SAMMed3D | None = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        most_grown: int = 8,
    ) -> None:
        self._network = network
        self._device = device
        self._weights = weights or WeightsStore()
        self._most_grown = most_grown
        self._model: SamMed3DModel | None = None
        if network is None:
            self._weights.require(self._weights_name)

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> WindowEncoding:
        """Load the network; windows are encoded when they are prompted."""
        from PromptSegLib.predictors.cubes.cubic_lattice import CubicLattice
        from PromptSegLib.predictors.cubes.model import WindowEncoding
        from PromptSegLib.predictors.sam_med3d.preparation import SPACING_MM

        volume = image.reference
        if volume.components > 1:
            raise VolumeError(f"expected one value a voxel for {self.capabilities.name!r}, got {volume!r}")
        if self._model is None:
            progress(0.0, "loading the weights")
            self._model = self._load()
        cancel.check()
        return WindowEncoding(volume, CubicLattice(volume.grid, SPACING_MM), self._model)

    def predict(
        self, encoding: WindowEncoding, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer by windows, the one that was prompted first; each prediction is laid over those before."""
        from PromptSegLib.predictors.cubes.model import clicks_of
        from PromptSegLib.predictors.cubes.run import WindowRun

        taken = [prompt for prompt in state.prompts if self._takes(prompt)]
        convert, key = self._conversion(encoding, state)
        run = WindowRun(
            encoding,
            state,
            clicks_of(taken, encoding.lattice),
            convert=convert,
            key=key,
            most_grown=self._most_grown,
        )
        note = self._left_out(state.prompts)
        answered = False
        for prediction in run.answers(cancel, progress):
            answered = True
            yield replace(prediction, note="; ".join(part for part in (prediction.note, note) if part))
        if not answered:
            yield Prediction({}, note="; ".join(part for part in ("nothing positive to go by", note) if part))

    def _takes(self, prompt: Prompt) -> bool:
        return self.capabilities.takes(prompt) and not isinstance(prompt, MaskPrompt)

    def _left_out(self, prompts: Sequence[Prompt]) -> str:
        count = sum(not self._takes(prompt) and not isinstance(prompt, MaskPrompt) for prompt in prompts)
        return f"left out, as {self.capabilities.title} does not take them: {count} prompts" if count else ""

    def _conversion(self, encoding: WindowEncoding, state: TargetState) -> tuple[Convert | None, Window | None]:
        """Return what is to be done with the image's values first, and what tells it from another conversion."""
        from PromptSegLib.imaging.windowing import as_bytes

        assert self._model is not None
        rule = self._model.way.intensities
        if rule is None:
            return None, None
        shown = state.window or encoding.usual_window(rule)
        return partial(as_bytes, window=shown), shown

    def _load(self) -> SamMed3DModel:
        from PromptSegLib.predictors.sam_med3d import model as sam_med3d_model

        way: SamMed3DWay = getattr(sam_med3d_model, self.way)
        return sam_med3d_model.SamMed3DModel(self._network or self._published(), way, self._device)

    @property
    def _weights_name(self) -> str:
        return self.capabilities.weights[0]

    def _published(self) -> SAMMed3D:
        from PromptSegLib.predictors.published import with_weights
        from PromptSegLib.predictors.sam_med3d.network import SAMMed3D

        make = partial(SAMMed3D, **self.configuration)
        return with_weights(make, self._weights.state_dict(self._weights_name))


class SamMed3DCvpr(SamMed3D):
    """The same network, trained on what the challenge's images are: 0 to 255 between black and white, axes (z, y, x).

    Black and white come from the session's window, or from percentiles 0.5 and 99.5 of what is above 0.
    """

    capabilities = _capabilities(
        "sam-med3d-cvpr",
        "SAM-Med3D, CVPR 2025",
        "SAM-Med3D trained on the CVPR 2025 challenge's coreset; for CT, give a window",
        "sam-med3d-turbo-cvpr-coreset",
    )
    way = "CVPR_WAY"
