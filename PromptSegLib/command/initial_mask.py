"""A mask file to go on from, on the image's grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import PromptError, VolumeError
from PromptSegLib.geometry import AxisMap, Grid
from PromptSegLib.io import open_image
from PromptSegLib.io.image_file import ImageFile
from PromptSegLib.io.segment_fields import StoredSegment, says_something, stored_segments
from PromptSegLib.label_values import as_labels, described_range, set_voxels
from PromptSegLib.session.session import Session
from PromptSegLib.structures.names import find_structure

# Parts of a voxel that a mask may be beside the image's: some programs write four digits of the spacing.
_SAME_VOXEL = 0.1
# Lossy pictures smear the rim of a mask: what is nearer to white is set.
_LOSSY, _GREY = "JPEG", 128


@dataclass(frozen=True, eq=False)
class _Part:
    """What a target begins with. mask_kji: (k, j, i), bool, on the image's grid. what: words for what it was."""

    mask_kji: BoolArray
    what: str

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.mask_kji))


def start_from_mask(
    session: Session, path: Path, values: Mapping[str, int], chosen: Collection[str] | None = None
) -> list[str]:
    """Fill the targets of `session` from a mask file, and return what was taken, in a line for each.

    In a segmentation of Slicer names count: a target takes the segment of its name, or a name of the same structure;
    the only segment, if nobody named it, is the only target's. In a labelmap it takes its value out of `values`; a
    mask of a single value goes to the only target, whatever its value. Probabilities are set from 0.5 on.
    chosen: targets whose value the user gave, all by default; one that got a value by itself takes no part of a
    labelmap of several.

    Raises:
        PromptError: a target is not in it.
        VolumeError: it is no mask on the image's grid.
    """
    file = open_image(path)
    grid, targets = session.image.grid, session.targets
    segments = stored_segments(path) if path.suffix.lower() == ".nrrd" else ()
    if segments:
        layers = {layer: _layer(file, path, layer, grid) for layer in {segment.layer for segment in segments}}
        parts = {target: _named(target, targets, segments, layers, path) for target in targets}
    else:
        if file.time_points > 1:
            raise VolumeError(f"expected an initial mask without overlaps, got {file.time_points} layers in {path}")
        voxels = _layer(file, path, 0, grid)
        is_chosen = chosen is None or not set(targets).isdisjoint(chosen)
        parts = {
            target: _valued(target, values[target], voxels, path, len(targets) == 1, is_chosen, file.format == _LOSSY)
            for target in targets
        }
    for target, part in parts.items():
        session.select(target)
        session.set_mask(part.mask_kji)
    return [f"{target!r} begins with {part.what}, {part.voxels} voxels of {path}" for target, part in parts.items()]


def _named(
    target: str,
    targets: Collection[str],
    segments: tuple[StoredSegment, ...],
    layers: Mapping[int, NDArray[Any]],
    path: Path,
) -> _Part:
    """Return the segment that `target` is called after."""
    matching = [segment for segment in segments if segment.name == target] or [
        segment for segment in segments if _means(segment.name, target)
    ]
    is_free = len(segments) == len(targets) == 1 and not (segments[0].is_named and says_something(target))
    segment = matching[0] if matching else segments[0] if is_free else None
    mask = layers[segment.layer] == segment.value if segment is not None else None
    if segment is None or mask is None or not mask.any():
        names = ", ".join(repr(segment.name) for segment in segments[:9]) + (", …" if len(segments) > 9 else "")
        reason = f"got {names}: say which by --label NAME=VALUE" if segment is None else "got nothing set"
        raise PromptError(f"expected a segment named {target!r} in {path}, {reason}")
    return _Part(mask, f"the segment {segment.name!r}")


def _means(name: str, target: str) -> bool:
    """Tell whether both are names of the same structure, or the same words."""
    one, other = find_structure(name), find_structure(target)
    if one is not None and other is not None:
        return one is other
    return " ".join(name.split()).casefold() == " ".join(target.split()).casefold()


def _valued(
    target: str, value: int, voxels: NDArray[Any], path: Path, is_only: bool, is_chosen: bool, is_lossy: bool
) -> _Part:
    """Return what has the value of `target`, or all there is for the only target of a mask of one value."""
    if is_lossy:
        return _checked(_Part(voxels >= _GREY, f"what is {_GREY} or brighter"), target, value, path, [])
    labels = as_labels(voxels)
    if labels is None:
        mask = set_voxels(voxels) if is_only else None
        if mask is None:
            wanted = "labels or probabilities from 0 to 1" if is_only else "whole numbers as labels"
            raise VolumeError(f"expected {wanted} in {path}, got {described_range(voxels)}")
        return _checked(_Part(mask, "probabilities of 0.5 and more"), target, value, path, [])
    present = np.unique(labels[labels != 0])
    if is_only and len(present) <= 1:
        return _checked(_Part(labels != 0, f"value {present[0]:g}" if len(present) else ""), target, value, path, [])
    if is_only and not is_chosen:
        raise PromptError(f"expected --label NAME=VALUE to say which value of {path} is meant, got {_listed(present)}")
    return _checked(_Part(labels == value, f"value {value} out of {len(present)}"), target, value, path, present)


def _checked(part: _Part, target: str, value: int, path: Path, present: Any) -> _Part:
    if not part.mask_kji.any():
        found = _listed(present) if len(present) else "nothing set"
        raise PromptError(f"expected {target!r}, value {value}, in {path}, got {found}")
    return part


def _listed(present: NDArray[Any]) -> str:
    return "the values " + ", ".join(f"{value:g}" for value in present[:9]) + (", …" if len(present) > 9 else "")


def _layer(file: ImageFile, path: Path, layer: int, grid: Grid) -> NDArray[Any]:
    """Return the voxels of a layer of a file, on `grid`; the file may order and turn the axes otherwise."""
    volume = file.volume(layer)
    if volume.components > 1:
        raise VolumeError(f"expected an initial mask of one value a voxel, got {volume!r}")
    axis_map = AxisMap.between(volume.grid, grid.ijk_to_ras, _SAME_VOXEL)
    if axis_map is not None:
        extent = axis_map.extent(volume.grid.extent)
        # Slicer's segmentations keep only the part of the grid that holds something.
        is_part = path.name.lower().endswith(".seg.nrrd") and grid.extent.contains(extent)
        if extent == grid.extent or is_part:
            voxels = np.zeros(grid.shape_kji, dtype=volume.array.dtype)
            voxels[extent.slices] = axis_map.from_source(volume.array)
            return voxels
    raise VolumeError(
        f"expected an initial mask on the image's grid, {grid.shape_kji} (k, j, i) at {grid.describe_bounds()}, "
        f"got {volume.grid.shape_kji} at {volume.grid.describe_bounds()} in {path}"
    )
