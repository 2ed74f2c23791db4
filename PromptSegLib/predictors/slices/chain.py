"""A structure followed from slice to slice: what to expect on the next one, and when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import FloatArray
from PromptSegLib.predictors.slices.between_slices import between, centre_yx, moved
from PromptSegLib.predictors.slices.model import ObjectAnswer

# A mask of a lower predicted IoU is expected to be more wrong than right.
LEAST_SCORE = 0.5

# The part that mask and expectation must share of the smaller of both: with less it is another structure.
LEAST_OVERLAP = 0.2

# How much brighter or darker a structure may be from one slice to the next, in parts of black to white, and in
# standard deviations of its own: more is the structure that lies behind it.
MOST_CHANGE, MOST_DEVIATIONS = 0.25, 3.0

# A structure that has narrowed to this part of its largest radius and widens again is the next one, touching it.
NECK = 0.35


@dataclass(frozen=True, eq=False)
class SliceLook:
    """How bright a structure is on a slice: mean and standard deviation of each component, 0 to 1."""

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, image: NDArray[Any], mask: BoolArray) -> SliceLook:
        """Return how what is set in `mask` : (h, w) looks in `image` : (h, w), 0 to 1, or (h, w, 3), uint8."""
        inside = image[mask] / (255.0 if image.dtype == np.uint8 else 1.0)
        return cls(inside.mean(axis=0), inside.std(axis=0)) if len(inside) else cls(np.zeros(1), np.zeros(1))

    def differs(self, other: SliceLook) -> bool:
        """Tell whether `other`, on the next slice, must be another structure."""
        change = np.abs(other.mean - self.mean)
        return bool((change > np.maximum(MOST_CHANGE, MOST_DEVIATIONS * self.deviation)).any())


@dataclass(frozen=True, eq=False)
class Anchor:
    """A slice whose mask is given.

    layer: where it is in the stack. mask: (h, w). look: of what is set. is_new: nothing was carried from it yet.
    """

    layer: int
    mask: BoolArray
    look: SliceLook
    is_new: bool


class Chain:
    """A run of slices from an anchor, by steps of 1 or -1, up to but not including the layer `stop`.

    far: the anchor that it is led to, if any. layer_px: how thick a layer is, in pixels.
    last: the layer that it has reached. why: it ended there; "" while it goes on.
    """

    def __init__(self, start: Anchor, step: int, stop: int, layer_px: float, far: Anchor | None = None) -> None:
        self.start = start
        self.step = step
        self.stop = stop
        self.far = far
        self.last = start.layer
        self.why = "" if start.mask.any() else "there is nothing on its first slice"
        self._layer_px = layer_px
        self._mask, self._look = start.mask, start.look
        self._mask_before: BoolArray | None = None
        self._largest_px = radius_px(start.mask)

    @property
    def next(self) -> int | None:
        """The layer to go on with, None at the end."""
        layer = self.last + self.step
        return None if self.why or layer * self.step >= self.stop * self.step else layer

    def expectations(self) -> list[BoolArray]:
        """Return what the next slice may look like, the likeliest first: (h, w) each, none of them empty."""
        guesses = [self._mask]
        if self.far is not None and self.far.mask.any():
            guesses.insert(0, between(self._mask, self.far.mask, 1 / abs(self.far.layer - self.last)))
        elif self._mask_before is not None:
            guesses.insert(0, moved(self._mask, centre_yx(self._mask) - centre_yx(self._mask_before)))
        return [guess for guess in guesses if guess.any()]

    def take(
        self, layer: int, answers: Sequence[ObjectAnswer], expected: BoolArray, image: NDArray[Any]
    ) -> BoolArray | None:
        """Go on to `layer` and return its mask, all of `answers` that belong to the structure.

        Returns None when it has ended before; `why` then says why. expected: what was asked for. image: what the
        network sees of the slice: (h, w), 0 to 1, or (h, w, 3), uint8.
        """
        kept = []
        for answer in answers:
            self.why = self._fault(answer, expected)
            if not self.why:
                kept.append(answer.mask)
        if not kept:
            return None
        mask: BoolArray = np.logical_or.reduce(kept)
        look = SliceLook.of(image, mask)
        self.why = self._change(mask, look)
        if self.why:
            return None
        self.last = layer
        self._mask_before, self._mask, self._look = self._mask, mask, look
        self._largest_px = max(self._largest_px, radius_px(mask))
        return mask

    def _fault(self, answer: ObjectAnswer, expected: BoolArray) -> str:
        if not answer.mask.any():
            return "nothing is found beyond"
        if answer.score is not None and answer.score < LEAST_SCORE:
            return f"the expected quality beyond is {answer.score:.2f}"
        shared = (answer.mask & expected).sum() / min(answer.mask.sum(), expected.sum())
        return "what is found beyond lies elsewhere" if shared < LEAST_OVERLAP else ""

    def _change(self, mask: BoolArray, look: SliceLook) -> str:
        before, now = radius_px(self._mask), radius_px(mask)
        # A surface at 60 degrees to the slices moves by 1.7 layers from one to the next.
        rim = 2 * self._layer_px + 2
        if now > 1.5 * before + rim or before > 1.5 * now + rim:
            return f"the area beyond would jump from {self._mask.sum()} to {mask.sum()} pixels"
        if self.far is not None:
            return ""
        if before < NECK * self._largest_px and now > 1.25 * before + 1:
            return "it narrows to a neck and widens again beyond"
        return "what is found beyond is much brighter or darker" if self._look.differs(look) else ""


def radius_px(mask: BoolArray) -> float:
    """Return the radius in pixels of the disk that is as large as what is set in `mask`."""
    return float(np.sqrt(mask.sum() / np.pi))
