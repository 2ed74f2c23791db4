"""Models for benchmarks whose figures are known beforehand, and the phantoms they are measured on."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from image_files import write_with_itk

from PromptSegLib.bitmask import Patch
from PromptSegLib.predictors.base import PROMPT_FEATURES, Capabilities, Prediction

LEVELS = {3: 100, 7: 160}
"""Label value: grey value of that structure in `write_phantoms`; everything else is 20."""


def write_phantoms(folder):
    """Write a volume and a slice, each with a large structure of value 3 and a small one of value 7, and no noise."""
    for name, shape_kji, spacing in (("volume", (12, 40, 48), (1.0, 1.5, 3.0)), ("picture", (1, 40, 48), None)):
        labels = np.zeros(shape_kji, dtype=np.uint8)
        k = slice(2, 9) if name == "volume" else slice(None)
        labels[k, 8:28, 10:26] = 3
        labels[k, 30:36, 30:42] = 7
        image = np.full(shape_kji, 20, dtype=np.int16)
        for value, level in LEVELS.items():
            image[labels == value] = level
        (folder / name).mkdir(parents=True)
        affine = np.eye(4) if spacing is None else np.diag([*spacing, 1.0])
        write_with_itk(folder / name / "image.nii.gz", image, affine)
        write_with_itk(folder / name / "labels.nii.gz", labels, affine)
    return folder


class Everything:
    """Answers with the whole image."""

    capabilities = Capabilities(
        name="everything",
        title="Everything",
        summary="the whole image",
        dimensions=frozenset({2, 3}),
        prompts=frozenset(PROMPT_FEATURES),
        code_license="Apache-2.0",
    )

    def encode(self, image, cancel, progress):
        return image

    def predict(self, encoding, state, cancel, progress):
        mask = self.answer(encoding.reference.array, state)
        yield Prediction({state.target: Patch(encoding.grid.extent, mask)}, timings_ms={"answer": 2.0})

    def answer(self, array, state):
        return np.ones(array.shape[:3], dtype=bool)


class Oracle(Everything):
    """Knows: answers with what has the grey value at the newest prompt's middle; only the positive ones count."""

    capabilities = Capabilities(
        name="oracle",
        title="Oracle",
        summary="what has the grey value at the first prompt",
        dimensions=frozenset({2, 3}),
        prompts=frozenset({"point+", "point-", "box2d+", "box3d+"}),
        code_license="Apache-2.0",
    )

    def predict(self, encoding, state, cancel, progress):
        self.grid = encoding.grid
        yield from super().predict(encoding, state, cancel, progress)

    def answer(self, array, state):
        index = self.grid.nearest_kji(state.prompts[0].positions_ras().mean(axis=0))
        return np.asarray(array == array[tuple(index)])


class Broken(Everything):
    """Fails at the third prompt."""

    def answer(self, array, state):
        if len(state.prompts) == 3:
            raise RuntimeError("out of luck")
        return np.zeros(array.shape, dtype=bool)


class Slow(Everything):
    """Takes its time."""

    def answer(self, array, state):
        time.sleep(0.5)
        return super().answer(array, state)


class NeedsPet(Everything):
    """Wants two channels."""

    capabilities = replace(Everything.capabilities, name="needs-pet", channels=("ct", "pet"))
