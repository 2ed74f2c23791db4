"""ScribblePrompt (arXiv:2312.07381) on slices: its UNet, small enough for every computer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.slices.predictor import SlicePredictor
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from PromptSegLib.predictors.scribbleprompt.model import ScribblePromptModel
    from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet


class ScribblePromptPredictor(SlicePredictor):
    """Black and white come from the session's window; without one, from percentiles 0.5 and 99.5 of the slice.

    network: one to use in place of the published weights. device: "auto", or a name such as "cpu". weights: where
    weights are; by default the user's store.
    Raises WeightsError, which says how to get them, when the weights are not here.
    """

    capabilities = Capabilities(
        name="scribbleprompt",
        title="ScribblePrompt",
        summary="scribbles, clicks and boxes on a slice, all kinds of medical images; fast on a CPU",
        dimensions=frozenset({2}),
        prompts=frozenset({"point+", "point-", "box2d+", "scribble+", "scribble-", "mask"}),
        code_license="Apache-2.0",
        weights_license="not stated apart from the code's",
        weights=("scribbleprompt",),
        devices=("cuda", "mps", "cpu"),
        citation="Wong et al., ScribblePrompt, ECCV 2024, arXiv:2312.07381",
    )
    intensities = IntensityRule(over="slice", keeps_bytes=False)
    sees_colour = False

    def __init__(
        self,
        network: ScribblePromptUNet | None = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
    ) -> None:
        # What is made ahead is just the slice at 128 x 128: nothing to keep on disk.
        super().__init__(cache=EmbeddingCache(memory_bytes=16 * 2**20))
        self._network = network
        self._device = device
        self._weights = weights or WeightsStore()
        if network is None:
            self._weights.require("scribbleprompt")

    def _load(self) -> ScribblePromptModel:
        from PromptSegLib.predictors.published import with_weights
        from PromptSegLib.predictors.scribbleprompt.model import ScribblePromptModel
        from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet

        network = self._network or with_weights(ScribblePromptUNet, self._weights.state_dict("scribbleprompt"))
        return ScribblePromptModel(network, self._device)
