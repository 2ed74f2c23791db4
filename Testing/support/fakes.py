"""Predictors and a mask store with a known answer, for tests of everything around them."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from PromptSegLib.bitmask import MaskDelta, Patch
from PromptSegLib.certainty import Certainty
from PromptSegLib.geometry import Extent, flip_axes
from PromptSegLib.predictors.base import PROMPT_FEATURES, Capabilities, Prediction
from PromptSegLib.predictors.names.named_places import part_at
from PromptSegLib.predictors.naming import class_named
from PromptSegLib.prompts import Point
from PromptSegLib.session.mask_store import MemoryMaskStore


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
        corrects=True,  # what it answers is laid over masks as it is
    )

    def __init__(self, radius_mm=5.0, gate: threading.Event | None = None, error: BaseException | None = None):
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
        yield from self.answers(encoding, state)

    def answers(self, image, state):
        patch = ball_patch(image.grid, state.prompts, self.radius_mm)
        yield Prediction({state.target: patch}, score=0.9, timings_ms={"balls": 1.0}, feedback=len(self.states))


class SureBallPredictor(BallPredictor):
    """Tells how sure it is: 1 at a positive point, a half where its ball ends, 0 twice as far; negative ones take."""

    def answers(self, image, state):
        (prediction,) = super().answers(image, state)
        extent = prediction.patches[state.target].extent.padded(2).intersection(image.grid.extent)
        certainty = Certainty.of(extent, sureness(image.grid, state.prompts, self.radius_mm)[extent.slices])
        yield replace(prediction, certainty=certainty)


class GrowingBallPredictor(BallPredictor):
    """Answers three times: with balls of a third, two thirds and all of the radius. Raises its error after two."""

    def predict(self, encoding, state, cancel, progress):
        for third in (1, 2, 3):
            if third == 3 and self.error is not None:
                raise self.error
            cancel.check()
            patch = ball_patch(encoding.grid, state.prompts, self.radius_mm * third / 3)
            yield Prediction({state.target: patch}, score=third / 3, feedback=third)


class BallAndShellPredictor(BallPredictor):
    """Answers for two targets: the balls, and the "shell", 2 mm thick, around them."""

    def answers(self, image, state):
        ball, around = (ball_patch(image.grid, state.prompts, self.radius_mm + rim) for rim in (0, 2.0))
        shell = around.mask_kji.copy()
        shell[ball.extent.slices_within(around.extent)] &= ~ball.mask_kji
        yield Prediction({state.target: ball, "shell": Patch(around.extent, shell)})


class HotInBodyPredictor(BallPredictor):
    """Answers any prompt with the voxels where the channel "pet" is above 50 and the channel "ct" above 0."""

    capabilities = Capabilities(
        "pet-ct", "PET/CT", "", frozenset({3}), frozenset({"point+"}), "MIT", channels=("ct", "pet")
    )

    def answers(self, image, state):
        hot = (image.channels["pet"].array > 50) & (image.channels["ct"].array > 0)
        yield Prediction({state.target: Patch(image.grid.extent, hot)})


class ValuePredictor(BallPredictor):
    """Knows structures by their value in the image: the liver is 1, the spleen 2, the left kidney 3.

    Answers for all targets asked in one run.
    """

    capabilities = Capabilities(
        name="values",
        title="Values",
        summary="structures by their value in the image",
        dimensions=frozenset({3}),
        prompts=frozenset({"class", "box3d+", "point+"}),
        classes=("liver", "spleen", "left kidney"),
        code_license="Apache-2.0",
    )

    def answers(self, image, state):
        for target, prompts in state.asked.items():
            value = 1 + self.capabilities.classes.index(class_named(self.capabilities, prompts[0].name))
            found = Patch(image.grid.extent, image.reference.array == value)
            yield Prediction({target: part_at(found, prompts[1:], image.grid)}, replaces=True)


class EditableMaskStore(MemoryMaskStore):
    """A store that somebody else edits too, as a segmentation in a scene. Names its targets itself."""

    def __init__(self, shape_kji):
        super().__init__(shape_kji)
        self._before = {}
        self._removed = []

    def add(self, name):
        return super().add(f"id-{name}")

    def edit(self, key, extent, mask_kji):
        """Set the voxels of `extent` as the user does, with a brush."""
        self._before.setdefault(key, self._masks[key].copy())
        self._masks[key].write(extent, mask_kji)

    def remove(self, key):
        del self._masks[key]
        self._before.pop(key, None)
        self._removed.append(key)

    def lost(self):
        lost, self._removed = tuple(self._removed), []
        return lost

    def foreign_edits(self):
        before, self._before = self._before, {}
        whole = Extent.of_shape(self._shape_kji)
        deltas = {key: MaskDelta.between(whole, mask.read(), self.read(key, whole)) for key, mask in before.items()}
        return {key: delta for key, delta in deltas.items() if delta is not None}


def ball_patch(grid, prompts, radius_mm):
    """Return the balls around the points of `prompts`, in the box around all of the points."""
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


def sureness(grid, prompts, radius_mm):
    """Return what `SureBallPredictor` says of all voxels, (k, j, i) float32."""
    centres = grid.to_ras(flip_axes(np.moveaxis(np.indices(grid.shape_kji), 0, -1)))
    sure = np.zeros(grid.shape_kji, dtype=np.float32)
    for prompt in prompts:
        far = np.clip(np.linalg.norm(centres - prompt.position_ras, axis=-1) / (2 * radius_mm), 0, 1)
        sure = np.maximum(sure, 1 - far) if prompt.positive else np.minimum(sure, far)
    return sure.astype(np.float32)
