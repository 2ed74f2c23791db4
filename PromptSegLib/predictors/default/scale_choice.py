"""How large a structure is meant, when nobody said: the answer that the answers at other scales agree with most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from PromptSegLib.geometry import Float32Array
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.predictors.default.tuning import TUNED


@dataclass(frozen=True, eq=False)
class Look:
    """A network's answer in a region: logits on its working grid, (k, j, i), the structure where > 0."""

    roi: Roi
    logits: Float32Array

    @property
    def expected_dice(self) -> float:
        """The Dice of the mask with the truth that the network's probabilities expect, 0 to 1."""
        probability = 1 / (1 + np.exp(-np.clip(self.logits, -30, 30)))
        mask = self.logits > 0
        total = float(probability.sum() + mask.sum())
        return 2 * float(probability[mask].sum()) / total if total > 0 else 0.0

    def shifted(self, logits: Float32Array) -> Look:
        """Return this with `logits` : (k, j, i), added to its own."""
        return Look(self.roi, (self.logits + logits).astype(np.float32))

    def dice_with(self, other: Look) -> float:
        """Return the Dice of the masks of both, which are of the same image."""
        finer, coarser = sorted((self, other), key=lambda look: look.roi.step_kji)
        mine, its = finer.logits > 0, coarser.logits > 0
        common = (coarser.roi.carried(its.astype(np.float32), finer.roi) > 0.5) & mine
        total = mine.sum() * finer._voxel + its.sum() * coarser._voxel
        return float(2 * common.sum() * finer._voxel / total) if total > 0 else 0.0

    @property
    def _voxel(self) -> float:
        return float(np.prod(self.roi.step_kji))


def most_agreed(looks: Sequence[Look]) -> int:
    """Return the index of the one with the highest mean Dice with the others, each weighed by its certainty.

    That is the answer of the least expected loss, were each look's mask the truth with a probability of its certainty
    (minimum Bayes risk).
    """
    certainties = np.array([look.expected_dice for look in looks])
    dice = np.array([[a.dice_with(b) if a is not b else 0.0 for b in looks] for a in looks])
    others = np.maximum(certainties.sum() - certainties, 1e-6)
    return int(np.argmax(dice @ certainties / others + TUNED.own_weight * certainties))
