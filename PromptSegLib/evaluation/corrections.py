"""What the protocol of corrections tells: whether a click makes a good mask better, and what else it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from PromptSegLib.evaluation.columns import Record
from PromptSegLib.evaluation.results import Results
from PromptSegLib.evaluation.statistics import Mean, mean_with_interval

PROTOCOLS = ("corrections", "stroke-corrections")
LOSS = 0.01
"""A prompt that costs more Dice than this has lost."""


@dataclass(frozen=True)
class Correction:
    """What prompts of one turn, 1, 2 or 3, did to the masks of one group, with one model.

    start, dice: means over the trials before the first prompt and after this one. gain: what it added to the Dice, with
    its interval. losing: the share of those that lost. worst: the least gain. far_voxels: changed outside of the error
    that was prompted, the mean.
    """

    protocol: str
    group: str
    model: str
    turn: int
    start: float
    dice: float
    gain: Mean
    losing: float
    worst: float
    far_voxels: float


def by_shape(record: Record) -> str:
    return f"{record['dimensions']}D {record['shape']}"


def by_start(record: Record) -> str:
    return f"{record['dimensions']}D {record['start']}"


def by_all(record: Record) -> str:
    return f"{record['dimensions']}D"


def corrections(results: Results, group_of: Callable[[Record], str]) -> list[Correction]:
    """Return one for each protocol of corrections, group, model and turn; none where nothing was corrected.

    Trials count alike. Of one whose mask was right before the turn, nothing is counted.
    """
    found = []
    ours = [record for record in results.records if record["protocol"] in PROTOCOLS and record["status"] == "done"]
    for protocol in dict.fromkeys(record["protocol"] for record in ours):
        for group in sorted({group_of(record) for record in ours}):
            for model in results.models():
                records = [
                    record
                    for record in ours
                    if (record["protocol"], record["model"], group_of(record)) == (protocol, model, group)
                ]
                turns = max((len(record["steps"]) for record in records), default=0)
                found += [_correction(protocol, group, model, turn, records) for turn in range(1, turns + 1)]
    return found


CORRECTIONS_HEAD = ["", "model", "prompts", "start", "Dice", "gain", "losing", "worst", "elsewhere"]


def correction_lines(results: Results, group_of: Callable[[Record], str]) -> list[list[str]]:
    """Return the lines of a table under `CORRECTIONS_HEAD`."""
    return [
        [
            one.group,
            one.model,
            f"{one.turn} {'click' if one.protocol == PROTOCOLS[0] else 'stroke'}{'s'[: one.turn > 1]}",
            f"{one.start:.3f}",
            f"{one.dice:.3f}",
            f"{one.gain.value:+.3f} [{one.gain.low:+.3f}, {one.gain.high:+.3f}]",
            f"{one.losing:.1%}",
            f"{one.worst:+.3f}",
            f"{one.far_voxels:.0f}",
        ]
        for one in corrections(results, group_of)
    ]


def _correction(protocol: str, group: str, model: str, turn: int, records: Sequence[Record]) -> Correction:
    there = [record for record in records if len(record["steps"]) >= turn]
    after = [float(record["steps"][turn - 1]["dice"]) for record in there]
    before = [float(r["steps"][turn - 2]["dice"] if turn > 1 else r["start_dice"]) for r in there]
    gains = np.subtract(after, before)
    ends = [float(r["steps"][:turn][-1]["dice"] if r["steps"] else r["start_dice"]) for r in records]
    return Correction(
        protocol,
        group,
        model,
        turn,
        float(np.mean([record["start_dice"] for record in records])),
        float(np.mean(ends)),
        mean_with_interval(gains.tolist()),
        float((gains < -LOSS).mean()),
        float(gains.min()),
        float(np.mean([record["steps"][turn - 1]["far_voxels"] for record in there])),
    )
