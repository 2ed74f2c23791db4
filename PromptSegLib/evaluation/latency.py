"""How long answers take, by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from PromptSegLib.evaluation.columns import Record
from PromptSegLib.evaluation.results import Results, by_dimensions

# What takes less is nothing that anybody waits for.
_LEAST_MS = 0.5


@dataclass(frozen=True)
class Latency:
    """Times of one model's answers, in slices or in volumes.

    stages_ms: the median of each stage, in the order in which they come; what is in none of them is "other". What is
    done once for an image, "encode", is not among them: encode_ms, None where nothing is. median_ms, percentile_95_ms:
    of all stages together. peak_mib: the most memory that a process took with the model, None where nothing tells.
    """

    model: str
    group: str
    stages_ms: dict[str, float]
    median_ms: float
    percentile_95_ms: float
    encode_ms: float | None
    peak_mib: float | None
    count: int

    @property
    def shares(self) -> dict[str, float]:
        """Which part of the time each stage takes; together 1."""
        whole = sum(self.stages_ms.values())
        return {stage: ms / whole for stage, ms in self.stages_ms.items()} if whole else {}


def latencies(results: Results) -> list[Latency]:
    """Return the times of the answers to clicks, of each model in 2D and in 3D; to all prompts where no click was."""
    found = []
    for group in sorted({by_dimensions(record) for record in results.records}):
        for model in results.models():
            ours = [r for r in results.records if r["model"] == model and by_dimensions(r) == group]
            clicked = [record for record in ours if record["protocol"] == "clicks" and record["steps"]]
            latency = _latency(model, group, clicked or ours)
            if latency is not None:
                found.append(latency)
    return found


def _latency(model: str, group: str, records: Sequence[Record]) -> Latency | None:
    steps = [step["ms"] for record in records for step in record["steps"] if step["ms"]]
    if not steps:
        return None
    times = [_by_stage(step) for step in steps]
    encodes = [step["encode"] for step in steps if step.get("encode", 0.0) >= _LEAST_MS]
    totals = [sum(one.values()) for one in times]
    stages = [stage for stage in dict.fromkeys(stage for one in times for stage in one) if stage != "other"]
    medians = {stage: float(np.median([one.get(stage, 0.0) for one in times])) for stage in (*stages, "other")}
    peaks = [record["peak_mib"] for record in records if record.get("peak_mib") is not None]
    return Latency(
        model,
        group,
        medians,
        float(np.median(totals)),
        float(np.percentile(totals, 95)),
        float(np.median(encodes)) if encodes else None,
        max(peaks) if peaks else None,
        len(times),
    )


def _by_stage(step_ms: dict[str, float]) -> dict[str, float]:
    """Return an answer's times, in ms, without what is done once for an image; what is in no stage as "other"."""
    stages = {stage: ms for stage, ms in step_ms.items() if stage not in ("encode", "total")}
    spent = sum(stages.values())
    whole = step_ms.get("total", spent) - step_ms.get("encode", 0.0)
    return {**stages, "other": max(0.0, whole - spent)}
