"""`promptseg measure`: volumes, diameters, intensities and SUVs of segments, as a table."""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PromptSegLib.command import arguments as parsing
from PromptSegLib.command.arguments import Parser, UsageError
from PromptSegLib.command.console import ProgressBar, print_json, print_table, warn
from PromptSegLib.errors import PromptSegError
from PromptSegLib.io.output_file import check_can_be_written, replacing
from PromptSegLib.measurement.image_unit import read_measured_image
from PromptSegLib.measurement.measure import Measurement, measure
from PromptSegLib.measurement.segmentation_file import read_segmentation
from PromptSegLib.measurement.table import as_csv, as_json, notes, record_of, rows_of
from PromptSegLib.measurement.texts import axial_text, mean_text, part_text, volume_text

_EPILOG = """\
A diameter runs from outline to outline, along the middles of the voxels' outer faces; axial ones lie in the slices as
they were taken. A segment's diameters are those of its longest part. Parts are what does not touch by a face, an edge
or a corner. SUV is by body weight; PET in DICOM is measured in SUV when its header tells the factor. CASES.csv has the
column segmentation (or output, as for promptseg segment), and as need be image, case, unit and suv_factor.
"""


@dataclass(frozen=True)
class Task:
    """What to measure, and as what."""

    segmentation: Path
    image: Path | None = None
    case: str = ""
    unit: str = ""
    suv_factor: float | None = None
    wants_suv: bool = False
    names: tuple[str, ...] | None = None
    values: tuple[tuple[str, int], ...] = ()
    time_point: int | None = None
    series: str | None = None


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("measure", help="measure the segments of a file, or of a list", epilog=_EPILOG)
    parser.add_argument("segmentation", nargs="?", type=Path, metavar="SEGMENTATION", help=".seg.nrrd or a labelmap")
    parser.add_argument("--image", type=Path, metavar="IMAGE", help="the image that was segmented, on the same grid")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="the table to write: .csv or .json")
    parser.add_argument("--list", type=Path, dest="cases", metavar="CASES.csv", help="measure each row into one table")
    parser.add_argument("--segment", action="append", metavar="NAME", help="measure this one; repeatable")
    parser.add_argument(
        "--label", action="append", default=[], type=parsing.label, metavar="NAME=VALUE", help="names in a labelmap"
    )
    parser.add_argument("--unit", default="", metavar="NAME", help="of the image's values, such as HU")
    parser.add_argument("--suv", action="store_true", help="measure SUVs, by the DICOM header of IMAGE")
    parser.add_argument(
        "--suv-factor", type=_factor, metavar="F", help="what the image's values times give SUV; 1 where they are SUV"
    )
    parsing.add_image_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    suffix = arguments.output.suffix.lower() if arguments.output else ""
    if suffix not in ("", ".csv", ".json"):
        raise UsageError(f"expected an output that ends in .csv or .json, got {arguments.output}")
    if (arguments.segmentation is None) == (arguments.cases is None):
        raise UsageError("expected SEGMENTATION, or --list CASES.csv; see promptseg measure --help")
    if arguments.output is not None:
        check_can_be_written(arguments.output)
    settings = Task(
        arguments.segmentation or Path(),
        arguments.image,
        "",
        arguments.unit,
        arguments.suv_factor,
        arguments.suv,
        tuple(arguments.segment) if arguments.segment else None,
        tuple(arguments.label),
        arguments.time_point,
        arguments.series,
    )
    if arguments.cases is None:
        measured = [(settings, _measured(settings))]
        failed = 0
    else:
        if arguments.image is not None:
            raise UsageError("expected no --image beside --list: its rows say it")
        if arguments.output is not None and arguments.output.resolve() == arguments.cases.resolve():
            raise UsageError(f"expected an output other than the list, got {arguments.output}")
        measured, failed = _of_list(arguments.cases, settings)
    record = {"cases": [_record(task, found) for task, found in measured]}
    if arguments.output is not None:
        text = _csv(measured, arguments.cases is not None) if suffix == ".csv" else as_json(record)
        with replacing(arguments.output) as file:
            file.write(text.encode())
    if arguments.json:
        print_json(record | {"failed": failed})
    else:
        _print(measured)
    return 2 if failed else 0


def _of_list(path: Path, settings: Task) -> tuple[list[tuple[Task, tuple[Measurement, ...]]], int]:
    """Measure each row of a list; one that fails is told of and does not stop the others. Returns how many did, too."""
    column, records = _read_list(path)
    measured, failed = [], 0
    for line, record in records:
        try:
            task = _task(record, column, path.parent, settings)
            measured.append((task, _measured(task)))
        except PromptSegError as error:
            warn(f"{path}, line {line}: {' '.join(str(error).split())}")
            failed += 1
    return measured, failed


def _read_list(path: Path) -> tuple[str, list[tuple[int, dict[str, str]]]]:
    """Return the column that names segmentations, and the rows with their lines.

    Raises:
        UsageError: the arguments do not go together.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            records = [(reader.line_num, {k: (v or "").strip() for k, v in row.items() if k}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"expected a readable list of cases, got {path}: {error}") from error
    column = next((name for name in ("segmentation", "output") if name in (reader.fieldnames or ())), None)
    if column is None or not records:
        found = ", ".join(reader.fieldnames or ()) or "none"
        raise UsageError(f"expected a column segmentation, or output, and at least one row in {path}, got {found}")
    return column, records


def _task(record: dict[str, str], column: str, folder: Path, settings: Task) -> Task:
    if not record.get(column):
        raise UsageError(f"expected a cell {column!r}, got none")
    factor = record.get("suv_factor")
    try:
        factor_read = _factor(factor) if factor else settings.suv_factor
    except argparse.ArgumentTypeError as error:
        raise UsageError(str(error)) from error
    return replace(
        settings,
        segmentation=folder / record[column],
        image=folder / record["image"] if record.get("image") else None,
        case=record.get("case") or record[column],
        unit=record.get("unit") or settings.unit,
        suv_factor=factor_read,
    )


def _measured(task: Task) -> tuple[Measurement, ...]:
    """Measure one segmentation, and tell of what has to be known."""
    segmentation = read_segmentation(task.segmentation, dict(task.values))
    bar = ProgressBar()
    try:
        if task.image is None:
            if task.wants_suv or task.suv_factor is not None or task.unit:
                raise UsageError("expected --image IMAGE for SUVs and intensities, got none")
            found = measure(segmentation, names=task.names, progress=bar.progress)
        else:
            image = read_measured_image(
                task.image,
                unit=task.unit,
                factor=task.suv_factor,
                wants_suv=task.wants_suv,
                time_point=task.time_point,
                series=task.series,
            )
            if image.problem:
                warn(" ".join(image.problem.split()))
            found = measure(
                segmentation,
                image.volume,
                names=task.names,
                unit=image.unit,
                suv_factor=image.suv_factor,
                progress=bar.progress,
            )
    finally:
        bar.clear()
    if not found:
        warn(f"expected at least one segment in {task.segmentation}, got none")
    for one in found:
        if not one.voxels:
            warn(f"segment {one.segment!r} in {task.segmentation} is empty")
    return found


def _record(task: Task, found: tuple[Measurement, ...]) -> dict[str, Any]:
    head = {"case": task.case} if task.case else {}
    image = {"image": str(task.image)} if task.image else {}
    return head | {"segmentation": str(task.segmentation), **image, "segments": [record_of(one) for one in found]}


def _csv(measured: list[tuple[Task, tuple[Measurement, ...]]], is_list: bool) -> str:
    rows = [(task.case, row) for task, found in measured for row in rows_of(found)]
    return as_csv([row for _, row in rows], [case for case, _ in rows] if is_list else None)


def _print(measured: list[tuple[Task, tuple[Measurement, ...]]]) -> None:
    for task, found in measured:
        rows = rows_of(found)
        if task.case:
            print(task.case)
        if rows:
            print_table(("SEGMENT", "PART", "VOLUME", "AXIAL", "3D", "MEAN", ""), [_line(row) for row in rows])


def _line(row: Measurement) -> tuple[str, ...]:
    longest = f"{row.longest.length_mm:.1f} mm" if row.longest else ""
    cells = (part_text(row), volume_text(row.volume_ml), axial_text(row), longest, mean_text(row))
    return (row.segment, *cells, "; ".join(notes(row)))


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value
