"""How much memory something takes that came from elsewhere, such as what a predictor wants to see again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from PromptSegLib.prompts import Prompt

_DEEPEST = 8


def memory_nbytes(value: Any) -> int:
    """Return the bytes of the arrays, tensors and texts in `value`: mappings, sequences and objects are looked into.

    Prompts in it count nothing: they are kept in any case.
    """
    return _nbytes(value, set(), _DEEPEST)


def _nbytes(value: Any, seen: set[int], depth: int) -> int:
    if value is None or isinstance(value, bool | int | float | type | Prompt) or id(value) in seen or depth < 0:
        return 0
    seen.add(id(value))
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(value, Mapping):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        parts = list(getattr(value, "__dict__", {}).values())
    return sum(_nbytes(part, seen, depth - 1) for part in parts)
