"""The masks that a simulated user has to correct: bent truths, and what other models made of a first prompt."""

from __future__ import annotations

import zlib

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import PromptSegError
from PromptSegLib.evaluation.baselines import RIVALS
from PromptSegLib.evaluation.bending import BENDINGS, bent
from PromptSegLib.evaluation.boxes import box_with_margin
from PromptSegLib.evaluation.cases import LoadedCase
from PromptSegLib.evaluation.clicks import next_click
from PromptSegLib.evaluation.field_of_view import StructureView
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.prompts import Prompt
from PromptSegLib.session.session import Session

_BY_CLICK, _BY_BOX = ("classical", "growcut"), ("threshold",)
STARTS = (*BENDINGS, *(f"{model}'s" for model in (*_BY_CLICK, *_BY_BOX)))
"""Names: a way to bend the truth, or a model whose answer to one click, or to a box, is gone on from."""

# What is farther from the truth is drawn anew, and what is nearer is let alone.
_DICE = (0.3, 0.97)


def start_of(name: str, case: LoadedCase) -> BoolArray | None:
    """Return the mask that `name` of `STARTS` begins with: (k, j, i), bool; the same for all models.

    None where the structure has none: a ball is no broken ring, and a mask of a Dice below .3 is not worth correcting.
    """
    if name in BENDINGS:
        mask = bent(name, case.truth_kji, case.volume, zlib.crc32(case.case.key.encode()))
    else:
        mask = _answer_of(name.removesuffix("'s"), case)
    if mask is None or not _DICE[0] <= dice(mask, case.truth_kji) <= _DICE[1]:
        return None
    return mask


def _answer_of(model: str, case: LoadedCase) -> BoolArray | None:
    grid = case.volume.grid
    try:
        session = Session(case.volume, create_predictor(RIVALS.get(model, model)), window=case.case.window)
        prompt: Prompt | None = next_click(session.mask_kji, case.truth_kji, grid)
        if model in _BY_BOX:
            prompt = box_with_margin(case.truth_kji, grid, 0.05)
        assert prompt is not None
        session.add(prompt, StructureView(case.truth_kji, grid).of(prompt))
    except PromptSegError:  # such as one that is not installed
        return None
    return session.mask_kji
