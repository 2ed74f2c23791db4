"""A predictor at work on one image: encodes it at the first question, then answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.predictors.base import Prediction, Predictor, TargetState
from PromptSegLib.volume import Image


class Engine:
    """Holds the encoding of `image` by `predictor`. Used by one thread at a time: the executor's."""

    def __init__(self, predictor: Predictor, image: Image) -> None:
        self.predictor = predictor
        self.image = image
        self._encoding: Any = None
        self._is_encoded = False

    def drop_encoding(self) -> None:
        """Forget the encoding, because the image changed: the next question encodes anew."""
        self._encoding, self._is_encoded = None, False

    def predict(self, state: TargetState, cancel: CancelToken, progress: Progress) -> Iterator[Prediction]:
        """Answer `state`, see `Predictor.predict`; an encoding that had to be made is in the timings."""
        encode_ms = 0.0
        if not self._is_encoded:
            started = time.perf_counter()
            encoding = self.predictor.encode(self.image, cancel, progress)
            self._encoding, self._is_encoded = encoding, True
            encode_ms = 1000 * (time.perf_counter() - started)
        for prediction in self.predictor.predict(self._encoding, state, cancel, progress):
            cancel.check()
            yield dataclasses.replace(prediction, timings_ms={"encode": encode_ms, **prediction.timings_ms})
            encode_ms = 0.0
