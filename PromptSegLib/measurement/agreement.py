"""How far two readers agree: two segmentations of one image compared, and the readings of a list."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray, Patch
from PromptSegLib.errors import GeometryError, PromptSegError
from PromptSegLib.geometry import AxisMap, Extent, FloatArray, Grid
from PromptSegLib.io.image_file import Paths
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.measurement.segmentation_file import read_segmentation
from PromptSegLib.worklist.case import WorklistCase
from PromptSegLib.worklist.worklist import Worklist

_OUTLIERS = 95  # percentile


@dataclass(frozen=True)
class Agreement:
    """How far two masks of one segment agree.

    dice: 0 to 1; two empty masks agree. distance_mm: mean distance of either surface from the other. farthest_mm: HD95,
    within which 95 % of either surface is from the other. Both are None where one has nothing. first_ml, second_ml,
    both_ml: volumes.
    """

    segment: str
    dice: float
    distance_mm: float | None
    farthest_mm: float | None
    first_ml: float
    second_ml: float
    both_ml: float

    @property
    def only_first_ml(self) -> float:
        return self.first_ml - self.both_ml

    @property
    def only_second_ml(self) -> float:
        return self.second_ml - self.both_ml


@dataclass(frozen=True)
class Readings:
    """Two readings of one image, compared. problem: why they could not be; nothing when they were."""

    first: WorklistCase
    second: WorklistCase
    segments: tuple[Agreement, ...] = ()
    problem: str = ""


def agreement(first: Segmentation | Paths, second: Segmentation | Paths) -> tuple[Agreement, ...]:
    """Compare the segments of two segmentations, or files, by their names; one that only one has agrees in nothing.

    Raises:
        GeometryError: they are on grids whose voxels are not the same.
        VolumeError: a file cannot be read.
    """
    mine = first if isinstance(first, Segmentation) else read_segmentation(first)
    other = second if isinstance(second, Segmentation) else read_segmentation(second)
    found = []
    for name in dict.fromkeys([*mine.names, *other.names]):
        ours, theirs, _ = masks_of_both(mine, other, name)
        found.append(_compared(name, ours, theirs, mine.grid))
    return tuple(found)


def masks_of_both(mine: Segmentation, other: Segmentation, name: str) -> tuple[BoolArray, BoolArray, Extent]:
    """Return a segment's mask in either, (k, j, i) in the box of `mine`'s lattice that is returned with them.

    The box may reach beyond the grid of `mine`.

    Raises:
        GeometryError: as `agreement`.
    """
    patches = [_patch(mine, name), _moved(_patch(other, name), other, mine.grid)]
    boxes = [patch.extent for patch in patches if patch is not None]
    if not boxes:
        nothing = np.zeros((0, 0, 0), dtype=bool)
        return nothing, nothing, Extent((0, 0, 0), (0, 0, 0))
    box = boxes[0].union(boxes[-1])
    masks = []
    for patch in patches:
        mask = np.zeros(box.shape_kji, dtype=bool)
        if patch is not None:
            mask[patch.extent.slices_within(box)] = patch.mask_kji
        masks.append(mask)
    return masks[0], masks[1], box


def mask_on(segmentation: Segmentation, name: str, grid: Grid) -> BoolArray:
    """Return a segment's mask: (k, j, i) on `grid`, what lies outside of it left out.

    Raises:
        GeometryError: as `agreement`.
    """
    mask = np.zeros(grid.shape_kji, dtype=bool)
    patch = _moved(_patch(segmentation, name), segmentation, grid)
    if patch is not None and (inside := patch.extent.intersection(grid.extent)).size:
        mask[inside.slices] = patch.mask_kji[inside.slices_within(patch.extent)]
    return mask


def compared_readings(worklist: Worklist, readers: Sequence[str] = ()) -> list[Readings]:
    """Compare the readings of each image that have segmentations, two by two.

    readers: the two whose readings are wanted; all by default.
    """
    found = []
    for case in worklist.cases:
        readings = worklist.readings(case)
        if readings[0].key != case.key:
            continue
        saved = [one for one in readings if one.is_saved and (not readers or one.reader in readers)]
        found += [_read(first, second) for first, second in combinations(saved, 2)]
    return found


def agreements_as_csv(rows: Iterable[tuple[str, str, str, Agreement]]) -> str:
    """Return (case, first reader, second reader, agreement) as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("case", "first", "second", "segment", "dice", "surface_mm", "hd95_mm", "first_mL", "second_mL", "both_mL")
    )
    for case, first, second, one in rows:
        distances = ["" if mm is None else f"{mm:.3f}" for mm in (one.distance_mm, one.farthest_mm)]
        volumes = [f"{ml:.4f}" for ml in (one.first_ml, one.second_ml, one.both_ml)]
        writer.writerow((case, first, second, one.segment, f"{one.dice:.4f}", *distances, *volumes))
    return text.getvalue()


def surface_distances_mm(first: BoolArray, second: BoolArray, spacing_kji_mm: FloatArray) -> tuple[float, float] | None:
    """Return the mean distance and HD95 of two masks' surfaces: (k, j, i), of one shape; None where one is empty.

    HD95 is the larger one of both directions.
    """
    if not (first.any() and second.any()):
        return None
    borders = [_border(np.pad(mask, 1)) for mask in (first, second)]
    fields = [ndimage.distance_transform_edt(~border, sampling=spacing_kji_mm) for border in borders]
    there, back = fields[1][borders[0]], fields[0][borders[1]]
    farthest = max(np.percentile(there, _OUTLIERS), np.percentile(back, _OUTLIERS))
    return float(np.concatenate([there, back]).mean()), float(farthest)


def _border(mask: BoolArray) -> BoolArray:
    # Along an axis of a single voxel there is no surface: the outline on the slice is it.
    flat = [axis for axis, n in enumerate(mask.shape) if n == 3]
    structure = ndimage.generate_binary_structure(3, 1)
    for axis in flat:
        structure[tuple(0 if a == axis else slice(None) for a in range(3))] = False
        structure[tuple(2 if a == axis else slice(None) for a in range(3))] = False
    return np.asarray(mask & ~ndimage.binary_erosion(mask, structure))


def _compared(name: str, ours: BoolArray, theirs: BoolArray, grid: Grid) -> Agreement:
    mine, other, both = (int(np.count_nonzero(mask)) for mask in (ours, theirs, ours & theirs))
    distance_mm, farthest_mm = surface_distances_mm(ours, theirs, grid.spacing_kji_mm) or (None, None)
    dice = 2 * both / (mine + other) if mine + other else 1.0
    ml = grid.voxel_mm3 / 1000
    return Agreement(name, dice, distance_mm, farthest_mm, mine * ml, other * ml, both * ml)


def _patch(segmentation: Segmentation, name: str) -> Patch | None:
    return segmentation.patch(name) if name in segmentation.names else None


def _moved(patch: Patch | None, source: Segmentation, grid: Grid) -> Patch | None:
    if patch is None:
        return None
    axis_map = AxisMap.between(source.grid, grid.ijk_to_ras)
    if axis_map is None:
        raise GeometryError(
            f"expected two segmentations on one grid, got {grid.describe_bounds()} and "
            f"{source.grid.describe_bounds()}, whose voxels are not the same"
        )
    return Patch(axis_map.extent(patch.extent), axis_map.from_source(patch.mask_kji))


def _read(first: WorklistCase, second: WorklistCase) -> Readings:
    try:
        return Readings(first, second, agreement(first.segmentation, second.segmentation))
    except PromptSegError as error:
        return Readings(first, second, problem=" ".join(str(error).split()))
