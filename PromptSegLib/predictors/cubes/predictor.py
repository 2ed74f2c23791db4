"""A network for cubes on a volume: a click gives the structure in 3D, followed from cube to cube (see `run`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import VolumeError
from PromptSegLib.imaging.windowing import IntensityRule, as_bytes
from PromptSegLib.predictors.base import Prediction, TargetState
from PromptSegLib.predictors.weighted import WeightedPredictor
from PromptSegLib.prompts import MaskPrompt, Prompt
from PromptSegLib.view import Window
from PromptSegLib.volume import Image
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from PromptSegLib.predictors.cubes.cubic_lattice import Convert
    from PromptSegLib.predictors.cubes.model import CubeEncoding, CubeModel


class CubePredictor(WeightedPredictor["CubeModel"]):
    """Base of the predictors whose network sees one cube of a volume at a time; they differ in their network.

    Takes clicks, and boxes as clicks in their middle. most_grown: how many cubes a structure is followed into. The
    other arguments are `WeightedPredictor`'s.

    spacing_mm: side of the network's voxels. intensities: what becomes 0 and what 255 beforehand; None for values as
    they are.
    """

    _model: CubeModel | None
    spacing_mm: ClassVar[float]
    intensities: ClassVar[IntensityRule | None] = None

    def __init__(
        self,
        network: Any = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        checkpoint: Path | str | None = None,
        most_grown: int = 8,
    ) -> None:
        super().__init__(network, device=device, weights=weights, checkpoint=checkpoint)
        self._most_grown = most_grown

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> CubeEncoding:
        """Load the network; cubes are encoded when they are prompted.

        Raises:
            VolumeError: for colour.
        """
        from PromptSegLib.predictors.cubes.cubic_lattice import CubicLattice  # needs SimpleITK
        from PromptSegLib.predictors.cubes.model import CubeEncoding

        volume = image.reference
        if volume.components > 1:
            raise VolumeError(f"expected one value a voxel for {self.capabilities.name!r}, got {volume!r}")
        model = self.loaded(progress)
        cancel.check()
        return CubeEncoding(volume, CubicLattice(volume.grid, self.spacing_mm), model)

    def predict(
        self, encoding: CubeEncoding, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer by cubes, the one that was prompted first; each prediction is laid over those before."""
        from PromptSegLib.predictors.cubes.model import clicks_of
        from PromptSegLib.predictors.cubes.run import CubeRun

        taken = [prompt for prompt in state.prompts if self._takes(prompt)]
        convert, key = self._conversion(encoding, state)
        clicks = clicks_of(taken, encoding.lattice)
        run = CubeRun(encoding, state, clicks, convert=convert, key=key, most_grown=self._most_grown)
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

    def _conversion(self, encoding: CubeEncoding, state: TargetState) -> tuple[Convert | None, Window | None]:
        """Return what is to be done with the image's values first, and what tells it from another conversion."""
        if self.intensities is None:
            return None, None
        shown = state.window or encoding.usual_window(self.intensities)
        return partial(as_bytes, window=shown), shown
