"""A model that does as it is told: sets what positive prompts mark and clears what negative ones do, in order."""

from __future__ import annotations

import dataclasses
import threading
from typing import ClassVar

import numpy as np

from PromptSegLib.bitmask import Patch
from PromptSegLib.certainty import Certainty
from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.predictors.base import PROMPT_FEATURES, Capabilities, Prediction
from PromptSegLib.predictors.nninteractive.server import SERVED
from PromptSegLib.prompts import Point, Scribble


class ShapePredictor:
    """Points are balls of 4 mm. Waits for `gate` before each answer; raises `error` when there is one."""

    capabilities = Capabilities(
        name="shapes",
        title="Shapes",
        summary="marks what the prompts mark",
        dimensions=frozenset({2, 3}),
        prompts=frozenset(PROMPT_FEATURES) - {"text", "class"},
        code_license="Apache-2.0",
    )
    gate: ClassVar[threading.Event] = threading.Event()
    error: ClassVar[Exception | None] = None
    started: ClassVar[list] = []

    def encode(self, image, cancel, progress):
        return image

    def predict(self, encoding, state, cancel, progress):
        self.started.append(state)
        progress(0.5, "Marking…")
        while not self.gate.wait(0.005):
            cancel.check()
        if self.error is not None:
            raise self.error
        grid = encoding.grid
        patches = [(prompt, self._marked(prompt, grid)) for prompt in state.prompts]
        extent = patches[0][1].extent
        for _, patch in patches[1:]:
            extent = extent.union(patch.extent)
        extent = extent.intersection(grid.extent)
        mask = state.mask.read(extent) if state.mask is not None else np.zeros(extent.shape_kji, dtype=bool)
        for prompt, patch in patches:
            common = patch.extent.intersection(extent)
            inside, marked = common.slices_within(extent), patch.mask_kji[common.slices_within(patch.extent)]
            mask[inside] = mask[inside] & ~marked if prompt.sign == "-" else mask[inside] | marked
        yield Prediction({state.target: Patch(extent, mask)}, score=0.9, timings_ms={"marks": 1.0})

    def _marked(self, prompt, grid) -> Patch:
        ball = Scribble((prompt.position_ras,), 8.0, prompt.positive) if isinstance(prompt, Point) else prompt
        return rasterize(ball, grid)


class Remote(ShapePredictor):
    """Answers as if on a server, and sends nothing anywhere."""

    capabilities = dataclasses.replace(ShapePredictor.capabilities, name="remote", title="Remote", devices=("server",))

    def __init__(self, server: str | None = None, *, api_key: str | None = None, consent: bool | None = None) -> None:
        self.access = SERVED.granted(server, api_key, consent)
        self.keys.append(self.access.api_key)
        self.asked.append(self.access.address)

    asked: ClassVar[list[str]] = []
    keys: ClassVar[list[str | None]] = []


class Prepares(ShapePredictor):
    """Keeps the views that it was to prepare for."""

    capabilities = dataclasses.replace(ShapePredictor.capabilities, name="prepares", title="Prepares")
    views: ClassVar[list] = []

    def encode_ahead(self, encoding, view, window, cancel, progress):
        self.views.append(view)


class Words(ShapePredictor):
    """Finds the same voxel whatever is asked for, in any words."""

    capabilities = dataclasses.replace(
        ShapePredictor.capabilities, name="words", title="Words", prompts=frozenset({"text", "point+"})
    )

    def predict(self, encoding, state, cancel, progress):
        voxel = Patch(Extent((5, 5, 5), (6, 6, 6)), np.ones((1, 1, 1), dtype=bool))
        yield Prediction(dict.fromkeys(state.asked, voxel))


class PointsOnly(ShapePredictor):
    """Takes points, and the names of two organs."""

    capabilities = Capabilities(
        name="points",
        title="Points only",
        summary="knows two organs",
        dimensions=frozenset({3}),
        prompts=frozenset({"point+", "point-", "class"}),
        classes=("liver", "spleen"),
        code_license="Apache-2.0",
        weights_license="CC-BY-NC-4.0",
        weights=("points-weights",),
        experimental=True,
    )


class Sure(ShapePredictor):
    """Says how sure it is: 0.9 of what is marked, 0.1 of the rest."""

    capabilities = dataclasses.replace(ShapePredictor.capabilities, name="sure", title="Sure")

    def predict(self, encoding, state, cancel, progress):
        for prediction in super().predict(encoding, state, cancel, progress):
            (patch,) = prediction.patches.values()
            probability = np.where(patch.mask_kji, np.float32(0.9), np.float32(0.1))
            yield dataclasses.replace(prediction, certainty=Certainty.of(patch.extent, probability))
