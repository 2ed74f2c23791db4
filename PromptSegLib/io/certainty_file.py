"""How sure a model was of each voxel of what it proposed, in a file beside the segmentation: NumPy's .npz.

`segments` holds a JSON list of names; for each, by its number, `extent_0`, (2, 3), first and last plus one voxel k, j,
i, and `probability_0`, (k, j, i) uint8, 255 for certain, in that box of the grid `shape_kji`, `ijk_to_ras`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.io.output_file import replacing


def write_certainties(path: Path, certainties: Mapping[str, Certainty], grid: Grid) -> None:
    """Write `certainties`, all on `grid`, by the names of their segments.

    Raises:
        VolumeError: as `replacing`.
    """
    arrays: dict[str, Any] = {
        "segments": np.array(json.dumps(list(certainties))),
        "shape_kji": np.array(grid.shape_kji),
        "ijk_to_ras": grid.ijk_to_ras,
    }
    for number, certainty in enumerate(certainties.values()):
        arrays[f"extent_{number}"] = np.array([certainty.extent.start_kji, certainty.extent.stop_kji])
        arrays[f"probability_{number}"] = np.rint(255 * certainty.probability_kji).astype(np.uint8)
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def read_certainties(path: Path, grid: Grid) -> dict[str, Certainty]:
    """Return what `write_certainties` wrote, by the names of segments.

    Raises:
        VolumeError: it is no such file.
        GeometryError: it is of another grid than `grid`.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = json.loads(str(file["segments"]))
            written = Grid(_triple(file["shape_kji"]), file["ijk_to_ras"])
            boxes = [Extent(*map(_triple, file[f"extent_{number}"])) for number in range(len(names))]
            levels = [file[f"probability_{number}"] for number in range(len(names))]
            if any(array.dtype != np.uint8 for array in levels):
                raise ValueError("probabilities are no bytes")
            found = [Certainty.of(box, array / np.float32(255)) for box, array in zip(boxes, levels, strict=True)]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise VolumeError(f"expected how sure a model was, as a proposal leaves it, got {path}: {error}") from error
    if not written.matches(grid):
        raise GeometryError(f"expected {path} on the grid of the image, got one of {written.describe_bounds()}")
    if any(not grid.extent.contains(box) for box in boxes):
        raise VolumeError(f"expected boxes within {grid.shape_kji} in {path}, got others")
    return dict(zip(map(str, names), found, strict=True))


def _triple(values: object) -> tuple[int, int, int]:
    k, j, i = (int(v) for v in np.asarray(values))
    return k, j, i
