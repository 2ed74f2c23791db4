"""How a benchmark's simulated user prompts: the protocols of this field, under names.

Each is deterministic: the same case, seed and answers give the same prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.evaluation.boxes import box_with_margin
from PromptSegLib.evaluation.cases import LoadedCase
from PromptSegLib.evaluation.clicks import next_click
from PromptSegLib.prompts import Prompt

Turn = Callable[[LoadedCase, int, BoolArray, int], Sequence[Prompt]]
"""The prompts of a turn, from the case, the turn (0 first), the mask so far and the repetition; none when content."""

BOX_MARGIN = 0.05


@dataclass(frozen=True)
class Protocol:
    """A simulated user.

    name: what options and results call it. summary: what the user does, and who does so. turns: how many answers are
    looked at; 0 for as many as there shall be clicks. repetitions: how often each case is done, each time another way;
    0 for as many times as there are people who scribbled on it.
    """

    name: str
    summary: str
    turn: Turn
    turns: int = 0
    repetitions: int = 1

    def turns_of(self, clicks: int) -> int:
        return self.turns or clicks

    def repetitions_of(self, case: LoadedCase) -> int:
        return self.repetitions or len(case.scribbles)


def _center_click(case: LoadedCase, turn: int, mask_kji: BoolArray, seed: int) -> Sequence[Prompt]:
    click = next_click(mask_kji, case.truth_kji, case.volume.grid)
    return () if click is None else (click,)


def _box(case: LoadedCase, turn: int, mask_kji: BoolArray, seed: int) -> Sequence[Prompt]:
    return (box_with_margin(case.truth_kji, case.volume.grid, BOX_MARGIN),)


def _human_scribbles(case: LoadedCase, turn: int, mask_kji: BoolArray, seed: int) -> Sequence[Prompt]:
    return case.scribbles[seed]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "clicks",
            "each click in the middle of the largest connected error, as in the CVPR 2025 challenge",
            _center_click,
        ),
        Protocol("box", "a box 5 % larger than the structure at each end", _box, turns=1),
        Protocol("human", "scribbles that people drew, on the structure and beside it", _human_scribbles, 1, 0),
    )
}
"""All protocols, by name."""
