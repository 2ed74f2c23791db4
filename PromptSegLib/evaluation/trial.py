"""One model, one structure, one simulated user: what a benchmark repeats."""

from __future__ import annotations

import base64
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import PromptSegError, UnsupportedPromptError
from PromptSegLib.evaluation.cases import LoadedCase
from PromptSegLib.evaluation.clicks import largest_error, middle_kji
from PromptSegLib.evaluation.field_of_view import StructureView
from PromptSegLib.evaluation.metrics import dice, hausdorff_95_mm, surface_dice
from PromptSegLib.evaluation.protocols import Prompting, TrialSituation
from PromptSegLib.evaluation.shapes import shape_of
from PromptSegLib.io.prompts import prompt_to_record
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.prompts import Prompt, VoxelScribble
from PromptSegLib.session.session import Session

REPORTED_TURNS = (1, 3, 5, 10, 20)
"""After how many prompts tables tell how good a mask is; beside them, after the last."""


@dataclass(frozen=True)
class Trial:
    """What is to be done.

    repetition: counts from 0, and is the seed of all that is random. clicks: how many, where the protocol leaves that
    open. has_view: whether the model is told the view. has_surfaces: whether surfaces are compared, which takes MONAI.
    """

    protocol: Prompting
    repetition: int
    clicks: int
    has_view: bool = True
    has_surfaces: bool = True

    def compares_surfaces_after(self, turn: int) -> bool:
        """Tell whether they are after `turn` answers."""
        is_reported = turn in REPORTED_TURNS or turn == self.protocol.turns_of(self.clicks)
        return self.has_surfaces and (is_reported or self.protocol.all_surfaces)


def run_trial(trial: Trial, case: LoadedCase, session: Session) -> dict[str, Any] | None:
    """Segment the case's structure, as a new target of `session`, and return a record that JSON can hold.

    status: "done"; "unsupported" when the model does not take such prompts; "failed" when it broke down, and the steps
    end there. steps: after each answer the prompts, how good the mask is, times by stage and changed voxels; fewer
    than turns where the user was content. slice: the result on the slice through the structure's middle.
    Of a protocol with starts: "start", its "start_dice" and the "shape" of the structure; with each step how many
    voxels changed outside of the error that was prompted, "far_voxels". None where the case has no such start.
    A model that works on slices is carried through a volume after each prompt.
    """
    record: dict[str, Any] = {
        "protocol": trial.protocol.name,
        "repetition": trial.repetition,
        "turns": trial.protocol.turns_of(trial.clicks),
        "status": "done",
        "steps": [],
    }
    start = None
    if trial.protocol.starts:
        name, start = trial.protocol.start_of(case, trial.repetition)
        if start is None:
            return None
        record |= {
            "start": name,
            "start_dice": round(dice(start, case.truth_kji), 5),
            "shape": shape_of(case.truth_kji, case.volume.grid),
        }
    session.add_target(f"{case.case.structure} {trial.protocol.name} {trial.repetition}")
    if start is not None:
        session.set_mask(start)
    view = StructureView(case.truth_kji, case.volume.grid) if trial.has_view else None
    is_carried = is_of_slices(session.capabilities) and not case.volume.grid.is_single_slice
    mask = session.mask_kji
    for turn in range(record["turns"]):
        prompts = trial.protocol.move(TrialSituation(case, mask, turn, trial.repetition, is_carried))
        if not prompts:
            break
        try:
            step = _answer(prompts, session, view, is_carried)
        except UnsupportedPromptError as error:
            record |= {"status": "unsupported", "error": str(error)}
            break
        except PromptSegError as error:
            record |= {"status": "failed", "error": " ".join(str(error).split())}
            break
        before, mask = mask, session.mask_kji
        if start is not None:
            step["far_voxels"] = _changed_elsewhere(before, mask, case)
        is_right = np.array_equal(mask, case.truth_kji)
        with_surfaces = trial.compares_surfaces_after(turn + 1) or (is_right and trial.has_surfaces)
        record["steps"].append({**step, **quality_of(mask, case, with_surfaces)})
    return record | {"slice": slice_record(mask, case)}


def _changed_elsewhere(before: BoolArray, after: BoolArray, case: LoadedCase) -> int:
    """Return how many voxels changed outside of the largest error of `before`."""
    error = largest_error(before, case.truth_kji, case.volume.grid)
    changed = before != after
    return int(np.count_nonzero(changed if error is None else changed & ~error.mask_kji))


def quality_of(mask_kji: BoolArray, case: LoadedCase, with_surfaces: bool = True) -> dict[str, float | None]:
    """Return "dice", and with surfaces "nsd" at 2 mm and "hd95_mm", None when that is infinite."""
    quality: dict[str, float | None] = {"dice": round(dice(mask_kji, case.truth_kji), 5)}
    if with_surfaces:
        spacing = case.volume.grid.spacing_kji_mm
        distance = hausdorff_95_mm(mask_kji, case.truth_kji, spacing)
        quality["nsd"] = round(surface_dice(mask_kji, case.truth_kji, spacing), 5)
        quality["hd95_mm"] = round(distance, 3) if math.isfinite(distance) else None
    return quality


def is_of_slices(capabilities: Capabilities) -> bool:
    """Tell whether a model works on slices alone."""
    return capabilities.dimensions == {2}


def _answer(
    prompts: Sequence[Prompt], session: Session, view: StructureView | None, is_carried: bool
) -> dict[str, Any]:
    """Give `prompts` one by one, and return what a record says of them and of the answers' costs."""
    timings: dict[str, float] = {}
    changed = 0
    for prompt in prompts:
        before = session.prediction
        is_placed = len(prompt.positions_ras()) > 0  # a name is not
        session.add(prompt, view.of(prompt) if view is not None and is_placed else None)
        answer = session.prediction
        if answer is not None and answer is not before:
            changed += answer.changed_voxels
            for stage, ms in answer.timings_ms.items():
                timings[stage] = timings.get(stage, 0.0) + ms
    if is_carried:
        before_kji, started = session.mask_kji, time.perf_counter()
        session.propagate()
        timings["propagation"] = 1000 * (time.perf_counter() - started)
        timings["total"] = timings.get("total", 0.0) + timings["propagation"]
        changed += int(np.count_nonzero(session.mask_kji != before_kji))
    return {
        "prompts": [_prompt_record(prompt) for prompt in prompts],
        "ms": {stage: round(ms, 2) for stage, ms in timings.items()},
        "changed_voxels": changed,
    }


def slice_record(mask_kji: BoolArray, case: LoadedCase) -> dict[str, Any]:
    """Return the slice k through the middle of the structure: its pixels of the mask, packed and compressed."""
    k = int(middle_kji(case.truth_kji, case.volume.grid)[0])
    bits = np.packbits(mask_kji[k])
    return {"k": k, "bits_zlib_base64": base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode("ascii")}


def slice_from_record(record: dict[str, Any], shape_kji: tuple[int, int, int]) -> BoolArray:
    """Return the mask (j, i) that `slice_record` packed."""
    j, i = shape_kji[1:]
    bits = zlib.decompressobj().decompress(base64.b64decode(record["bits_zlib_base64"]), -(-j * i // 8) + 1)
    packed = np.frombuffer(bits, dtype=np.uint8)
    return np.unpackbits(packed, count=j * i).reshape(j, i).astype(bool)


def _prompt_record(prompt: Prompt) -> dict[str, Any]:
    """Return `prompt` as JSON; of a scribble made of voxels, which can be thousands, just their number and middle."""
    if isinstance(prompt, VoxelScribble):
        positions = prompt.positions_ras()
        middle = [round(v, 2) for v in positions.mean(axis=0).tolist()]
        return {"kind": "voxels", "count": len(positions), "middle_ras": middle, "positive": prompt.positive}
    return prompt_to_record(prompt)
