"""`promptseg segment`: images and prompts in, segmentations out."""

from __future__ import annotations

import argparse
from pathlib import Path

from PromptSegLib.command import arguments as parsing
from PromptSegLib.command.case import Case, CaseSettings, segment_case
from PromptSegLib.command.cases import segment_list
from PromptSegLib.command.console import ProgressBar, print_json
from PromptSegLib.io.segmentation import FORMATS
from PromptSegLib.predictors.base import Predictor
from PromptSegLib.predictors.naming import classes_of_task
from PromptSegLib.predictors.registry import capabilities_of, create_predictor
from PromptSegLib.prompts import ClassPrompt, TextPrompt
from PromptSegLib.view import Window

_EPILOG = """\
Positions are in mm in the patient's frame, RAS unless --frame says otherwise, or in pixels for PNG, JPEG and TIFF.
2D images take X,Y and boxes of four numbers. In --frame ijk a position is a voxel: i (column), j (row), k (slice),
counted from 0. Prompts of the command line are answered together, those of a file one by one. An output that exists
is replaced, except in a list, where finished rows are skipped.
"""


def add_parser(commands: argparse._SubParsersAction[parsing.Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("segment", help="segment an image, or a list of images", epilog=_EPILOG)
    add_case_options(parser)
    parser.add_argument(
        "--list",
        type=Path,
        dest="cases",
        metavar="CASES.csv",
        help="segment each row: columns image, prompts (not beside --text), output, and for further images columns "
        "such as 'channel pet'; paths start from the list's folder",
    )
    parser.add_argument("--overwrite", action="store_true", help="with --list: segment finished rows again")
    parser.set_defaults(run=_run)


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which image is segmented, from which prompts, by which model, and to where."""
    parser.add_argument("image", nargs="?", type=Path, metavar="IMAGE", help="file, or folder with a DICOM series")
    parser.add_argument(
        "--channel",
        action="append",
        default=[],
        type=parsing.channel,
        metavar="NAME=FILE",
        help="an image beside IMAGE that the model needs, such as pet=PET.nii.gz; repeatable. Masks are on the grid of "
        "IMAGE, or of the first channel where there is no IMAGE",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help=f"what to write: {', '.join(FORMATS)}")
    parsing.add_model_options(parser)
    parsing.add_run_options(parser)
    parsing.add_server_options(parser)
    point, box = parsing.numbers(2, 3), parsing.numbers(4, 6)
    parsing.add_in_order(parser, "--positive", point, "X,Y,Z", "a click on the structure; repeatable")
    parsing.add_in_order(parser, "--negative", point, "X,Y,Z", "a click beside it; repeatable")
    parsing.add_in_order(parser, "--box", box, "X0,Y0,Z0,X1,Y1,Z1", "a box around it, lowest corner first")
    add_name_options(parser)
    parser.add_argument("--prompts", type=Path, metavar="FILE.json", help="prompts of one or more segments")
    parser.add_argument("--initial", type=Path, metavar="MASK", help="a mask on the image's grid to go on from")
    parser.add_argument("--frame", choices=("ras", "lps", "ijk"), help="of positions on the command line")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        type=parsing.label,
        metavar="NAME=VALUE",
        help="name of the segment and its value in a labelmap; once for each segment",
    )
    parser.add_argument(
        "--window", type=parsing.numbers(2), metavar="LOW,HIGH", help="intensities that matter, such as -160,240"
    )
    parser.add_argument(
        "--redraw", action="store_true", help="draw an --initial mask anew, where prompts would only correct it"
    )
    parsing.add_image_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_name_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which structures are found by their names."""
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        type=parsing.text,
        metavar="WORDS",
        help="the English name of a structure, such as 'left kidney'; repeatable, a segment of each. Clicks and boxes "
        "say which part is meant",
    )
    parser.add_argument(
        "--classes",
        action="extend",
        default=[],
        type=parsing.classes,
        metavar="NAME,NAME",
        help="structures out of the model's own list, such as liver,spleen, or all of them: 'all'; a segment of each",
    )
    parser.add_argument("--task", metavar="NAME", help="all structures that a task of the model finds together")


def settings_of(arguments: argparse.Namespace) -> CaseSettings:
    """Return the settings among the options of `add_case_options`."""
    return CaseSettings(
        names=names_of(arguments),
        frame=arguments.frame,
        values=_values(arguments.label),
        window=Window(*arguments.window) if arguments.window else None,
        redraw=arguments.redraw,
        time_point=arguments.time_point,
        series=arguments.series,
    )


def run_case(arguments: argparse.Namespace, settings: CaseSettings) -> int:
    """Segment the one case that the options of `add_case_options` name, and say what came of it."""
    channels = dict(arguments.channel)
    if len(channels) < len(arguments.channel):
        raise parsing.UsageError(
            f"expected each channel once, got --channel {', '.join(n for n, _ in arguments.channel)}"
        )
    image, image_name = arguments.image, ""
    if image is None:
        image_name = next(iter(channels))
        image = channels.pop(image_name)
    case = Case(
        image, arguments.output, arguments.prompts, tuple(arguments.given), arguments.initial, channels, image_name
    )
    result = segment_case(case, settings, predictor_of(arguments), ProgressBar())
    if arguments.json:
        print_json(result.as_json())
    else:
        print(result.as_text())
    return 0


def _run(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    if arguments.cases is not None:
        _check_list_stands_alone(arguments)
        return segment_list(arguments.cases, settings, predictor_of(arguments), arguments.overwrite, arguments.json)
    if not (arguments.image or arguments.channel) or arguments.output is None:
        raise parsing.UsageError("expected IMAGE and -o OUT, or --list CASES.csv; see promptseg segment --help")
    return run_case(arguments, settings)


def names_of(arguments: argparse.Namespace) -> tuple[ClassPrompt | TextPrompt, ...]:
    """Return the structures asked for by class, by task and in words."""
    names = list(arguments.classes)
    if "all" in names or arguments.task is not None:
        capabilities = capabilities_of(arguments.model)
        known = capabilities.classes if "all" in names else classes_of_task(capabilities, arguments.task)
        if not known:
            raise parsing.UsageError(f"expected a model with a list of classes, got {arguments.model}: it has none")
        names = list(dict.fromkeys([*known, *(name for name in names if name != "all")]))
    return (*(ClassPrompt(name) for name in names), *arguments.text)


def predictor_of(arguments: argparse.Namespace) -> Predictor:
    """Return the predictor that the options name."""
    options = parsing.run_options(arguments) | parsing.server_options(arguments)
    return create_predictor(arguments.model, arguments.device, **options)


def _values(labels: list[tuple[str, int]]) -> dict[str, int]:
    values = dict(labels)
    if len(values) < len(labels) or len(set(values.values())) < len(labels):
        raise parsing.UsageError(f"expected each name and each value once, got --label {labels}")
    return values


def _check_list_stands_alone(arguments: argparse.Namespace) -> None:
    own = {
        "IMAGE": arguments.image,
        "--channel": arguments.channel or None,
        "-o": arguments.output,
        "--prompts": arguments.prompts,
        "--initial": arguments.initial,
        "--positive, --negative and --box": arguments.given or None,
    }
    if named := [option for option, value in own.items() if value is not None]:
        raise parsing.UsageError(f"expected no {', '.join(named)} beside --list: its rows say it")
