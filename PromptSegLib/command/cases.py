"""A list of cases, segmented row by row; a run that was stopped goes on where it was."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PromptSegLib.command.arguments import UsageError
from PromptSegLib.command.case import Case, CaseSettings, segment_case
from PromptSegLib.command.console import ProgressBar, print_json, warn
from PromptSegLib.errors import PromptSegError
from PromptSegLib.predictors.base import Predictor
from PromptSegLib.worklist.case import CaseState
from PromptSegLib.worklist.dialect import dialect_of
from PromptSegLib.worklist.worklist import FREE, Worklist

ROWS_FAILED = 3
"""Exit status of a list of which some rows could not be segmented."""

_COLUMNS = ("image", "output")
_PROMPTS = "prompts"
_CHANNEL = "channel "
"""How the head of a column with further images begins; the channel's name follows."""


@dataclass(frozen=True)
class Row:
    """A case and the line of the list that it stands on. held: why it is not segmented whatever else is said."""

    line: int
    case: Case
    held: str = ""


def segment_list(path: Path, settings: CaseSettings, predictor: Predictor, overwrite: bool, as_json: bool) -> int:
    """Segment each case of the list at `path`; one that fails does not stop the others. Returns the exit status.

    A row is finished, and skipped, when its output is newer than its image and its prompts: outputs appear whole.
    """
    rows = read_list(path, needs_prompts=not settings.names)
    reports = []
    for number, row in enumerate(rows, start=1):
        report = _segment(row, settings, predictor, overwrite)
        reports.append({"line": row.line, **report})
        where = f"[{number}/{len(rows)}]"
        if report["status"] == "failed":
            warn(f"{path}, line {row.line}: {report['error']}")
        elif not as_json:
            why = row.held or "newer than its image and prompts"
            print(f"{where} {report.get('text') or f'{row.case.output} skipped: {why}'}")
    counts = {status: sum(r["status"] == status for r in reports) for status in ("done", "skipped", "failed")}
    if as_json:
        print_json({"cases": [{k: v for k, v in r.items() if k != "text"} for r in reports], **counts})
    else:
        print(", ".join(f"{count} {status}" for status, count in counts.items()))
    for report in reports:
        if report["status"] == "failed" and not as_json:
            warn(f"failed: line {report['line']}, {report['output']}: {report['error']}")
    return ROWS_FAILED if counts["failed"] else 0


def read_list(path: Path, needs_prompts: bool = True) -> list[Row]:
    """Read a list of cases, whose rows have prompts unless names say what is wanted of all of them.

    Raises:
        UsageError: names the line that is wrong.
    """
    columns_needed = ("image", _PROMPTS, "output") if needs_prompts else _COLUMNS
    if (recorded := _recorded(path, needs_prompts)) is not None:
        return recorded
    try:
        content = path.read_bytes()
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        reader = csv.DictReader(text, delimiter=dialect_of(content).delimiter)
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        records = [(reader.line_num, record) for record in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"expected a readable list of cases, got {path}: {error}") from error
    if missing := [name for name in columns_needed if name not in columns]:
        raise UsageError(
            f"expected the columns {', '.join(columns_needed)} in {path}, got {', '.join(columns) or 'none'}: "
            f"{', '.join(missing)} missing"
        )
    if not records:
        raise UsageError(f"expected at least one case in {path}, got none")
    rows = [Row(line, _case(path, line, record, columns_needed)) for line, record in records]
    _check_outputs_differ(path, rows)
    _check_inputs_stay(path, rows)
    return rows


def _recorded(path: Path, needs_prompts: bool) -> list[Row] | None:
    """Return the rows of a list that says what became of its cases; None of one that says nothing yet.

    What somebody has begun, accepted or rejected is not segmented over.
    """
    try:
        worklist = Worklist.open(path)
    except PromptSegError:  # it is told in other words
        return None
    if not any(case.change or case.state not in (*FREE, CaseState.IN_WORK) for case in worklist.cases):
        return None
    rows = []
    for case in worklist.cases:
        held = "" if case.state in (*FREE, CaseState.PROPOSED) else f"{case.state} {case.reader}".rstrip()
        if needs_prompts and case.prompts is None and not held:
            raise UsageError(f"expected prompts of {case.name} in {path}, line {case.line}, got none")
        rows.append(Row(case.line, Case(case.image, case.segmentation, case.prompts, channels=case.channels), held))
    _check_outputs_differ(path, rows)
    _check_inputs_stay(path, rows)
    return rows


def _case(path: Path, line: int, record: dict[str, str], needed: Sequence[str]) -> Case:
    cells = {name: (record[name] or "").strip() for name in needed}
    if empty := [name for name, cell in cells.items() if not cell]:
        raise UsageError(f"expected {_listed(needed)} in {path}, line {line}: {', '.join(empty)} missing")
    paths = {name: path.parent / cell for name, cell in cells.items()}
    channels = {
        name.removeprefix(_CHANNEL).strip(): path.parent / cell.strip()
        for name, cell in record.items()
        if name is not None and name.startswith(_CHANNEL) and (cell or "").strip()
    }
    return Case(paths["image"], paths["output"], paths.get(_PROMPTS), channels=channels)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _check_outputs_differ(path: Path, rows: Sequence[Row]) -> None:
    seen: dict[Path, int] = {}
    for row in rows:
        output = _resolved(row.case.output)
        if output in seen:
            raise UsageError(
                f"expected an output of its own for each case in {path}, got {row.case.output} in lines "
                f"{seen[output]} and {row.line}"
            )
        seen[output] = row.line


def _resolved(path: Path) -> Path:
    """Return where `path` leads; as it is when that cannot be: its row will say why."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path


def _check_inputs_stay(path: Path, rows: Sequence[Row]) -> None:
    """Refuse a list in which one case's output would replace another's image or prompts."""
    inputs = {_resolved(file): row.line for row in rows for file in row.case.inputs}
    inputs[_resolved(path)] = 0
    for row in rows:
        line = inputs.get(_resolved(row.case.output))
        if line is not None:
            used = f"an input in line {line}" if line else "the list itself"
            raise UsageError(
                f"expected outputs other than the inputs in {path}, got {row.case.output} in line {row.line}: {used}"
            )


def _segment(row: Row, settings: CaseSettings, predictor: Predictor, overwrite: bool) -> dict[str, Any]:
    paths = {"image": str(row.case.image), "output": str(row.case.output)}
    progress = ProgressBar()
    try:
        if row.held or (not overwrite and _is_finished(row.case)):
            return {"status": "skipped", **paths}
        result = segment_case(row.case, settings, predictor, progress)
    except PromptSegError as error:
        return {"status": "failed", **paths, "error": " ".join(str(error).split())}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other rows are not to wait for it
        return {"status": "failed", **paths, "error": " ".join(f"{type(error).__name__}: {error}".split())}
    finally:
        progress.clear()
    return {"status": "done", **result.as_json(), "text": result.as_text()}


def _is_finished(case: Case) -> bool:
    if not case.output.exists():
        return False
    return all(case.output.stat().st_mtime >= path.stat().st_mtime for path in case.inputs if path.exists())
