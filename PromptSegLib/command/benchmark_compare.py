"""`promptseg benchmark compare`: whether a second benchmark went better than a first by more than chance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PromptSegLib.command.arguments import Parser, UsageError, names
from PromptSegLib.command.console import print_table

COMMAND = "benchmark compare"


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        COMMAND,
        help="whether one benchmark went better than another",
        description="Say case by case whether a second benchmark went better than a first by more than chance: of each "
        "model that both hold, or from one model to another.",
    )
    parser.add_argument("first", type=Path, metavar="A.json", help="results of promptseg benchmark --json")
    parser.add_argument("second", type=Path, metavar="B.json", help="those to compare with them")
    parser.add_argument("--models", type=names, metavar="A,B", help="one model of the first, and one of the second")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    return compare_files(arguments.first, arguments.second, arguments.models)


def compare_files(first: Path, second: Path, models: Sequence[str] | None) -> int:
    """Print the differences of each model that both files hold, or from the first of two `models` to the second."""
    from PromptSegLib.evaluation.columns import challenge_columns, dice_columns, effort_columns
    from PromptSegLib.evaluation.compare import compare
    from PromptSegLib.evaluation.results import Results, ResultsError, by_dimensions

    if models is not None and len(models) != 2:
        raise UsageError(f"expected two models to compare, the first in {first}, the second in {second}")
    before, after = Results.read(first), Results.read(second)
    clicks = min(int(results.settings["clicks"]) for results in (before, after))
    columns = [*dice_columns(clicks), *effort_columns(clicks), *challenge_columns()]
    common = [(model, model) for model in before.models() if model in after.models()]
    pairs = [(models[0], models[1])] if models else common
    if not pairs:
        raise ResultsError(f"expected a model that is in both {first} and {second}, got none; see --models")
    lines = []
    for pair in pairs:
        name = pair[0] if pair[0] == pair[1] else f"{pair[0]} to {pair[1]}"
        for found in compare(before, after, pair, columns, by_dimensions):
            change = f"{found.change.value:+.3f} [{found.change.low:+.3f}, {found.change.high:+.3f}]"
            means = (f"{found.before:.3f}", f"{found.after:.3f}", change)
            lines.append((found.group, name, found.column.title, *means, str(found.change.count), found.verdict))
    print_table(("", "MODEL", "FIGURE", "BEFORE", "AFTER", "CHANGE", "CASES", "VERDICT"), lines)
    if before.settings.get("has_view") != after.settings.get("has_view"):
        print("note: only one of both was told the field of view")
    return 0
