"""`promptseg info`: what an image file holds, and where it lies."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

from PromptSegLib.command.arguments import Parser, add_image_options
from PromptSegLib.command.console import print_json
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import FloatArray, flip_axes
from PromptSegLib.io import ImageFile, open_image


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("info", help="show size, spacing, orientation and position of an image")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="file, or folder with a DICOM series")
    add_image_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    record = _record(open_image(arguments.image, arguments.series), arguments.time_point)
    if arguments.json:
        print_json(record)
        return 0
    for name, value in record.items():
        print(f"{name.replace('_', ' '):14} {_text(value)}")
    return 0


def _record(file: ImageFile, time_point: int | None) -> dict[str, Any]:
    # Time points share one grid: without a choice, the first stands for all, and the range is left out.
    volume = file.volume(time_point if time_point is not None or file.time_points == 1 else 0)
    grid = volume.grid
    low, high = grid.bounds_ras
    record: dict[str, Any] = {
        "file": str(file.path),
        "format": file.format,
        "size_ijk": [int(n) for n in flip_axes(grid.shape_kji)],
        "components": volume.components,
        "time_points": file.time_points,
        "type": str(volume.array.dtype),
        "spacing_mm": _rounded(grid.spacing_mm),
        "orientation": grid.orientation + (", oblique" if grid.is_oblique else ""),
        "lowest_ras_mm": _rounded(low),
        "highest_ras_mm": _rounded(high),
        "ijk_to_ras": grid.ijk_to_ras.tolist(),
        "memory_mib": round(volume.array.nbytes / 2**20, 1),
    }
    if time_point is not None or file.time_points == 1:
        with suppress(VolumeError):  # not a finite voxel in it
            record["range"] = list(volume.finite_range)
    if file.is_picture:
        record["positions"] = "in pixels: X,Y from 0"
    return record


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), 6) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], list):
        return f"\n{'':15}".join(_text(row) for row in value)
    if isinstance(value, list):
        return ", ".join(f"{entry:g}" for entry in value)
    return str(value)
