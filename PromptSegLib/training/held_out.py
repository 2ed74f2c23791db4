"""How good a network is on synthetic images that no training run sees: for choosing between checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from PromptSegLib.predictors.default.prompt_unet import PromptUNet
from PromptSegLib.training import prompt_simulation as simulated
from PromptSegLib.training.draws import Draws
from PromptSegLib.training.pool import Pool
from PromptSegLib.training.targets import TARGETS
from PromptSegLib.training.views import Views, bounds, sample, turned

SEED = 2**40 + 7
"""Of the held-out stream; training seeds are small."""

CLICKS = (1, 3, 5, 10)

_SHOWN = 2.4
"""A view is this many times as wide as its target."""


class HeldOut:
    """`count` views of held-out images with one target each, the same ones for every network.

    Dice after 1, 3, 5 and 10 clicks (the first in the target's middle, each later one in the middle of the largest
    error), of a box, of strokes. Views do not move, and nothing is done after the network: these figures are not
    those of the predictor.
    """

    def __init__(self, folder: Path, dims: int, *, count: int, size: int, device: torch.device | str = "cpu") -> None:
        pool = Pool(folder, dims, SEED, 16, device)
        pool.prepare(-(-count // 16))
        draws = Draws(SEED, dims, device=device)
        chunk = pool.take(torch.arange(count))
        bits = torch.arange(count, device=draws.device) % TARGETS
        targets = ((chunk.targets >> bits.view(-1, *[1] * dims)) & 1)[:, None].float()
        low, high = bounds(targets)
        views = Views((low + high) / 2, ((high - low) / 2).amax(1) * _SHOWN, turned(draws, count, dims))
        views = Views(views.center, views.half.clamp(0.1, 1.15), views.rotation)
        self.image = sample(chunk.images[:, None].float() / 255, views, size, border=True)
        self.truth = (sample(targets, views, size, border=False) > 0.5).float()
        self.box = simulated.box(draws, self.truth)
        self.positive = simulated.strokes(draws, self.truth)
        self.negative = simulated.strokes(draws, simulated.beside(draws, self.truth))

    @torch.inference_mode()
    def evaluate(self, network: PromptUNet, batch: int = 8) -> dict[str, float]:
        """Mean Dice by kind of prompts: "click 1" … "click 10", "box", "strokes"."""
        return {kind: float(dice.mean()) for kind, dice in self.dice(network, batch).items()}

    @torch.inference_mode()
    def dice(self, network: PromptUNet, batch: int = 8) -> dict[str, Tensor]:
        """Dice (count,) of each view, by kind of prompts as in `evaluate`."""
        was_training = network.training
        network.eval()
        parts = [self._evaluate(network, slice(start, start + batch)) for start in range(0, len(self.image), batch)]
        network.train(was_training)
        return {kind: torch.cat([part[kind] for part in parts]) for kind in parts[0]}

    def _evaluate(self, network: PromptUNet, which: slice) -> dict[str, Tensor]:
        image, truth = self.image[which], self.truth[which]
        none = torch.zeros_like(image)
        marks = [none.clone(), none.clone()]
        previous, found = none, {}
        for number in range(1, CLICKS[-1] + 1):
            _click_into((previous > 0.5).float(), truth, marks)
            previous = torch.sigmoid(network.logits(image, marks[0], marks[1], none, previous))
            if number in CLICKS:
                found[f"click {number}"] = _dice(previous, truth)
        found["box"] = _dice(network.logits(image, none, none, self.box[which], none).sigmoid(), truth)
        strokes = network.logits(image, self.positive[which], self.negative[which], none, none)
        return found | {"strokes": _dice(strokes.sigmoid(), truth)}


def _click_into(mask: Tensor, truth: Tensor, marks: list[Tensor]) -> None:
    """Add to marks (positive, negative) a click in the middle of each sample's largest error, in place."""
    from scipy import ndimage

    wrong = (mask != truth)[:, 0].cpu().numpy()
    for sample_number, errors in enumerate(wrong):
        parts, count = ndimage.label(errors)
        if count == 0:
            continue
        largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
        deep = ndimage.distance_transform_edt(np.pad(largest, 1))[(slice(1, -1),) * errors.ndim]
        place = (sample_number, 0, *np.unravel_index(deep.argmax(), errors.shape))
        marks[0 if truth[place] > 0.5 else 1][place] = 1.0


def _dice(probability: Tensor, truth: Tensor) -> Tensor:
    """(B,) for (B, 1, *S)."""
    mask, axes = (probability > 0.5).float(), list(range(1, truth.dim()))
    return (2 * (mask * truth).sum(axes) + 1e-6) / (mask.sum(axes) + truth.sum(axes) + 1e-6)
