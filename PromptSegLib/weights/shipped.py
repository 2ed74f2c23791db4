"""The weights that come inside the package: fp16 arrays by state-dict key and a configuration, in one .npz file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.npz import read_npz

CONFIGURATION = "configuration"
"""The array that holds the configuration: a JSON object as one string. All others are the state dict."""


def shipped_path(dims: int) -> Path:
    """Where the default model's weights for 2D or 3D lie; the file may be missing in a checkout without weights."""
    return Path(__file__).parent / "default" / f"prompt_unet_{dims}d.npz"


def read_shipped(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float16]]]:
    """(configuration, fp16 arrays by state-dict key) of such a file; numpy alone reads it, nothing is unpickled.

    The configuration holds at least the network's arguments ("dims", "widths") and "sizes", the sides in voxels of
    the grids it was trained on, the one to use last.

    Raises:
        WeightsError: missing, damaged, or without a configuration.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    arrays = read_npz(path)
    try:
        configuration = json.loads(str(arrays.pop(CONFIGURATION)))
    except (KeyError, ValueError) as error:
        raise WeightsError(f"expected a JSON object named {CONFIGURATION!r} in {path}") from error
    if not isinstance(configuration, dict) or not {"dims", "widths", "sizes"} <= configuration.keys():
        raise WeightsError(f"expected dims, widths and sizes in the configuration of {path}, got {configuration!r}")
    return configuration, arrays


def write_shipped(path: Path, configuration: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write such a file; arrays become fp16. The same content gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = np.array(json.dumps(dict(configuration), sort_keys=True))
    content = {key: np.asarray(array).astype(np.float16) for key, array in arrays.items()}
    part = path.with_name(path.name + ".part")  # whoever is killed meanwhile leaves no half file
    with part.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{CONFIGURATION: text, **content})
    part.replace(path)
