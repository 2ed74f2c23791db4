"""Stand-ins for the models whose weights are not at hand, so that examples of the pages run to their end.

Each has the capabilities and the options of the model whose name it bears, so that a prompt, a name or an option that
the model does not take is refused as the model would. It answers with balls around what is prompted, a model of slices
with what is bright there; whether the models answer well is tested elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from fakes import ball_patch
from slice_phantoms import PerfectPredictor

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import flip_axes
from PromptSegLib.predictors import registry
from PromptSegLib.predictors.base import Capabilities, Prediction
from PromptSegLib.prompts import Box, Point, Prompt

_REAL = dict(registry.BUILT_IN)
WORK_HERE = ("default", "classical")
RADIUS_MM = 20.0


class Balls:
    """Answers with balls around points, in boxes, and for names in the middle of the image."""

    def __init__(self, capabilities: Capabilities):
        self.capabilities = capabilities

    def encode(self, image, cancel, progress):
        missing = set(self.capabilities.channels) - set(image.channels)
        assert not missing, f"{self.capabilities.name} needs the channels {', '.join(missing)}"
        return image.grid

    def predict(self, grid, state, cancel, progress) -> Iterator[Prediction]:
        patches = {target: self._answer(grid, prompts) for target, prompts in state.asked.items()}
        yield Prediction(patches, device="cpu", replaces=state.span is not None)

    def _answer(self, grid, prompts: tuple[Prompt, ...]) -> Patch:
        points = [prompt for prompt in prompts if isinstance(prompt, Point)]
        points += [Point(tuple(prompt.center_ras)) for prompt in prompts if isinstance(prompt, Box)]
        if not points:
            middle_ijk = (flip_axes(grid.shape_kji) - 1) / 2
            points = [Point(tuple(grid.to_ras(middle_ijk)))]
        return ball_patch(grid, points, RADIUS_MM)


def entry(name: str) -> registry.Entry:
    """Return how the stand-in of the model `name` is made."""
    real = registry._entry(registry._imported(_REAL[name]))

    def make(**options: Any) -> Balls | PerfectPredictor:
        if real.capabilities.dimensions != {2} or real.capabilities.takes_names:
            return Balls(real.capabilities)
        slices = PerfectPredictor()
        slices.capabilities = real.capabilities
        return slices

    make.__signature__ = inspect.signature(real.make)
    return registry.Entry(real.capabilities, make)


def __getattr__(name: str) -> registry.Entry:
    if name not in _REAL:
        raise AttributeError(name)
    return entry(name)


def put_in_place(monkeypatch) -> None:
    """Let `create_predictor` make stand-ins of all models but those that work here."""
    for name in set(_REAL) - set(WORK_HERE):
        monkeypatch.setitem(registry.BUILT_IN, name, f"page_models:{name}")
