"""`promptseg list`: the cases of a list as they are now; and what became of one, recorded."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

from PromptSegLib.command.arguments import Parser, UsageError
from PromptSegLib.command.console import print_json, print_table, warn
from PromptSegLib.io.one_line import one_line
from PromptSegLib.io.output_file import replacing
from PromptSegLib.worklist.case import CaseState, WorklistCase, by_unsureness
from PromptSegLib.worklist.reader import reader_by_login
from PromptSegLib.worklist.table import COLUMNS, Head, Table
from PromptSegLib.worklist.worklist import Worklist

_STATES = tuple(state.value for state in CaseState)
_EPILOG = """\
LIST is a CSV file with a column 'image', or a folder of images. What is recorded is a row at its end; the newest row
about a case holds, and no row is ever changed. -o writes one row a case, for other programs.
"""


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("list", help="show a list of cases, or record what became of one", epilog=_EPILOG)
    parser.add_argument("list", type=Path, metavar="LIST", help="CSV file of cases, or folder of images")
    parser.add_argument("--state", choices=_STATES, action="append", default=[], help="show these only; repeatable")
    parser.add_argument("--unsure-first", action="store_true", help="the most unsure first")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.csv", help="write the cases, a row each")
    parser.add_argument("--case", metavar="NAME", help="the case, or its image, that something is recorded of")
    parser.add_argument("--set", choices=_STATES, dest="to", metavar="STATE", help=f"its state: {', '.join(_STATES)}")
    parser.add_argument("--comment", help="what to remember of it")
    parser.add_argument("--reader", help="whose the case is (default: who is logged in)")
    parser.add_argument("--second-reading", action="store_true", help="add a reading of --case for --reader")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    worklist = Worklist.open(arguments.list, arguments.reader or reader_by_login())
    for problem in worklist.problems:
        warn(f"{worklist.path}, {problem}")
    if arguments.case is not None:
        _record(worklist, arguments)
    elif arguments.to or arguments.comment is not None or arguments.second_reading:
        raise UsageError("expected --case NAME with --set, --comment and --second-reading, got none")
    wanted = [case for case in worklist.cases if not arguments.state or case.state in arguments.state]
    cases = by_unsureness(wanted) if arguments.unsure_first else wanted
    if arguments.output is not None:
        if arguments.output.resolve() == worklist.path.resolve():
            raise UsageError(f"expected another file than the list, got -o {arguments.output}")
        with replacing(arguments.output) as file:
            file.write(_as_csv(cases, arguments.output.absolute().parent).encode())
    if arguments.json:
        print_json({"cases": [_as_json(case) for case in cases], **_counts(worklist)})
    else:
        _print(cases, worklist)
    return 0


def _record(worklist: Worklist, arguments: argparse.Namespace) -> None:
    named = [case for case in worklist.cases if arguments.case in (case.name, case.image.name, str(case.image))]
    mine = [case for case in named if case.reader in ("", worklist.reader)]
    if not named:
        raise UsageError(f"expected a case of {worklist.path}, got {arguments.case!r}")
    if arguments.second_reading:
        mine = [worklist.add_reading(named[0])]
    elif not mine or len({case.image for case in named}) > 1:
        whose = ", ".join(dict.fromkeys(f"{case.image} ({case.reader or 'nobody'})" for case in named))
        raise UsageError(f"expected a case of {worklist.reader}, got {whose}: name the image's path, or --reader")
    changes: dict[str, Any] = {}
    if arguments.to is not None:
        changes |= {"state": CaseState(arguments.to), "reader": worklist.reader}
    if arguments.comment is not None:
        changes["comment"] = arguments.comment
    if changes:
        worklist.record(mine[-1], **changes)


def _as_csv(cases: list[WorklistCase], folder: Path) -> str:
    others = dict.fromkeys(name for case in cases for name in case.extra)
    head, text = Head([*COLUMNS[:-1], *others, COLUMNS[-1]]), io.StringIO()
    table = Table(folder)
    csv.writer(text, lineterminator="\n").writerows([head.names, *(table.cells(case, head) for case in cases)])
    return text.getvalue()


def _as_json(case: WorklistCase) -> dict[str, Any]:
    fields = ("state", "reader", "comment", "seconds", "clicks", "model", "version", "unsure", "date")
    paths = {"image": str(case.image), "segmentation": str(case.segmentation)}
    return {"name": case.name, **paths, **{field: getattr(case, field) for field in fields}, "extra": dict(case.extra)}


def _counts(worklist: Worklist) -> dict[str, int]:
    return {state.value: count for state, count in worklist.counts.items()}


def _print(cases: list[WorklistCase], worklist: Worklist) -> None:
    head = ("case", "state", "reader", "unsure", "min", "clicks", "model", "comment")
    rows = []
    for case in cases:
        unsure = "" if case.unsure is None else f"{case.unsure:.2f}"
        spent = [f"{case.seconds / 60:.1f}" if case.seconds else "", str(case.clicks or "")]
        rows.append([case.name, case.state.value, case.reader, unsure, *spent, case.model, one_line(case.comment)])
    print_table(head, rows)
    print(", ".join(f"{count} {state}" for state, count in _counts(worklist).items() if count))
