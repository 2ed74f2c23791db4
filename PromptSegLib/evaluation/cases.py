"""What is segmented in a benchmark: one structure in one image, with its truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import flip_axes
from PromptSegLib.io import read_volume
from PromptSegLib.label_values import as_labels, described_range, set_voxels
from PromptSegLib.prompts import VoxelScribble
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume
from PromptSegLib.weights.npz import read_npz


@dataclass(frozen=True)
class BenchmarkCase:
    """One structure in one image.

    dataset, image_name, structure: what tables call them. image, truth: files; the same .npz can hold both. values:
    which of the truth's values are the structure, none for all that are not 0. window: the intensities that matter.
    """

    dataset: str
    image_name: str
    structure: str
    image: Path
    truth: Path
    values: tuple[int, ...] = ()
    window: Window | None = None

    @property
    def key(self) -> str:
        """What names the case in results, the same wherever the data lie."""
        return f"{self.dataset}/{self.image_name}/{self.structure}"

    def load(self) -> LoadedCase:
        """Read image and truth.

        Raises:
            VolumeError: they cannot be read or do not fit together.
        """
        volume = _read_image(self.image, _written(self.image))
        truth = read_truth(self.truth)
        if truth.shape != volume.grid.shape_kji:
            raise VolumeError(f"expected labels of shape {volume.grid.shape_kji} in {self.truth}, got {truth.shape}")
        mask = np.isin(truth, self.values) if self.values else truth != 0
        if not mask.any():
            raise VolumeError(f"expected a voxel of {self.structure} in {self.truth}, got none")
        return LoadedCase(self, volume, mask, _read_scribbles(self.image, volume))


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case with its voxels.

    truth_kji: bool, of the image's shape. scribbles: what people drew, for each of them first on the structure, then
    beside it; empty where nobody did.
    """

    case: BenchmarkCase
    volume: Volume
    truth_kji: BoolArray
    scribbles: tuple[tuple[VoxelScribble, ...], ...] = ()

    @property
    def dimensions(self) -> int:
        """2 for a slice, 3 for a volume."""
        return 2 if self.volume.grid.is_single_slice else 3


def is_npz(path: Path) -> bool:
    """Tell whether `path` holds named arrays in place of an image format."""
    return path.suffix.lower() == ".npz"


def read_truth(path: Path) -> NDArray[Any]:
    """Return the labels in a file : (k, j, i); of a picture with colours, where any of them is not 0.

    Probabilities count from 0.5 on, NaN is 0.

    Raises:
        VolumeError: for other fractions.
    """
    return _read_truth(path, _written(path))


def _written(path: Path) -> int:
    """Return when the file was written, so that one that is written anew is read anew; 0 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


# Structure after structure, images follow one another: the last two suffice.
@lru_cache(maxsize=2)
def _read_image(path: Path, written: int) -> Volume:
    if not is_npz(path):
        return read_volume(path)
    return Volume(_as_kji(_arrays(path, written)["image"], path), name=path.name)


@lru_cache(maxsize=2)
def _read_truth(path: Path, written: int) -> NDArray[Any]:
    if is_npz(path):
        array = _as_kji(_arrays(path, written)["mask"], path)
    else:
        array = read_volume(path).array
        array = array.max(axis=-1) if array.ndim == 4 else array
    labels = as_labels(array)
    if labels is None:
        labels = set_voxels(array)
    if labels is None:
        raise VolumeError(f"expected labels in {path}, got {described_range(array)}")
    return labels


def _read_scribbles(path: Path, volume: Volume) -> tuple[tuple[VoxelScribble, ...], ...]:
    """Return the scribbles that an .npz holds as (people, 2, j, i): on the structure, beside it."""
    if not is_npz(path) or "scribbles" not in (arrays := _arrays(path, _written(path))):
        return ()
    drawn = arrays["scribbles"]
    people = []
    for pair in drawn:
        strokes = []
        for positive, marked in zip((True, False), pair, strict=True):
            index = np.argwhere(_as_kji(marked, path))
            if len(index):
                positions = volume.grid.to_ras(flip_axes(index))
                strokes.append(VoxelScribble(tuple(map(tuple, positions.tolist())), positive))
        if strokes:
            people.append(tuple(strokes))
    return tuple(people)


@lru_cache(maxsize=2)
def _arrays(path: Path, written: int) -> dict[str, NDArray[Any]]:
    try:
        arrays = read_npz(path)
    except OSError as error:  # WeightsError is one
        raise VolumeError(f"expected a readable .npz file, got {path}: {error}") from error
    if missing := {"image", "mask"} - set(arrays):
        raise VolumeError(f"expected arrays image and mask in {path}, got {', '.join(arrays)}: {missing} missing")
    if arrays["image"].dtype == np.float16:
        arrays["image"] = arrays["image"].astype(np.float32)
    return arrays


def _as_kji(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.ndim not in (2, 3):
        raise VolumeError(f"expected arrays (j, i) or (k, j, i) in {path}, got shape {array.shape}")
    return array[None] if array.ndim == 2 else array
