"""Prompts as JSON: targets with their prompts, the frame and the unit named in the file.

    {"format": "promptseg-prompts", "version": 1, "frame": "RAS", "unit": "mm",
     "targets": [{"name": "liver", "prompts": [{"kind": "point", "position_ras": [1.0, 2.0, 3.0],
                                                "positive": true}]}]}

Masks are kept as their packed bits, zlib-compressed, in base64.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
import reprlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from PromptSegLib.errors import PromptError
from PromptSegLib.prompts import (
    Box,
    ClassPrompt,
    Lasso,
    MaskPrompt,
    Point,
    Prompt,
    Scribble,
    TextPrompt,
    VoxelScribble,
)

FORMAT = "promptseg-prompts"
VERSION = 1

MOST_BYTES = 16 << 20
"""Of a prompts file; Python's lists of numbers take up to 24 times that."""
MOST_MASK_VOXELS = 1 << 28
"""Of all mask prompts of a file together, a byte each in memory, and one more on the way: 512 x 512 x 1024."""

_TYPES: dict[str, type[Prompt]] = {
    "point": Point,
    "box": Box,
    "scribble": Scribble,
    "voxel-scribble": VoxelScribble,
    "lasso": Lasso,
    "mask": MaskPrompt,
    "class": ClassPrompt,
    "text": TextPrompt,
}
_NAMES = {prompt_type: name for name, prompt_type in _TYPES.items()}


def prompts_to_json(targets: Mapping[str, Sequence[Prompt]], indent: int | None = None) -> str:
    """Write `targets`, each a name with its prompts in the order they were given."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "frame": "RAS",
        "unit": "mm",
        "targets": [
            {"name": name, "prompts": [prompt_to_record(prompt) for prompt in prompts]}
            for name, prompts in targets.items()
        ],
    }
    return json.dumps(content, indent=indent, allow_nan=False)


def prompts_from_json(text: str) -> dict[str, tuple[Prompt, ...]]:
    """Read what `prompts_to_json` wrote.

    Raises:
        PromptError: says what is wrong, and where.
    """
    if len(text) > MOST_BYTES:
        raise PromptError(f"expected prompts of at most {MOST_BYTES:,} characters, got {len(text):,}")
    try:
        content = json.loads(text.removeprefix("\ufeff"))  # editors on Windows put it there
    except (ValueError, RecursionError) as error:
        raise PromptError(f"expected prompts as JSON, got text that is not: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise PromptError(f'expected a prompts file with "format": "{FORMAT}", got {_shown(content)}')
    for key, expected in {"version": VERSION, "frame": "RAS", "unit": "mm"}.items():
        if content.get(key) != expected:
            raise PromptError(f"expected prompts with {key} {expected!r}, got {_shown(content.get(key))}")
    targets: dict[str, tuple[Prompt, ...]] = {}
    room = MOST_MASK_VOXELS
    for target in _list(content, "targets"):
        if not isinstance(target, dict) or not isinstance(target.get("name"), str):
            raise PromptError(f"expected targets with a name and prompts, got {_shown(target)}")
        if target["name"] in targets:
            raise PromptError(f"expected each target once, got {target['name']!r} twice")
        records = _list(target, "prompts")
        room -= sum(_mask_voxels(record) for record in records)
        if room < 0:
            raise PromptError(f"expected masks of at most {MOST_MASK_VOXELS:,} voxels in all, got {-room:,} more")
        targets[target["name"]] = tuple(prompt_from_record(record) for record in records)
    return targets


def write_prompts(path: str | os.PathLike[str], targets: Mapping[str, Sequence[Prompt]]) -> None:
    """Write a prompts file, see `prompts_to_json`."""
    Path(path).write_text(prompts_to_json(targets, indent=1) + "\n", encoding="utf-8")


def read_prompts(path: str | os.PathLike[str]) -> dict[str, tuple[Prompt, ...]]:
    """Read a prompts file.

    Raises:
        PromptError: it cannot be read or is none.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise PromptError(f"expected a readable prompts file, got {os.fspath(path)!r}: {error}") from error
    try:
        return prompts_from_json(text)
    except PromptError as error:
        raise PromptError(f"{os.fspath(path)}: {error}") from error


def prompt_to_record(prompt: Prompt) -> dict[str, Any]:
    """Return `prompt` as what JSON can hold."""
    record: dict[str, Any] = {"kind": _NAMES[type(prompt)]}
    if isinstance(prompt, MaskPrompt):
        packed = zlib.compress(np.packbits(prompt.mask_kji).tobytes())
        return record | {
            "shape_kji": list(prompt.mask_kji.shape),
            "ijk_to_ras": prompt.ijk_to_ras.tolist(),
            "bits_zlib_base64": base64.b64encode(packed).decode("ascii"),
        }
    return record | {field.name: getattr(prompt, field.name) for field in dataclasses.fields(prompt)}


def prompt_from_record(record: Any) -> Prompt:
    """Return the prompt that `record` describes.

    Raises:
        PromptError: it describes none.
    """
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str) or record["kind"] not in _TYPES:
        known = ", ".join(_TYPES)
        raise PromptError(f"expected a prompt with a kind out of {known}, got {_shown(record)}")
    prompt_type = _TYPES[str(record["kind"])]
    values = {key: value for key, value in record.items() if key != "kind"}
    if prompt_type is MaskPrompt:
        return _mask_from_record(values)
    names = {field.name for field in dataclasses.fields(prompt_type)}
    if unknown := sorted(set(values) - names):
        raise PromptError(f"expected {', '.join(sorted(names))} for a {record['kind']}, got {', '.join(unknown)[:60]}")
    if not isinstance(values.get("positive", True), bool):
        raise PromptError(f"expected true or false for positive, got {_shown(values['positive'])}")
    try:
        return prompt_type(**values)
    except TypeError as error:
        raise PromptError(f"expected a complete {record['kind']}, got {_shown(values)}: {error}") from error


def _mask_voxels(record: Any) -> int:
    """Return how many voxels a record's mask has; 0 where it is no mask's, or is refused for what it claims."""
    shape = record.get("shape_kji") if isinstance(record, dict) and record.get("kind") == "mask" else None
    is_one = isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)
    size = math.prod(shape) if is_one and shape is not None else 0
    return size if size <= MOST_MASK_VOXELS else 0


def _mask_from_record(values: dict[str, Any]) -> MaskPrompt:
    try:
        size = _mask_voxels({"kind": "mask"} | values)
        if size == 0:
            raise ValueError(f"shape_kji {_shown(values['shape_kji'])}")
        decompressor = zlib.decompressobj()
        # Bounded by what the shape can hold: a small file must not unpack into all of the memory.
        packed = decompressor.decompress(base64.b64decode(values["bits_zlib_base64"]), (size + 7) // 8 + 1)
        if len(packed) != (size + 7) // 8:
            raise ValueError(f"{8 * len(packed)} bits for {size} voxels")
        mask = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=size).view(bool)
        return MaskPrompt(mask.reshape(values["shape_kji"]), values["ijk_to_ras"])
    except (KeyError, TypeError, OverflowError, zlib.error, ValueError) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(
            f"expected a mask prompt with shape_kji, ijk_to_ras and bits_zlib_base64 that fit: {error}"
        ) from error


def _shown(value: Any) -> str:
    """Return what an error shows of `value`: never all of it, which may be megabytes."""
    return reprlib.repr(value)[:60]


def _list(mapping: dict[str, Any], key: str) -> list[Any]:
    value = mapping.get(key)
    if not isinstance(value, list):
        raise PromptError(f"expected a list of {key}, got {_shown(value)}")
    return value
