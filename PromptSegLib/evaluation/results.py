"""What a benchmark found: one record for each trial, kept as JSON, and tables made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PromptSegLib.errors import PromptSegError
from PromptSegLib.evaluation.columns import Column, Record
from PromptSegLib.evaluation.statistics import Mean, mean_with_interval

FORMAT = "promptseg-benchmark"
VERSION = 1


class ResultsError(PromptSegError, ValueError):
    """A file that holds no results of a benchmark, or results that cannot be compared."""


@dataclass(frozen=True, eq=False)
class Results:
    """settings: how the benchmark was run, and on what. records: see `PromptSegLib.evaluation.trial.run_trial`.

    A record also names its "model", "dataset", "case", "image", "structure" and "dimensions".
    """

    settings: dict[str, Any]
    records: list[Record]

    def write(self, path: Path) -> None:
        """Write them as JSON, a line for each record; whole or not at all."""
        head = json.dumps({"format": FORMAT, "version": VERSION, "settings": self.settings}, allow_nan=False)
        lines = ",\n".join(json.dumps(record, allow_nan=False) for record in self.records)
        beside = path.with_name(f"{path.name}.new")
        beside.write_text(f'{head[:-1]}, "records": [\n{lines}\n]}}\n', encoding="utf-8")
        os.replace(beside, path)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote.

        Raises:
            ResultsError: the files are no results, or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise ResultsError(f"expected results of promptseg benchmark, got {path}: {error}") from error
        if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
            raise ResultsError(f'expected "format": "{FORMAT}", "version": {VERSION} in {path}')
        return cls(content["settings"], content["records"])

    def models(self) -> list[str]:
        """Return the models in the order in which they were asked for."""
        return list(dict.fromkeys(record["model"] for record in self.records))


def values_by_case(records: Iterable[Record], column: Column) -> dict[str, float]:
    """Return the column's value for each case, the mean of its repetitions. Unsupported prompts have none."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record["protocol"] == column.protocol and record["status"] != "unsupported":
            value = column.value(record)
            if value is not None:
                found.setdefault(record["case"], []).append(value)
    return {case: sum(values) / len(values) for case, values in found.items()}


@dataclass(frozen=True)
class Row:
    """A line of a table: means in the order of the columns, None where a model does not take such prompts."""

    model: str
    group: str
    means: Sequence[Mean | None]


def table(results: Results, columns: Sequence[Column], group_of: Callable[[Record], str]) -> list[Row]:
    """Return a row for each group and model, groups in the order of their names."""
    rows = []
    for group in sorted({group_of(record) for record in results.records}):
        for model in results.models():
            records = [r for r in results.records if r["model"] == model and group_of(r) == group]
            values = [list(values_by_case(records, column).values()) for column in columns]
            if any(values):
                rows.append(Row(model, group, [mean_with_interval(found) if found else None for found in values]))
    return rows


def by_dimensions(record: Record) -> str:
    return f"{record['dimensions']}D"


def by_dataset(record: Record) -> str:
    return str(record["dataset"])


def by_structure(record: Record) -> str:
    return f"{record['dataset']}: {record['structure']}"
