"""A network of windows with a known answer."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PromptSegLib.predictors.sam_med3d.model import SamMed3DModel
from PromptSegLib.predictors.sam_med3d.predictor import SamMed3D

BRIGHT = 100


class BrightModel:
    """Answers with what is bright and hangs together with a positive click within the window, less with a negative one.

    size: of the window, in voxels of 1.5 mm. Notes what it was asked.
    """

    coarse = 4
    note = ""
    device = "cpu"

    def __init__(self, size=32):
        self.size = size
        self.windows = []
        self.asked = []

    def embed(self, window_xyz, cancel):
        cancel.check()
        self.windows.append(window_xyz)
        return window_xyz

    def answer(self, embedding, points_xyz, labels, logits_xyz):
        self.asked.append((np.array(points_xyz), list(labels), logits_xyz))
        n = self.size // self.coarse
        filled = (embedding > BRIGHT / 2).reshape(n, self.coarse, n, self.coarse, n, self.coarse).mean(axis=(1, 3, 5))
        parts, _ = ndimage.label(filled >= 0.5)
        index = np.floor((np.asarray(points_xyz) + 0.5) / self.coarse).astype(int)
        hit = [parts[tuple(at)] for at in index]
        wanted = {part for part, label in zip(hit, labels, strict=True) if label} - {0}
        wanted -= {part for part, label in zip(hit, labels, strict=True) if not label}
        inside = np.isin(parts, list(wanted))
        near = ndimage.binary_dilation(inside)
        return np.where(near, 20 * filled - 10, -10).astype(np.float32), 0.75

    def fine_probabilities(self, logits_xyz):
        return SamMed3DModel.fine_probabilities(self, logits_xyz)


class BrightPredictor(SamMed3D):
    """SAM-Med3D's way through a volume, with a `BrightModel` for its network."""

    def __init__(self, size=32, most_grown=8):
        super().__init__(network=object(), most_grown=most_grown)
        self._model = BrightModel(size)

    @property
    def model(self):
        return self._model


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())
