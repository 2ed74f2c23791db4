"""`promptseg benchmark`: how good models are, by prompts of a simulated user on images with a known answer."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PromptSegLib.command.arguments import Parser, add_device_option, names
from PromptSegLib.command.console import ProgressBar, print_table
from PromptSegLib.io.output_file import check_can_be_written

if TYPE_CHECKING:
    from PromptSegLib.evaluation.columns import Column, Record
    from PromptSegLib.evaluation.results import Results

_MODELS = ("default", "classical", "growcut", "threshold")
_PICTURE_DPI = 130
_EPILOG = """\
DATA: image.nii.gz beside labels.nii.gz, images/ beside labels/ or masks/, .npz files with image and mask, in any folder
below it. Beside the models of promptseg models there are growcut, Slicer's Grow from Seeds, threshold, Otsu's in the
box, and any class as module:Class. Protocols: clicks in the middle of the largest error, random-clicks anywhere in it,
box, random-box, box-clicks as in the CVPR 2025 challenge, name of the structure, scribbles along the middle of the
largest error, human scribbles of a data set, corrections and stroke-corrections
of masks that came from elsewhere. A benchmark that was
stopped goes on where it was when the same command is given again. promptseg benchmark compare says whether one went
better than another.
"""


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("benchmark", help="measure models on images with a known answer", epilog=_EPILOG)
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="folder of images and labels, or a .yaml about them; ./compare for one of that name",
    )
    parser.add_argument("--labels", type=Path, metavar="MAP.yaml", help="structures and their label in each data set")
    parser.add_argument(
        "--models",
        type=names,
        metavar="A,B",
        help=f"(default: {','.join(_MODELS)}; ready: these and all with weights)",
    )
    parser.add_argument(
        "--protocols",
        type=names,
        default=("clicks", "box", "human"),
        metavar="A,B",
        help="how the simulated user prompts, see below (default: clicks,box,human)",
    )
    parser.add_argument("--clicks", type=_count, default=10, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--field-of-view",
        choices=("structure", "none"),
        default="structure",
        help="what all models are told of the user's view: one of which the structure takes a third, or nothing",
    )
    parser.add_argument("--least-voxels", type=_count, default=64, metavar="N", help="of a structure to be looked at")
    add_device_option(parser)
    parser.add_argument("--no-surfaces", action="store_true", help="compare volumes only: quicker, and without MONAI")
    parser.add_argument("--json", type=Path, metavar="OUT.json", help="keep all results")
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="curves, tables and cases on one page")
    parser.add_argument("--picture", type=Path, metavar="OUT.png", help="the curves alone, as .png or .svg")
    parser.add_argument(
        "--jobs", type=_count, default=os.cpu_count() or 1, metavar="N", help="processes (default: %(default)s)"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from PromptSegLib.evaluation.manifest import read_data
    from PromptSegLib.evaluation.runner import Settings, run_benchmark

    settings = Settings(
        models=_chosen(arguments.models),
        protocols=arguments.protocols,
        clicks=arguments.clicks,
        has_view=arguments.field_of_view == "structure",
        least_voxels=arguments.least_voxels,
        has_surfaces=not arguments.no_surfaces,
        device=arguments.device,
    )
    for path in filter(None, (arguments.json, arguments.report, arguments.picture)):
        check_can_be_written(path)  # a benchmark takes hours
        path.parent.mkdir(parents=True, exist_ok=True)
    output = arguments.json
    notes = output.with_name(f"{output.name}.part") if output is not None else None
    bar = ProgressBar()
    data = read_data(arguments.data, arguments.labels)
    results = run_benchmark(
        data.cases, settings, arguments.jobs, sources=data.sources, progress=bar.progress, notes=notes
    )
    bar.clear()
    if output is not None:
        results.write(output)
    if arguments.report is not None:
        from PromptSegLib.evaluation.report import write_report

        write_report(arguments.report, results, data.cases)
    if arguments.picture is not None:
        from PromptSegLib.evaluation.figures import dice_figure

        dice_figure(results).savefig(arguments.picture, dpi=_PICTURE_DPI)
    print_results(results, arguments.clicks)
    return 0


def _chosen(names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the models that `names` means: "ready" is each one that takes clicks or boxes and has its weights here."""
    from PromptSegLib.predictors.registry import usable_predictors
    from PromptSegLib.weights.store import WeightsStore

    if names is None:
        return _MODELS
    if "ready" not in names:
        return names
    store = WeightsStore()
    ready = []
    for name, capabilities in usable_predictors().items():
        is_here = all(store.status(weights).state == "ready" for weights in capabilities.weights)
        if capabilities.weights and is_here and capabilities.prompts & {"point+", "box2d+", "box3d+"}:
            ready.append(name)
    return tuple(dict.fromkeys([name for name in names if name != "ready"] + [*_MODELS, *ready]))


def print_results(results: Results, clicks: int) -> None:
    """Print how good masks are by the number of prompts, , and how many it takes."""
    from PromptSegLib.evaluation.columns import challenge_columns, dice_columns, effort_columns
    from PromptSegLib.evaluation.corrections import CORRECTIONS_HEAD, by_all, by_shape, by_start, correction_lines
    from PromptSegLib.evaluation.results import by_dataset, by_dimensions

    print_means("mean Dice", results, dice_columns(clicks), by_dimensions)
    print_means("mean Dice", results, dice_columns(clicks), by_dataset)
    effort = "number of clicks to a Dice, part of all cases that stay below it, surfaces after all clicks"
    print_means(effort, results, effort_columns(clicks), by_dimensions)
    for group_of in (by_all, by_shape, by_start):
        if lines := correction_lines(results, group_of):
            print("corrections of masks that came from elsewhere:")
            print_table([head.upper() for head in CORRECTIONS_HEAD], lines)
            print()
    print_means("CVPR 2025 challenge", results, challenge_columns(), by_dimensions)
    counts = {status: sum(r["status"] == status for r in results.records) for status in ("done", "failed")}
    print(f"means with their 95 % intervals; {counts['done']} trials, {counts['failed']} failed")


def print_means(title: str, results: Results, columns: Sequence[Column], group_of: Callable[[Record], str]) -> None:
    """Print a table, without columns that nobody has a figure for; nothing when none are left."""
    from PromptSegLib.evaluation.results import table

    rows = table(results, columns, group_of)
    used = [n for n in range(len(columns)) if any(row.means[n] is not None for row in rows)]
    if used:
        print(f"{title}:")
        lines = [(row.group, row.model, *(_cell(row.means[n]) for n in used)) for row in rows]
        print_table(("", "MODEL", *(columns[n].title.upper() for n in used)), lines)
        print()


def _cell(mean: object) -> str:
    return "" if mean is None else str(mean)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return int(text)
