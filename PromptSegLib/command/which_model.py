"""`promptseg models --for IMAGE`: which model to take."""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PromptSegLib.command.arguments import Parser, UsageError, add_device_option, add_image_options
from PromptSegLib.command.console import print_json
from PromptSegLib.io import ImageFile, open_image
from PromptSegLib.io.dicom import series_headers
from PromptSegLib.io.dicom_header import read_header
from PromptSegLib.panel.advice import PROMPTS, Group, best, has_gpu
from PromptSegLib.panel.image_kind import KINDS, ImageKind
from PromptSegLib.panel.models import Models
from PromptSegLib.predictors.devices import check_device_name

_WIDTH = 118


def add_options(parser: Parser) -> None:
    """Add what the advice is asked by."""
    parser.add_argument(
        "--for", dest="image", type=Path, metavar="IMAGE", help="which ones suit this image, the best first, and why"
    )
    parser.add_argument("--prompt", choices=tuple(PROMPTS), default="", help="with --for: what you want to give")
    parser.add_argument("--kind", choices=tuple(KINDS), default="", help="with --for: what the image is, if not told")
    add_device_option(parser)
    add_image_options(parser)


def is_asked(arguments: argparse.Namespace) -> bool:
    """Tell whether advice is asked for.

    Raises:
        UsageError: it is, and no image is named.
    """
    if arguments.image is None and (arguments.prompt or arguments.kind):
        raise UsageError("expected --for IMAGE with --prompt and --kind, got none")
    return bool(arguments.image)


def print_advice(arguments: argparse.Namespace) -> int:
    """Print the models by what one gives, those that suit the image first."""
    if arguments.model is not None:
        raise UsageError(f"expected a model's name, or --for an image, got both: {arguments.model} and --for")
    check_device_name(arguments.device)
    kind = _kind_of(arguments)
    groups = Models().advice(kind, arguments.prompt, arguments.device)
    if arguments.json:
        print_json(_record(kind, groups, arguments))
        return 0
    where = "a GPU" if has_gpu(arguments.device) else "the CPU"
    print(f"{arguments.image.name}: {kind.text}; on {where}.")
    if not kind.is_sure:
        print(f"If that is wrong: --kind {'|'.join(KINDS)}")
    for group in groups:
        print()
        for line in _lines(group):
            print(line)
    return 0


def _kind_of(arguments: argparse.Namespace) -> ImageKind:
    file = open_image(arguments.image, arguments.series)
    volume = file.volume(arguments.time_point if arguments.time_point is not None or file.time_points == 1 else 0)
    return ImageKind.of(volume, dicom_modality=_dicom_modality(file, arguments.series), said=arguments.kind)


def _dicom_modality(file: ImageFile, series: str | None) -> str:
    """Return what a DICOM header says that the image is; nothing for other files."""
    if file.format != "DICOM":
        return ""
    header = series_headers(file.path, series)[0] if file.path.is_dir() else read_header(file.path)
    return header.text("Modality")


def _lines(group: Group) -> list[str]:
    lines = [group.title]
    if group.advised is None:
        reasons = dict.fromkeys(advice.because for advice in group.others)
        lines += _wrapped("none suits", f": {'; '.join(filter(None, reasons))}")
        return [*lines, *_wrapped("  others: ", ", ".join(advice.name for advice in group.others))]
    lines += _wrapped("  * ", f"{group.advised.name}: {_reason(group.advised.lacks, group.advised.because)}")
    if group.better is not None:
        lines += _wrapped(
            "  better, once here: ", f"{group.better.name}: {_reason(group.better.lacks, group.better.because)}"
        )
    others = [advice.name for advice in group.others if advice.suits]
    unsuited = [advice.name for advice in group.others if not advice.suits]
    lines += _wrapped("  others: ", ", ".join(others)) if others else []
    return lines + (_wrapped("  less suited: ", ", ".join(unsuited)) if unsuited else [])


def _reason(lacks: str, because: str) -> str:
    return "; ".join(filter(None, [because, lacks or "ready"]))


def _wrapped(head: str, text: str) -> list[str]:
    margin = " " * len(head)
    return textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent=margin, break_on_hyphens=False)


def _record(kind: ImageKind, groups: list[Group], arguments: argparse.Namespace) -> dict[str, Any]:
    advised = best(groups, arguments.prompt)
    return {
        "image": str(arguments.image),
        "kind": kind.kind,
        "is_sure": kind.is_sure,
        "is_volume": kind.is_volume,
        "prompt": arguments.prompt,
        "has_gpu": has_gpu(arguments.device),
        "advised": advised.name if advised else None,
        "groups": [{**asdict(group), "title": group.title} for group in groups],
    }
