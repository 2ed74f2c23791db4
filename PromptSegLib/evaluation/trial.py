"""One model, one structure, one simulated user: what a benchmark repeats."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import PredictionError, UnsupportedPromptError
from PromptSegLib.evaluation.cases import LoadedCase
from PromptSegLib.evaluation.clicks import middle_kji
from PromptSegLib.evaluation.field_of_view import StructureView
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.protocols import Protocol
from PromptSegLib.history import Answer
from PromptSegLib.prompt_files import prompt_to_record
from PromptSegLib.prompts import Prompt, VoxelScribble
from PromptSegLib.session import Session


@dataclass(frozen=True)
class Trial:
    """What is to be done: `repetition` counts from 0, and is the seed of all that is random."""

    protocol: Protocol
    repetition: int
    clicks: int
    has_view: bool


def run_trial(trial: Trial, case: LoadedCase, session: Session) -> dict[str, Any]:
    """Segment the case's structure, as a new target of `session`, and return a record that JSON can hold.

    status: "done"; "unsupported" when the model does not take such prompts; "failed" when it broke down, and the steps
    end there. steps: after each answer prompts, Dice, times and changed voxels; fewer than turns where the user was
    content. slice: the result on the slice through the structure's middle.
    """
    record: dict[str, Any] = {
        "protocol": trial.protocol.name,
        "repetition": trial.repetition,
        "turns": trial.protocol.turns_of(trial.clicks),
        "status": "done",
        "steps": [],
    }
    session.add_target(f"{case.case.structure} {trial.protocol.name} {trial.repetition}")
    view = StructureView(case.truth_kji, case.volume.grid) if trial.has_view else None
    mask = session.mask_kji
    for turn in range(record["turns"]):
        prompts = trial.protocol.turn(case, turn, mask, trial.repetition)
        if not prompts:
            break
        timings: dict[str, float] = {}
        changed = 0
        try:
            for prompt in prompts:
                before = session.prediction
                session.add(prompt, None if view is None else view.of(prompt))
                if session.prediction is not None and session.prediction is not before:
                    changed += _add_answer(session.prediction, timings)
        except UnsupportedPromptError as error:
            record |= {"status": "unsupported", "error": str(error)}
            break
        except PredictionError as error:
            record |= {"status": "failed", "error": " ".join(str(error).split())}
            break
        mask = session.mask_kji
        record["steps"].append(
            {
                "prompts": [_prompt_record(prompt) for prompt in prompts],
                "dice": round(dice(mask, case.truth_kji), 5),
                "ms": {stage: round(ms, 2) for stage, ms in timings.items()},
                "changed_voxels": changed,
            }
        )
    return record | {"slice": slice_record(mask, case)}


def slice_record(mask_kji: BoolArray, case: LoadedCase) -> dict[str, Any]:
    """Return the slice k through the middle of the structure: its pixels of the mask, packed and compressed."""
    k = int(middle_kji(case.truth_kji, case.volume.grid)[0])
    bits = np.packbits(mask_kji[k])
    return {"k": k, "bits_zlib_base64": base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode("ascii")}


def slice_from_record(record: dict[str, Any], shape_kji: tuple[int, int, int]) -> BoolArray:
    """Return the mask (j, i) that `slice_record` packed."""
    packed = np.frombuffer(zlib.decompress(base64.b64decode(record["bits_zlib_base64"])), dtype=np.uint8)
    j, i = shape_kji[1:]
    return np.unpackbits(packed, count=j * i).reshape(j, i).astype(bool)


def _add_answer(answer: Answer, timings: dict[str, float]) -> int:
    """Add the answer's times, by stage in ms, to `timings`; return how many voxels it changed."""
    for stage, ms in answer.timings_ms.items():
        timings[stage] = timings.get(stage, 0.0) + ms
    return answer.changed_voxels


def _prompt_record(prompt: Prompt) -> dict[str, Any]:
    """Return `prompt` as JSON; of a scribble made of voxels, which can be thousands, just their number and middle."""
    if isinstance(prompt, VoxelScribble):
        positions = prompt.positions_ras()
        middle = [round(v, 2) for v in positions.mean(axis=0).tolist()]
        return {"kind": "voxels", "count": len(positions), "middle_ras": middle, "positive": prompt.positive}
    return prompt_to_record(prompt)
