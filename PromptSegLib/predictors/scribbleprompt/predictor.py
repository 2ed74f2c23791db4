"""ScribblePrompt (arXiv:2312.07381) on slices: its UNet, small enough for every computer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.slices.capabilities import on_slices
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.slices.predictor import SlicePredictor
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from PromptSegLib.predictors.scribbleprompt.model import ScribblePromptModel
    from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet


class ScribblePromptPredictor(SlicePredictor):
    """Black and white come from the session's window; without one, from percentiles 0.5 and 99.5 of the slice."""

    capabilities = on_slices(
        "scribbleprompt",
        "ScribblePrompt",
        "scribbles, clicks and boxes on a slice, all kinds of medical images; fast on a CPU",
        prompts=frozenset({"point+", "point-", "box2d+", "scribble+", "scribble-", "mask"}),
    )
    intensities = IntensityRule(over="slice", keeps_bytes=False)
    sees_colour = False

    def __init__(
        self,
        network: ScribblePromptUNet | None = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        checkpoint: Path | str | None = None,
    ) -> None:
        # What is made ahead is just the slice at 128 x 128: nothing to keep on disk.
        cache = EmbeddingCache(memory_bytes=16 * 2**20)
        super().__init__(network, device=device, weights=weights, checkpoint=checkpoint, cache=cache)

    def published(self) -> ScribblePromptUNet:
        from PromptSegLib.predictors.published import with_weights
        from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet

        return with_weights(ScribblePromptUNet, self.state_dict())

    def model_of(self, network: ScribblePromptUNet) -> ScribblePromptModel:
        from PromptSegLib.predictors.scribbleprompt.model import ScribblePromptModel

        return ScribblePromptModel(network, self._device)
