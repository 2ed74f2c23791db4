"""How a benchmark's simulated user prompts: the protocols of this field, under names.

Each is deterministic: the same case, repetition and answers give the same prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.evaluation.boxes import box_with_margin, jittered_box
from PromptSegLib.evaluation.cases import LoadedCase
from PromptSegLib.evaluation.clicks import challenge_click, middle_kji, next_click, random_click
from PromptSegLib.evaluation.correction_starts import STARTS, start_of
from PromptSegLib.evaluation.strokes import next_scribble
from PromptSegLib.prompts import ClassPrompt, Prompt

BOX_MARGIN = 0.05
CHALLENGE_CLICKS = 5


@dataclass(frozen=True)
class TrialSituation:
    """What the user sees before a turn: the case, the mask so far, which turn it is, and which repetition, from 0.

    is_carried: whether the model works on slices, and what it finds is carried through a volume.
    """

    case: LoadedCase
    mask_kji: BoolArray
    turn: int
    repetition: int
    is_carried: bool = False

    def to_be_boxed(self) -> BoolArray:
        """Return what a box is drawn around: the structure, or its middle slice where the model is carried."""
        truth = self.case.truth_kji
        if not self.is_carried:
            return truth
        k = middle_kji(truth, self.case.volume.grid)[0]
        on_slice = np.zeros_like(truth)
        on_slice[k] = truth[k]
        return on_slice


Move = Callable[[TrialSituation], Sequence[Prompt]]
"""The prompts of a turn, answered one by one; none when there is nothing to correct."""


@dataclass(frozen=True)
class Prompting:
    """A simulated user.

    name: what options and results call it. summary: what the user does, and where that comes from. turns: how many
    answers are looked at; 0 for as many as there shall be clicks. repetitions: how often each case is done, each time
    another way; 0 for as many times as there are people who scribbled on it. all_surfaces: whether surface metrics
    are wanted after each turn, and not only after those that tables name. starts: what masks the user begins with, a
    repetition each; without any, with nothing.
    """

    name: str
    summary: str
    move: Move
    turns: int = 0
    repetitions: int = 1
    all_surfaces: bool = False
    starts: tuple[str, ...] = ()

    def turns_of(self, clicks: int) -> int:
        return self.turns or clicks

    def repetitions_of(self, case: LoadedCase) -> int:
        return len(self.starts) or self.repetitions or len(case.scribbles)

    def start_of(self, case: LoadedCase, repetition: int) -> tuple[str, BoolArray | None]:
        """Return the name of the mask that a repetition begins with, and the mask, None when there is none such."""
        name = self.starts[repetition]
        return name, start_of(name, case)


def _or_none(prompt: Prompt | None) -> Sequence[Prompt]:
    return () if prompt is None else (prompt,)


def _center_click(now: TrialSituation) -> Sequence[Prompt]:
    return _or_none(next_click(now.mask_kji, now.case.truth_kji, now.case.volume.grid))


def _random_click(now: TrialSituation) -> Sequence[Prompt]:
    seed = 1000 * now.repetition + now.turn
    return _or_none(random_click(now.mask_kji, now.case.truth_kji, now.case.volume.grid, seed))


def _box(now: TrialSituation) -> Sequence[Prompt]:
    return (box_with_margin(now.to_be_boxed(), now.case.volume.grid, BOX_MARGIN),)


def _jittered_box(now: TrialSituation) -> Sequence[Prompt]:
    return (jittered_box(now.to_be_boxed(), now.case.volume.grid, now.repetition),)


def _box_then_clicks(now: TrialSituation) -> Sequence[Prompt]:
    grid = now.case.volume.grid
    if now.turn == 0:
        return (box_with_margin(now.to_be_boxed(), grid),)
    return _or_none(challenge_click(now.mask_kji, now.case.truth_kji, grid))


def _scribble(now: TrialSituation) -> Sequence[Prompt]:
    return _or_none(next_scribble(now.mask_kji, now.case.truth_kji, now.case.volume.grid))


def _human_scribbles(now: TrialSituation) -> Sequence[Prompt]:
    return now.case.scribbles[now.repetition]


def _name(now: TrialSituation) -> Sequence[Prompt]:
    return (ClassPrompt(now.case.case.structure),)


_ALL = (
    Prompting("clicks", "each click in the middle of the largest error", _center_click),
    Prompting(
        "random-clicks", "each click anywhere in the error, as SAM-Med2D is tested", _random_click, repetitions=3
    ),
    Prompting("box", "a box, 5 % of its side larger than the structure at each end", _box, turns=1),
    Prompting("random-box", "a box too large at random, as MedSAM is tested", _jittered_box, turns=1, repetitions=3),
    Prompting(
        "box-clicks",
        "a tight box, then five clicks in the middle of the largest error: the CVPR 2025 challenge",
        _box_then_clicks,
        turns=1 + CHALLENGE_CLICKS,
        all_surfaces=True,
    ),
    Prompting("name", "the structure's name, for models that find what they know by name", _name, turns=1),
    Prompting("scribbles", "three strokes, each along the middle of the largest error", _scribble, turns=3),
    Prompting("human", "scribbles that people drew, on the structure and beside it", _human_scribbles, 1, 0),
    Prompting(
        "corrections",
        "masks that came from elsewhere, bent or another model's, each corrected by three clicks in the middle of the "
        "largest error",
        _center_click,
        turns=3,
        starts=STARTS,
    ),
    Prompting(
        "stroke-corrections",
        "the same masks, each corrected by three strokes along the middle of the largest error",
        _scribble,
        turns=3,
        starts=STARTS,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
"""All protocols, by name."""
