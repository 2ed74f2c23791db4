"""Weights that follow from state-dict keys alone: reference outputs can be met without shipping weights.

Every tensor is drawn from NumPy's default generator seeded with the CRC-32 of its key, then scaled so that
activations stay near 1 through a deep network.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

KeySpec = Mapping[str, Any]


def state_dict_from_keys(path_or_spec: str | Path | KeySpec, part: str | None = None) -> dict[str, torch.Tensor]:
    """State dict for a key list `{key: [shape, dtype]}`, given as a mapping or as the path of its JSON file.

    A list in which one tensor has several names is `{"keys": {…}, "aliases": {alias: first name}}`; an alias
    has the values of its first name. `part` picks one network from a file that lists several by name.
    """
    shapes, aliases = shapes_and_aliases(path_or_spec, part)
    return {key: tensor_from_key(aliases.get(key, key), *shape_dtype) for key, shape_dtype in shapes.items()}


def shapes_and_aliases(
    path_or_spec: str | Path | KeySpec, part: str | None = None
) -> tuple[dict[str, tuple[tuple[int, ...], str]], dict[str, str]]:
    """`{key: (shape, dtype)}` and `{alias: first name}` of a key list (see `state_dict_from_keys`)."""
    if isinstance(path_or_spec, str | Path):
        path_or_spec = json.loads(Path(path_or_spec).read_text(encoding="utf-8"))
    spec = path_or_spec if part is None else path_or_spec[part]
    aliases = dict(spec.get("aliases", {}))
    keys = spec["keys"] if "aliases" in spec else spec
    return {key: (tuple(shape), dtype) for key, (shape, dtype) in keys.items()}, aliases


def tensor_from_key(key: str, shape: tuple[int, ...], dtype: str = "float32") -> torch.Tensor:
    """One entry's values: integers are 0; variances and norm weights lie near 1, other vectors near 0."""
    if dtype.startswith("int"):
        return torch.zeros(shape, dtype=getattr(torch, dtype))
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    # A scalar is drawn in double precision, which takes another value from the generator than float32 does.
    noise = generator.standard_normal(shape, dtype=np.float32) if shape else generator.standard_normal()
    name = key.rpartition(".")[2]
    if name == "running_var":
        values = 1 + 0.1 * np.abs(noise)
    elif name == "weight" and len(shape) == 1:
        values = 1 + 0.1 * noise
    elif len(shape) <= 1:
        values = 0.1 * noise
    else:
        values = noise / np.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
