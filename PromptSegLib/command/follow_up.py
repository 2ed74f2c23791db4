"""`promptseg follow-up` and `promptseg carry-over`: lesions from one time point to the next."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

from PromptSegLib.command import arguments as parsing
from PromptSegLib.command.arguments import Parser, UsageError
from PromptSegLib.command.console import ProgressBar, print_json, print_table, warn
from PromptSegLib.geometry import FloatArray
from PromptSegLib.io import open_image
from PromptSegLib.measurement.carry_over import CarryOver
from PromptSegLib.measurement.follow_up import LEAST_MM, FollowUp, TimePoint, Track, follow_up
from PromptSegLib.measurement.follow_up_table import diameter_mm, follow_up_csv, follow_up_record
from PromptSegLib.measurement.image_unit import MeasuredImage, read_measured_image
from PromptSegLib.measurement.matching import DISTANCE_MM
from PromptSegLib.measurement.segmentation_file import read_segmentation
from PromptSegLib.measurement.table import as_json
from PromptSegLib.prompt_files import write_prompts
from PromptSegLib.prompts import Point

_EPILOG = """\
Lesions are the parts of segments that do not touch; those of one name are matched where they overlap, else where their
centres are near. The categories are RECIST 1.1's: 5 targets at most, 2 of an organ, PD by 20 % and 5 mm over the
smallest sum, PR by 30 % below the baseline. A transform file is the one that brings the later image onto the first, as
Slicer and SimpleITK write it. For research only: a category here is a calculation, not a reading.
"""
_SUFFIXES = (".csv", ".json", ".html")


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare both commands."""
    parser = commands.add_parser("follow-up", help="compare the lesions of two or more time points", epilog=_EPILOG)
    parser.add_argument(
        "segmentations",
        nargs="+",
        type=Path,
        metavar="SEGMENTATION",
        help=".seg.nrrd or a labelmap, the earliest first",
    )
    parser.add_argument(
        "--image", action="append", default=[], type=Path, metavar="IMAGE", help="of each segmentation, in their order"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="what to write: .csv, .json, or a page, .html")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--transform",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="of each time point but the first, in their order; without, all are in one frame",
    )
    where.add_argument("--register", action="store_true", help="register the images rigidly to the first one")
    parser.add_argument("--segment", action="append", metavar="NAME", help="follow this one's lesions; repeatable")
    parser.add_argument("--nodes", action="append", default=[], metavar="NAME", help="a segment of lymph nodes")
    parser.add_argument(
        "--label", action="append", default=[], type=parsing.label, metavar="NAME=VALUE", help="names in labelmaps"
    )
    parser.add_argument("--distance", type=_length, default=DISTANCE_MM, metavar="MM", help="(default: %(default)g)")
    parser.add_argument(
        "--least",
        type=_length,
        default=LEAST_MM,
        metavar="MM",
        help="longest axial diameter of a lesion that counts when it is first seen (default: %(default)g)",
    )
    parser.add_argument("--unit", default="", metavar="NAME", help="of the images' values, such as HU")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)

    carry = commands.add_parser(
        "carry-over",
        help="make a case's masks first prompts of the next time point",
        epilog="A mask is written, with the click, for each click that confirms it; then promptseg segment --prompts.",
    )
    carry.add_argument("segmentation", type=Path, metavar="SEGMENTATION", help="of the earlier time point")
    carry.add_argument("image", type=Path, metavar="IMAGE", help="of the next time point")
    carry.add_argument(
        "--positive", action="append", default=[], type=parsing.numbers(3), metavar="X,Y,Z", help="a click, RAS, in mm"
    )
    carry.add_argument("-o", "--output", type=Path, required=True, metavar="PROMPTS.json", help="what to write")
    where = carry.add_mutually_exclusive_group()
    where.add_argument("--transform", type=Path, metavar="FILE", help="as of promptseg follow-up")
    where.add_argument("--register", type=Path, metavar="EARLIER", help="register IMAGE rigidly to this image first")
    carry.add_argument("--segment", action="append", metavar="NAME", help="carry this one; repeatable")
    parsing.add_image_options(carry)
    carry.set_defaults(run=_run_carry)


def _run(arguments: argparse.Namespace) -> int:
    output = arguments.output
    if output is not None and output.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"expected an output that ends in {', '.join(_SUFFIXES)}, got {output}")
    count = len(arguments.segmentations)
    if arguments.image and len(arguments.image) != count:
        raise UsageError(f"expected --image for each of {count} segmentations or for none, got {len(arguments.image)}")
    if arguments.register and not arguments.image:
        raise UsageError("expected --image of each segmentation to register them, got none")
    if arguments.transform and len(arguments.transform) != count - 1:
        raise UsageError(
            f"expected --transform for each of {count} time points but the first, got {len(arguments.transform)}"
        )
    if output is not None and output.suffix.lower() == ".html" and not arguments.image:
        raise UsageError("expected --image of each segmentation for a page with slices, got none")
    bar = ProgressBar()
    try:
        found = follow_up(
            _times(arguments),
            segments=arguments.segment,
            nodes=arguments.nodes,
            distance_mm=arguments.distance,
            least_mm=arguments.least,
            progress=bar.progress,
        )
    finally:
        bar.clear()
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(_text(found, output.suffix.lower()), encoding="utf-8")
    if arguments.json:
        print_json(follow_up_record(found))
    else:
        _print(found)
    return 0


def _text(found: FollowUp, suffix: str) -> str:
    if suffix == ".csv":
        return follow_up_csv(found)
    if suffix == ".json":
        return as_json(follow_up_record(found))
    from PromptSegLib.measurement.page import page_of

    return page_of(found)


def _times(arguments: argparse.Namespace) -> list[TimePoint]:
    images: list[MeasuredImage | None] = [read_measured_image(path, unit=arguments.unit) for path in arguments.image]
    for image in images:
        if image is not None and image.problem:
            warn(" ".join(image.problem.split()))
    times = []
    for index, path in enumerate(arguments.segmentations):
        image = images[index] if images else None
        times.append(
            TimePoint(
                _name(arguments.segmentations, index),
                read_segmentation(path, dict(arguments.label)),
                image.volume if image else None,
                _transform(arguments, images, index),
                image.unit if image else "",
                image.suv_factor if image else None,
            )
        )
    return times


def _transform(arguments: argparse.Namespace, images: list[MeasuredImage | None], index: int) -> FloatArray:
    from PromptSegLib.measurement.registration import read_transform, register_rigidly

    if index and arguments.transform:
        return read_transform(arguments.transform[index - 1])
    if index and arguments.register:
        first, later = images[0], images[index]
        assert first is not None
        assert later is not None
        return register_rigidly(first.volume, later.volume)
    return np.eye(4)


def _name(paths: list[Path], index: int) -> str:
    """Return what a time point is called: its file's name, with its folder where others have that name, too."""
    names = [path.name for path in paths]
    return names[index] if names.count(names[index]) == 1 else f"{index + 1}: {paths[index]}"


def _run_carry(arguments: argparse.Namespace) -> int:
    from PromptSegLib.measurement.registration import read_transform, register_rigidly

    volume = open_image(arguments.image, arguments.series).volume(arguments.time_point)
    matrix: FloatArray = np.eye(4)
    if arguments.transform is not None:
        matrix = read_transform(arguments.transform)
    elif arguments.register is not None:
        matrix = register_rigidly(open_image(arguments.register).volume(), volume)
    carry = CarryOver(read_segmentation(arguments.segmentation), matrix, arguments.segment)
    for x, y, z in arguments.positive:
        carry.confirm(Point((x, y, z)))
    write_prompts(arguments.output, carry.confirmed)
    for name in carry.confirmed:
        print(f"{name}: confirmed")
    for name, mask in carry.pending.items():
        middle = mask.positions_ras().mean(axis=0)
        print(f"{name}: not confirmed, left out; around {', '.join(f'{value:.1f}' for value in middle)}")
    return 0


def _print(found: FollowUp) -> None:
    rows = []
    for track in found.tracks:
        rows.append((str(track.number), track.segment, "yes" if track.is_target else "", *_moments(track)))
    print_table(("LESION", "SEGMENT", "TARGET", *(time.name for time in found.times)), rows)
    for time, evaluation, left_out in zip(found.times, found.evaluations, found.left_out, strict=True):
        small = f"; {left_out} smaller parts left out" if left_out else ""
        print(f"{time.name}: {evaluation.overall.category} (RECIST 1.1: {evaluation.overall.rule}){small}")


def _moments(track: Track) -> list[str]:
    return [
        f"{moment.event}: {moment.volume_ml:.3g} mL, {diameter_mm(track, moment):.1f} mm"
        if moment.lesions
        else moment.event
        for moment in track.moments
    ]


def _length(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"expected a length in mm, got {text!r}")
    return value
