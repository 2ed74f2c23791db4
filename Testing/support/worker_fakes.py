"""Predictors for tests of worker processes, made there by their names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import time

import numpy as np
from fakes import BallPredictor

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.base import PROMPT_FEATURES, Capabilities, Prediction
from PromptSegLib.prompts import Point, TextPrompt

OBEDIENT = "worker_fakes:ObedientPredictor"
LARGE_BALL = "worker_fakes:LargeBallPredictor"
MOVABLE = "worker_fakes:MovablePredictor"
KEYED = "worker_fakes:KeyedPredictor"


class LargeBallPredictor(BallPredictor):
    """Answers with balls of 50 mm."""

    def __init__(self):
        super().__init__(radius_mm=25.0)


class MovablePredictor(BallPredictor):
    """Says that it runs wherever it was told to."""

    capabilities = dataclasses.replace(BallPredictor.capabilities, name="movable", devices=("cuda", "cpu"))

    def __init__(self, device="auto"):
        super().__init__()
        self.device = device

    def answers(self, image, state):
        yield from (dataclasses.replace(answer, device=self.device) for answer in super().answers(image, state))


class KeyedPredictor(BallPredictor):
    """Tells by which key it was made, as a digest."""

    capabilities = dataclasses.replace(BallPredictor.capabilities, name="keyed")

    def __init__(self, api_key=None, radius_mm=3.0):
        super().__init__(radius_mm=radius_mm)
        self.api_key = api_key

    def answers(self, image, state):
        note = f"key {hashlib.sha256(self.api_key.encode()).hexdigest()}"
        yield from (dataclasses.replace(answer, note=note) for answer in super().answers(image, state))


class ObedientPredictor(BallPredictor):
    """Answers as `BallPredictor`; its note tells, as JSON, what it was asked and what it saw.

    Texts: "raise", "weights", "exit", "kill", "crash", "sleep" (until cancelled), "deaf" (cancelling is not heard),
    "print" (to standard output), "encode" (sleeps while encoding),
    "flood" (prints 100 MB to standard error, then exits).
    """

    capabilities = Capabilities(
        name="obedient",
        title="Obedient",
        summary="does what it is told",
        dimensions=frozenset({2, 3}),
        prompts=frozenset(PROMPT_FEATURES),
        code_license="Apache-2.0",
    )

    def predict(self, encoding, state, cancel, progress):
        self.states.append(state)
        progress(0.5, "balls")
        newest = state.prompts[-1]
        if isinstance(newest, TextPrompt):
            self.obey(newest.text, cancel)
        yield from self.answers(encoding, state)

    def obey(self, text, cancel):
        if text == "raise":
            raise ValueError("no such layer: größer")
        if text == "weights":
            raise WeightsError("expected weights, got none")
        if text == "exit":
            os._exit(3)
        if text == "flood":
            for _ in range(100):
                os.write(2, b"a line of what went wrong\n" * 40_000)
            os.write(2, b"the end\n")
            os._exit(3)
        if text == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "crash":
            os.abort()
        if text == "print":
            os.write(1, b"not a message\n")
            print("nor is this")
        while text == "sleep":
            cancel.check()
            time.sleep(0.01)
        while text == "deaf":
            time.sleep(0.01)

    def answers(self, image, state):
        seen = {
            "pid": os.getpid(),
            "encoded": self.encoded,
            "prompts": [prompt.kind + prompt.sign for prompt in state.prompts],
            "mask": None if state.mask is None else [state.mask.count(), state.mask.bounds().start_kji],
            "feedback": None if state.feedback is None else state.feedback.tolist(),
            "window": None if state.window is None else [state.window.low, state.window.high],
            "view": None if state.view is None else state.view.size_mm,
            "target": state.target,
        }
        points = [prompt for prompt in state.prompts if isinstance(prompt, Point)]
        if points:
            index = tuple(image.grid.nearest_kji(points[-1].position_ras))
            seen["voxels"] = {name: volume.array[index].tolist() for name, volume in image.channels.items()}
        patches = next(super().answers(image, state)).patches if points else {}
        yield Prediction(
            patches,
            0.5,
            {"balls": 1.5},
            json.dumps(seen),
            feedback=np.array([len(state.prompts), len(self.states)]),
        )
