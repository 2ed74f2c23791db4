"""`promptseg propose`: what is to do in a list, filled with proposals of a model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from PromptSegLib.command import arguments as parsing
from PromptSegLib.command.case import CaseSettings
from PromptSegLib.command.cases import ROWS_FAILED
from PromptSegLib.command.console import ProgressBar, warn
from PromptSegLib.command.proposals import Pace, cases_to_propose, make_proposal, take_proposal
from PromptSegLib.command.segment import add_name_options, names_of, predictor_of
from PromptSegLib.errors import PromptError, PromptSegError
from PromptSegLib.predictors.base import Predictor
from PromptSegLib.worklist.case import CaseState, WorklistCase
from PromptSegLib.worklist.errors import CaseTakenError
from PromptSegLib.worklist.worklist import FREE, Worklist

_EPILOG = """\
Cases that somebody has begun, accepted or rejected, or that have a segmentation, are never touched. Without --classes,
--task or --text, each case is proposed from its prompts, a file in the column 'prompts'. What is done stays when the
command is stopped; it goes on from there.
"""


def add_parser(commands: argparse._SubParsersAction[parsing.Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("propose", help="fill a list of cases with proposals of a model", epilog=_EPILOG)
    parser.add_argument("list", type=Path, metavar="LIST", help="CSV file of cases, or folder of images")
    parsing.add_model_options(parser)
    parsing.add_server_options(parser)
    parsing.add_run_options(parser)
    add_name_options(parser)
    parser.add_argument("--again", action="store_true", help="make proposals anew that nobody has looked at")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each case")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    worklist = Worklist.open(arguments.list)
    for problem in worklist.problems:
        warn(f"{worklist.path}, {problem}")
    states = FREE | {CaseState.PROPOSED} if arguments.again else FREE
    cases = cases_to_propose(worklist, states)
    settings = CaseSettings(names=names_of(arguments))
    if cases and not settings.names and not any(case.prompts for case in cases):
        raise PromptError("expected a column 'prompts' in the list, or --classes, --task or --text, got neither")
    counts = dict.fromkeys(("proposed", "taken", "failed"), 0)
    if cases:
        predictor, pace = predictor_of(arguments), Pace()
        for number, case in enumerate(cases, start=1):
            report = _proposed(worklist, case, settings, predictor, states)
            counts[report["status"]] += 1
            pace.done()
            _tell(report, number, len(cases), pace, arguments.json)
    if not arguments.json:
        left = len(worklist.cases) - len(cases)
        print(f"{', '.join(f'{count} {status}' for status, count in counts.items())}, {left} left as they were")
    return ROWS_FAILED if counts["failed"] else 0


def _proposed(
    worklist: Worklist, case: WorklistCase, settings: CaseSettings, predictor: Predictor, states: frozenset[CaseState]
) -> dict[str, Any]:
    """Propose a case; one that fails does not stop the others."""
    progress = ProgressBar()
    report: dict[str, Any] = {"case": case.name, "segmentation": str(case.segmentation)}
    try:
        worklist.refresh()
        if case.key not in {other.key for other in cases_to_propose(worklist, states)}:
            return report | {"status": "taken", "error": f"{case.name} was begun meanwhile"}
        proposal = make_proposal(case, settings, predictor, progress)
        now = take_proposal(worklist, case, proposal, states)
    except CaseTakenError as error:
        return report | {"status": "taken", "error": str(error)}
    except PromptSegError as error:
        return report | {"status": "failed", "error": " ".join(str(error).split())}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cases are not to wait for it
        return report | {"status": "failed", "error": " ".join(f"{type(error).__name__}: {error}".split())}
    finally:
        progress.clear()
    return report | {"status": "proposed", "model": now.model, "unsure": now.unsure}


def _tell(report: dict[str, Any], number: int, count: int, pace: Pace, as_json: bool) -> None:
    left_s = pace.left_s(count - number)
    if as_json:
        rate = {"number": number, "of": count, "per_minute": round(pace.per_minute, 3), "left_s": left_s}
        print(json.dumps(report | rate, allow_nan=False), flush=True)
        return
    if report["status"] == "failed":
        warn(f"{report['case']}: {report['error']}")
        return
    unsure = "" if report.get("unsure") is None else f", unsure {report['unsure']:.2f}"
    said = report["error"] if report["status"] == "taken" else f"{report['segmentation']}{unsure}"
    left = f", {duration(left_s)} left" if left_s else ""
    print(f"[{number}/{count}] {said}; {pace.per_minute:.2g} cases a minute{left}", flush=True)


def duration(seconds: float) -> str:
    """Return about how long that is, for people."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
