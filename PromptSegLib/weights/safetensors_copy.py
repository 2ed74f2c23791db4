"""State dicts as safetensors: kept of a checkpoint after its first reading, memory-mapped from then on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.inert_pickle import ITEM_BYTES, TensorRef
from PromptSegLib.weights.layout import Layout
from PromptSegLib.weights.partfile import PartFile, require_room
from PromptSegLib.weights.torchfile import open_torch_file

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

_LONGEST_HEADER = 4 << 20  # 30,000 tensors; one of 80 MB took 60 s and 2.2 GB to read

_TYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def write_safetensors_copy(
    source: Path, target: Path, layout: Layout, source_sha256: str, cancel: CancelToken | None = None
) -> str:
    """Write the state dict of a torch.save file as safetensors, one tensor in memory at a time; its SHA-256.

    Names of one and the same tensor are stored once, the others in the metadata "aliases".

    Raises:
        WeightsError: the source is damaged, malicious or holds no state dict, or the copy cannot be written.
    """
    file = open_torch_file(source)
    first: dict[TensorRef, str] = {}
    aliases = {}
    for key, ref in file.state_dict(layout).items():
        if first.setdefault(ref, key) != key:
            aliases[key] = first[ref]
    # Larger elements first, so that each tensor begins at a multiple of its element's size in the memory map.
    names = sorted(((key, ref) for ref, key in first.items()), key=lambda item: -ITEM_BYTES[item[1].dtype])
    metadata = {"source_sha256": source_sha256, "layout": repr(layout), "aliases": json.dumps(aliases)}
    header = _safetensors_header(names, metadata)
    require_room(target.parent, len(header) + sum(ref.nbytes for _, ref in names), target.name)
    part = PartFile(target)
    try:
        part.open(0, cancel)
        part.write(header)
        for position, (_, ref) in enumerate(names):
            part.write(_raw(file.tensor(ref)))
            if position + 1 == len(names) or names[position + 1][1].storage != ref.storage:
                file.forget()
        return part.finish()
    finally:
        part.discard()


def read_safetensors_copy(path: Path, layout: Layout, source_sha256: str) -> dict[str, torch.Tensor] | None:
    """The memory-mapped tensors of a copy, None when it was made of another file or with another layout.

    Raises:
        WeightsError: it is damaged, or no copy.
    """
    tensors, metadata = read_safetensors(path)
    if metadata.get("source_sha256") != source_sha256 or metadata.get("layout") != repr(layout):
        return None
    try:
        return tensors | {alias: tensors[key] for alias, key in json.loads(metadata["aliases"]).items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: its aliases are no table of its tensors") from error


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors as views of the memory-mapped file, metadata).

    Raises:
        WeightsError: it is no such file, or its header is longer than any checkpoint's.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise WeightsError(f"reading {path} needs the package safetensors, or it is no checkpoint") from error
    try:
        with path.open("rb") as start:
            header_bytes = int.from_bytes(start.read(8), "little")
        if header_bytes > min(_LONGEST_HEADER, path.stat().st_size):
            raise ValueError(f"a header of {header_bytes:,} bytes is claimed")
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{path} is no checkpoint (torch.save, safetensors or .npz): {error}") from error


def _safetensors_header(names: Iterable[tuple[str, TensorRef]], metadata: Mapping[str, str]) -> bytes:
    """Length (8 bytes, little endian) and JSON of a safetensors file, padded to let the tensors begin aligned."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for key, ref in names:
        if ref.dtype not in _TYPES:
            raise WeightsError(f"{key} is of type {ref.dtype}, which safetensors does not know")
        start, end = end, end + ref.nbytes
        entries[key] = {
            "dtype": _TYPES[ref.dtype],
            "shape": list(ref.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _raw(tensor: torch.Tensor) -> memoryview:
    """The tensor's numbers as bytes, in C order; copied only where it is no contiguous view."""
    import torch

    array: NDArray[np.uint8] = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return array.data
