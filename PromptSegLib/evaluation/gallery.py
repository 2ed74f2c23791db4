"""The worst, the middle and the best case of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PromptSegLib.evaluation.cases import BenchmarkCase
from PromptSegLib.evaluation.columns import Record, dice_after
from PromptSegLib.evaluation.results import Results, by_dimensions

_PLACES = ("worst", "median", "best")


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A case that is shown: "worst", "median" or "best" of its model in 2D or 3D, by the Dice in the end."""

    model: str
    group: str
    place: str
    record: Record
    case: BenchmarkCase

    @property
    def dice(self) -> float:
        return dice_after(self.record, self.record["turns"])


def choose_exhibits(results: Results, cases: Sequence[BenchmarkCase]) -> list[Exhibit]:
    """Return the three of each model that answered clicks, or boxes where it takes none."""
    by_key = {case.key: case for case in cases}
    found = []
    for group in sorted({by_dimensions(record) for record in results.records}):
        for model in results.models():
            ours = [
                record
                for record in results.records
                if record["model"] == model and by_dimensions(record) == group and record["status"] != "unsupported"
            ]
            protocol = next((name for name in ("clicks", "box") if any(r["protocol"] == name for r in ours)), None)
            found += _three(model, group, [record for record in ours if record["protocol"] == protocol], by_key)
    return found


def _three(model: str, group: str, records: Sequence[Record], by_key: Mapping[str, BenchmarkCase]) -> list[Exhibit]:
    ranked = sorted(
        (record for record in records if record["case"] in by_key),
        key=lambda record: dice_after(record, record["turns"]),
    )
    if not ranked:
        return []
    places = (0, (len(ranked) - 1) // 2, len(ranked) - 1)
    return [
        Exhibit(model, group, name, ranked[place], by_key[ranked[place]["case"]])
        for name, place in zip(_PLACES, places, strict=True)
    ]
