"""Predictors with a known answer, for tests of everything around them."""

from __future__ import annotations

import threading

import numpy as np

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import Extent, flip_axes
from PromptSegLib.predictors.base import PROMPT_FEATURES, Capabilities, Prediction
from PromptSegLib.prompts import Point


class BallPredictor:
    """Answers with balls of `radius_mm` around the positive points, less balls around the negative ones.

    Looks at nothing but the prompts, so that where a mask should be is known to the voxel. Counts its calls; waits
    for `gate` before each answer when there is one; raises `error` when there is one.
    """

    capabilities = Capabilities(
        name="ball",
        title="Ball",
        summary="balls around points",
        dimensions=frozenset({2, 3}),
        prompts=frozenset(PROMPT_FEATURES) - {"text", "class"},
        code_license="Apache-2.0",
    )

    def __init__(self, radius_mm=5.0, gate: threading.Event | None = None, error: Exception | None = None):
        self.radius_mm = radius_mm
        self.gate = gate
        self.error = error
        self.encoded = 0
        self.states = []

    def encode(self, image, cancel, progress):
        self.encoded += 1
        return image

    def predict(self, encoding, state, cancel, progress):
        self.states.append(state)
        progress(0.5, "balls")
        while self.gate is not None and not self.gate.wait(0.005):
            cancel.check()
        if self.error is not None:
            raise self.error
        yield Prediction(
            {state.target: ball_patch(encoding.grid, state.prompts, self.radius_mm)},
            score=0.9,
            timings_ms={"balls": 1.0},
            feedback=len(self.states),
        )


def ball_patch(grid, prompts, radius_mm):
    """Return the balls around the points of `prompts`, in the box around the positive ones."""
    points = [prompt for prompt in prompts if isinstance(prompt, Point)]
    reach = [int(np.ceil(radius_mm / s)) + 1 for s in grid.spacing_kji_mm]
    around = [Extent.of_points(grid.to_ijk(p.position_ras)).padded(reach) for p in points]
    extent = around[0]
    for other in around[1:]:
        extent = extent.union(other)
    extent = extent.intersection(grid.extent)
    ranges = [np.arange(a, b) for a, b in zip(extent.start_kji, extent.stop_kji, strict=True)]
    centres = grid.to_ras(flip_axes(np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)))
    mask = np.zeros(extent.shape_kji, dtype=bool)
    for point in points:
        near = np.linalg.norm(centres - point.position_ras, axis=-1) <= radius_mm
        mask = mask | near if point.positive else mask & ~near
    return Patch(extent, mask)
