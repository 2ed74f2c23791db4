"""`promptseg compare`: how far two readers agree, in one image or in a list."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from PromptSegLib.command.arguments import Parser, UsageError
from PromptSegLib.command.console import print_json, print_table, warn
from PromptSegLib.evaluation.statistics import mean_with_interval
from PromptSegLib.io.one_line import one_line
from PromptSegLib.io.output_file import replacing
from PromptSegLib.measurement.agreement import Agreement, Readings, agreement, agreements_as_csv, compared_readings
from PromptSegLib.worklist.worklist import Worklist

_HEAD = ("case", "readers", "segment", "Dice", "surface mm", "HD95 mm", "only first mL", "only second mL")
_ROWS_FAILED = 3

_Row = tuple[str, str, str, Agreement]
"""Case, first and second reader, and how far they agree in a segment."""


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("compare", help="compare two segmentations, or the readings of a list")
    parser.add_argument("first", type=Path, metavar="FIRST", help="segmentation; or CSV list, or folder, of cases")
    parser.add_argument("second", nargs="?", type=Path, metavar="SECOND", help="segmentation, where FIRST is one")
    parser.add_argument("--readers", nargs=2, default=(), metavar="NAME", help="of a list: the two to compare")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.csv", help="write the table as CSV")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    failed: list[Readings] = []
    if arguments.second is not None:
        if arguments.readers:
            raise UsageError("expected --readers with a list, got it with two segmentations")
        found = agreement(arguments.first, arguments.second)
        rows = [(arguments.first.name, "first", "second", one) for one in found]
    elif arguments.first.is_dir() or arguments.first.suffix.lower() == ".csv":
        readings = compared_readings(Worklist.open(arguments.first), arguments.readers)
        if not readings:
            raise UsageError(f"expected two readings of an image with segmentations in {arguments.first}, got none")
        failed = [one for one in readings if one.problem]
        rows = [
            (one.first.name, one.first.reader, one.second.reader, segment)
            for one in readings
            for segment in one.segments
        ]
    else:
        raise UsageError(f"expected a second segmentation, or a CSV list, got {arguments.first} alone")
    for one in failed:
        warn(f"{one.first.name}: {one.problem}")
    if arguments.output is not None:
        with replacing(arguments.output) as file:
            file.write(agreements_as_csv(rows).encode())
    if arguments.json:
        print_json({"segments": [_as_json(row) for row in rows], "dice": _means(rows), "failed": len(failed)})
    else:
        _print(rows)
    return _ROWS_FAILED if failed else 0


def _as_json(row: _Row) -> dict[str, object]:
    case, first, second, one = row
    return {"case": case, "first": first, "second": second, **asdict(one)}


def _means(rows: list[_Row]) -> dict[str, dict[str, float | int]]:
    """Return the mean Dice of each segment, and of all."""
    names = dict.fromkeys(one.segment for *_, one in rows)
    by_name = {name: [one.dice for *_, one in rows if one.segment == name] for name in names}
    found = {name: mean_with_interval(values).as_json() for name, values in by_name.items()}
    return found | ({"all": mean_with_interval([one.dice for *_, one in rows]).as_json()} if rows else {})


def _print(rows: list[_Row]) -> None:
    cells = []
    for case, first, second, one in rows:
        distances = ["–" if mm is None else f"{mm:.1f}" for mm in (one.distance_mm, one.farthest_mm)]  # noqa: RUF001
        volumes = [f"{ml:.2f}" for ml in (one.only_first_ml, one.only_second_ml)]
        readers = f"{first or '?'}, {second or '?'}"
        cells.append([case, readers, one_line(one.segment), f"{one.dice:.3f}", *distances, *volumes])
    print_table(_HEAD, cells)
    for name, mean in _means(rows).items():
        print(
            f"Dice of {name}: {mean['mean']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}], {mean['count']} comparisons"
        )
