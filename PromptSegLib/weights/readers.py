"""State dicts from every kind of checkpoint file, without executing anything that a file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.disk_errors import plain_errors
from PromptSegLib.weights.layout import Layout
from PromptSegLib.weights.npz import is_npz, read_npz
from PromptSegLib.weights.safetensors_copy import read_safetensors
from PromptSegLib.weights.torchfile import is_torch_file, open_torch_file

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_SHOWN = 8  # how many keys of a kind an error message names


def read_state_dict(path: Path | str, layout: Layout | None = None) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint: torch.save (both formats), safetensors or .npz, recognised by content.

    Only the state dict's numbers are read, no optimizer's beside it. Tensors that share a storage still do.

    Args:
        layout: where the state dict is and what its keys carry; by default it is looked for.

    Raises:
        WeightsError: missing, damaged, malicious, or no state dict where the layout says.
    """
    path, layout = Path(path), layout or Layout()
    with plain_errors():
        if not path.is_file():
            raise WeightsError(f"there is no file {path}")
        if is_npz(path):
            return layout.rename({key: _tensor(key, array, path) for key, array in read_npz(path).items()})
        if is_torch_file(path):
            file = open_torch_file(path)
            return {key: file.tensor(ref) for key, ref in file.state_dict(layout).items()}
        return layout.rename(read_safetensors(path)[0])


def _tensor(key: str, array: NDArray[Any], path: Path) -> torch.Tensor:
    import torch

    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} holds {key!r} of type {array.dtype}, which is no tensor's: {error}") from error


def check_state_dict(network_shapes: Mapping[str, Sequence[int]], state_dict: Mapping[str, torch.Tensor]) -> None:
    """Refuse a state dict that is not exactly the network's.

    Args:
        network_shapes: shape by key, `{key: tensor.shape for key, tensor in network.state_dict().items()}`.

    Raises:
        WeightsError: lists the keys that are missing, unexpected or of another shape.
    """
    found = {key: tuple(tensor.shape) for key, tensor in state_dict.items()}
    wanted = {key: tuple(shape) for key, shape in network_shapes.items()}
    differing = [key for key in wanted if found.get(key, wanted[key]) != wanted[key]]
    faults = [
        _listed("missing", [key for key in wanted if key not in found]),
        _listed("unexpected", [key for key in found if key not in wanted]),
        _listed("of another shape", [f"{k} (expected {wanted[k]}, got {found[k]})" for k in differing]),
    ]
    if any(faults):
        raise WeightsError("the weights do not fit the network:\n  " + "\n  ".join(filter(None, faults)))


def _listed(title: str, keys: list[str]) -> str:
    """One line: how many, and the first few."""
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {title}: {', '.join(keys[:_SHOWN])}{more}" if keys else ""
