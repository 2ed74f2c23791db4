"""The figures in a benchmark's tables, each made from the record of a trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from PromptSegLib.evaluation.protocols import CHALLENGE_CLICKS
from PromptSegLib.evaluation.trial import REPORTED_TURNS

Record = dict[str, Any]
"""What `PromptSegLib.evaluation.trial.run_trial` returns."""

GOALS = (0.80, 0.85, 0.90)
"""Dice of which it is told how many clicks lead there."""
# Below this Dice the CVPR 2025 challenge does not look at surfaces.
_CHALLENGE_LEAST_DICE = 0.2


@dataclass(frozen=True)
class Column:
    """A figure of a trial, such as the Dice after three clicks.

    protocol: which trials have it. value: takes it from a record; None where there is none. is_better_high: whether
    more is better.
    """

    title: str
    protocol: str
    value: Callable[[Record], float | None]
    is_better_high: bool = True


def step_after(record: Record, turn: int) -> Record | None:
    """Return what is known after `turn` answers: the last one where the user had stopped, None where there was none."""
    steps = record["steps"][:turn]
    return dict(steps[-1]) if steps else None


def dice_after(record: Record, turn: int) -> float:
    """Return the Dice after `turn` answers, see `step_after`; 0 where there was none."""
    step = step_after(record, turn)
    return float(step["dice"]) if step else 0.0


def clicks_to(record: Record, goal: float) -> int:
    """Return the number of clicks, NoC, to a Dice of `goal`; all that were allowed where they did not suffice."""
    reached = [number for number, step in enumerate(record["steps"], start=1) if step["dice"] >= goal]
    return reached[0] if reached else int(record["turns"])


def fails_to_reach(record: Record, goal: float) -> bool:
    """Tell whether all clicks that were allowed did not suffice for a Dice of `goal`."""
    return all(step["dice"] < goal for step in record["steps"])


def dice_columns(clicks: int) -> list[Column]:
    """Return the columns of the table of accuracy: the mean Dice by the kind and the number of prompts."""
    counts = sorted({count for count in REPORTED_TURNS if count < clicks} | {clicks})
    return [
        *(_dice(f"{count} click{'s'[: count > 1]}", "clicks", count) for count in counts),
        _dice(f"{clicks} random clicks", "random-clicks", clicks),
        _dice("box", "box", 1),
        _dice("random box", "random-box", 1),
        *(_dice(f"{count} scribble{'s'[: count > 1]}", "scribbles", count) for count in (1, 3)),
        _dice("human scribbles", "human", 1),
        _dice("name", "name", 1),
    ]


def effort_columns(clicks: int) -> list[Column]:
    """Return how many clicks lead to a good mask, which part of all cases do not get there, and how surfaces agree."""
    return [
        *(_clicks_to(goal) for goal in GOALS),
        *(_failures(goal) for goal in GOALS),
        Column("NSD 2 mm", "clicks", lambda record: _last(record, "nsd", clicks)),
        Column("HD95 mm", "clicks", lambda record: _last(record, "hd95_mm", clicks), is_better_high=False),
    ]


def challenge_columns() -> list[Column]:
    """Return what the CVPR 2025 challenge ranks by: areas under the curves over five clicks, 4 at most, and ends."""
    return [
        _challenge_area("DSC AUC", "dice"),
        _challenge_area("NSD AUC", "nsd"),
        _challenge_end("DSC final", "dice"),
        _challenge_end("NSD final", "nsd"),
    ]


def challenge_curve(record: Record, metric: str) -> list[float] | None:
    """Return "dice" or "nsd" after each of the five clicks; of a mask that is far off, the NSD counts as 0.

    None where surfaces were not compared.
    """
    curve = []
    for turn in range(2, 2 + CHALLENGE_CLICKS):
        step = step_after(record, turn)
        if step is not None and metric not in step:
            return None
        is_far_off = step is None or (metric == "nsd" and step["dice"] <= _CHALLENGE_LEAST_DICE)
        curve.append(0.0 if step is None or is_far_off else float(step[metric]))
    return curve


def _challenge_area(title: str, metric: str) -> Column:
    def area(record: Record) -> float | None:
        curve = challenge_curve(record, metric)
        return None if curve is None else float(np.trapezoid(curve))

    return Column(title, "box-clicks", area)


def _challenge_end(title: str, metric: str) -> Column:
    def end(record: Record) -> float | None:
        curve = challenge_curve(record, metric)
        return None if curve is None else curve[-1]

    return Column(title, "box-clicks", end)


def _clicks_to(goal: float) -> Column:
    return Column(f"clicks to {goal:.2f}", "clicks", lambda record: clicks_to(record, goal), is_better_high=False)


def _failures(goal: float) -> Column:
    return Column(f"below {goal:.2f}", "clicks", lambda record: fails_to_reach(record, goal), is_better_high=False)


def _dice(title: str, protocol: str, turn: int) -> Column:
    return Column(title, protocol, lambda record: dice_after(record, turn))


def _last(record: Record, metric: str, turns: int) -> float | None:
    step = step_after(record, turns)
    value = None if step is None else step.get(metric)
    return None if value is None else float(value)
