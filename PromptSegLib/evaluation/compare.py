"""Two benchmarks, case by case: whether one is better by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PromptSegLib.evaluation.columns import Column, Record
from PromptSegLib.evaluation.results import Results, ResultsError, values_by_case
from PromptSegLib.evaluation.statistics import Mean, mean_with_interval

# Of five cases, all change to one side by chance more often than one time in twenty, and no interval can tell.
_LEAST_CASES = 6


@dataclass(frozen=True)
class Difference:
    """Second minus first of one figure: over the cases that both have. before, after: their means there."""

    group: str
    column: Column
    before: float
    after: float
    change: Mean

    @property
    def verdict(self) -> str:
        """Return "better" or "worse" where the interval of the change leaves 0 out, else "same"; or "too few" cases."""
        if self.change.count < _LEAST_CASES:
            return "too few"
        if self.change.low <= 0 <= self.change.high:
            return "same"
        return "better" if (self.change.value > 0) == self.column.is_better_high else "worse"


def compare(
    first: Results,
    second: Results,
    models: tuple[str, str],
    columns: Sequence[Column],
    group_of: Callable[[Record], str],
) -> list[Difference]:
    """Return how model `models[1]` of `second` differs from `models[0]` of `first`, by group and column.

    The bootstrap is paired: what is drawn again and again are the differences of single cases, so that it does not
    matter that some cases are harder than others. Columns that one of both lacks are left out.

    Raises:
        ResultsError: both have no case in common, or there is no such model.
    """
    for results, model in zip((first, second), models, strict=True):
        if model not in results.models():
            raise ResultsError(f"expected one of the models {', '.join(results.models())}, got {model!r}")
    before, after = (
        [record for record in results.records if record["model"] == model]
        for results, model in zip((first, second), models, strict=True)
    )
    found = []
    for group in sorted({group_of(record) for record in after}):
        for column in columns:
            values, others = (
                values_by_case([record for record in records if group_of(record) == group], column)
                for records in (before, after)
            )
            if common := [case for case in values if case in others]:
                change = mean_with_interval([others[case] - values[case] for case in common])
                means = [sum(found[case] for case in common) / len(common) for found in (values, others)]
                found.append(Difference(group, column, means[0], means[1], change))
    if not found:
        raise ResultsError(f"expected cases that {models[0]!r} and {models[1]!r} have in common, got none")
    return found
