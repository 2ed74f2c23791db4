"""A predictor at work on one image: encodes it at the first question, then answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import PredictionError
from PromptSegLib.predictors.base import EncodesAhead, Prediction, Predictor, TargetState
from PromptSegLib.predictors.registry import Recipe, recipe_of
from PromptSegLib.volume import Image


class Engine:
    """Holds the encoding of `image` by `predictor`. Used by one thread at a time: the executor's.

    recipe: how such a predictor is made elsewhere; None for an object that was made otherwise.
    device: where it was asked to run.
    revision: counts how often the image changed.
    """

    def __init__(self, predictor: Predictor, image: Image, recipe: Recipe | None = None, device: str = "auto") -> None:
        self.predictor = predictor
        self.image = image
        self.recipe = recipe or recipe_of(predictor)
        self.device = self.recipe.device if self.recipe is not None else device
        self.revision = 0
        self._encoded: tuple[int, Any] | None = None

    def drop_encoding(self) -> None:
        """Forget the encoding, because the image changed: the next question encodes anew.

        May be called in any thread: an encoding that is being made meanwhile is not kept.
        """
        self.revision += 1
        self._encoded = None

    def predict(self, state: TargetState, cancel: CancelToken, progress: Progress) -> Iterator[Prediction]:
        """Answer `state`, see `Predictor.predict`; an encoding that had to be made is in the timings."""
        encode_ms = 0.0
        revision, encoded = self.revision, self._encoded
        if encoded is None or encoded[0] != revision:
            started = time.perf_counter()
            encoded = self._encoded = revision, self.predictor.encode(self.image, cancel, progress)
            encode_ms = 1000 * (time.perf_counter() - started)
        cancel.check()
        for prediction in self._answers(encoded[1], state, cancel, progress):
            cancel.check()
            self._check(prediction)
            timings_ms = {"encode": encode_ms, **prediction.timings_ms}
            yield dataclasses.replace(prediction, timings_ms=timings_ms, device=prediction.device or self._only_device)
            encode_ms = 0.0

    @property
    def _only_device(self) -> str:
        devices = self.predictor.capabilities.devices
        return devices[0] if len(devices) == 1 else ""

    def _answers(
        self, encoding: Any, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        if state.span is not None:
            from PromptSegLib.predictors.slices.propagation import propagate  # needs SciPy

            return propagate(self.predictor, encoding, state, cancel, progress)
        if state.mask is not None and state.mask_is_given:
            from PromptSegLib.predictors.locality import cut, is_to_be_cut  # needs SciPy

            if is_to_be_cut(self.predictor.capabilities, state):
                answers = self.predictor.predict(encoding, state, cancel, progress)
                return cut(answers, state, self.image.grid)
        if state.prompts or state.mask is not None or state.view is None:
            return self.predictor.predict(encoding, state, cancel, progress)
        if isinstance(self.predictor, EncodesAhead):
            self.predictor.encode_ahead(encoding, state.view, state.window, cancel, progress)
        return iter(())

    def _check(self, prediction: Prediction) -> None:
        whole = self.image.grid.extent
        for target, patch in prediction.patches.items():
            if not whole.contains(patch.extent):
                name = self.predictor.capabilities.name
                raise PredictionError(f"expected {name!r} to answer inside {whole}, got {patch.extent} for {target!r}")
