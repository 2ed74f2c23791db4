"""Segments measured: sizes, intensities, and of each part that does not touch the others the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from PromptSegLib.bitmask import Patch
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Extent, FloatArray, Grid, flip_axes
from PromptSegLib.io.image_file import Paths
from PromptSegLib.measurement.diameters import AxialDiameters, Diameter, axial_diameters, longest_diameter
from PromptSegLib.measurement.image_unit import read_measured_image
from PromptSegLib.measurement.intensity import Intensity, intensity_of, scaled
from PromptSegLib.measurement.parts import Parts, parts_of
from PromptSegLib.measurement.peak import highest_mean
from PromptSegLib.measurement.placed_image import PlacedImage, placed
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.measurement.segmentation_file import read_segmentation
from PromptSegLib.measurement.surface import surface_mm2
from PromptSegLib.volume import Volume

MOST_PARTS = 100
LEAST_ROUND = 30
SUV = "SUV"

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Uptake:
    """What is measured of PET. peak: SUVpeak, see `highest_mean`. tlg_g: SUVmean x volume, the volume being MTV."""

    peak: float | None
    tlg_g: float


@dataclass(frozen=True)
class Measurement:
    """What was measured of a segment, or of one part of it.

    part: 0 for the whole segment, 1 for its largest part. parts: those of a segment, the largest first, `MOST_PARTS` at
    most; part_count counts all. volume_ml: voxels times the determinant of the grid's affine. extent: the box of them.
    touches_border: whether it reaches the image's border, where the volume is a lower bound; None when it is not known
    where that is. centroid_ras: mean of the voxels' centres, mm. axial, longest: of the part where it is longest.
    surface_mm2: see `surface`. intensity: in `unit`, "SUV" when `uptake` is there; empty when the unit is not known.
    An empty segment has neither.
    """

    segment: str
    part: int
    voxels: int
    volume_ml: float
    unit: str = ""
    extent: Extent | None = None
    touches_border: bool | None = None
    centroid_ras: tuple[float, float, float] | None = None
    axial: AxialDiameters | None = None
    longest: Diameter | None = None
    surface_mm2: float | None = None
    intensity: Intensity | None = None
    uptake: Uptake | None = None
    part_count: int = 1
    parts: tuple[Measurement, ...] = ()

    @property
    def sphericity(self) -> float | None:
        """Surface of a ball of this volume by the surface: 1 for a ball, less for all else.

        None below `LEAST_ROUND` voxels, of which the surface is not known well enough: 4 % for a ball of 33 voxels.
        """
        if not self.surface_mm2 or self.voxels < LEAST_ROUND:
            return None
        return float(math.pi ** (1 / 3) * (6000 * self.volume_ml) ** (2 / 3) / self.surface_mm2)


def measure(
    segmentation: Segmentation | Paths,
    image: Volume | Paths | None = None,
    *,
    names: Sequence[str] | None = None,
    unit: str = "",
    suv_factor: float | None = None,
    shapes: bool = True,
    progress: Progress = lambda fraction, what: None,
) -> tuple[Measurement, ...]:
    """Measure segments, each with its parts.

    segmentation: masks (`Segmentation.of_masks`), or a file. image: the image they are of, on the same grid, whose axes
    may be permuted, flipped or cropped; without it, sizes alone are measured. names: of the segments that are wanted,
    all of them by default. unit: of the image's values, such as "HU". suv_factor: what turns them into SUV; then SUVs
    are measured. Of a DICOM file or series the header says both, where it can, see `read_measured_image`. shapes:
    whether to measure diameters and surfaces, which take the longest.

    Raises:
        VolumeError: something cannot be read.
        GeometryError: something does not fit.
        PromptError: a segment is not there.
    """
    if image is None and suv_factor is not None:
        raise VolumeError("expected an image to measure SUVs of, got none")
    found = segmentation if isinstance(segmentation, Segmentation) else read_segmentation(segmentation)
    if image is None or isinstance(image, Volume):
        volume = image
    else:
        read = read_measured_image(image, unit=unit, factor=suv_factor)
        volume, unit, suv_factor = read.volume, read.unit, read.suv_factor
    ruler = Ruler(found, volume, SUV if suv_factor else unit, suv_factor, shapes)
    measured = []
    wanted = found.names if names is None else tuple(names)
    for number, name in enumerate(wanted):
        progress(number / len(wanted), f"measuring {name}")
        measured.append(ruler.segment(name))
    return tuple(measured)


class Ruler:
    """Measures the segments of one segmentation, on the image that it is of."""

    def __init__(
        self,
        segmentation: Segmentation,
        volume: Volume | None,
        unit: str = "",
        suv_factor: float | None = None,
        shapes: bool = True,
    ) -> None:
        self._segmentation = segmentation
        self._image: PlacedImage | None = placed(volume, segmentation.grid) if volume is not None else None
        self._whole = self._image.extent if self._image else segmentation.whole
        self._unit = unit
        self._factor = suv_factor
        self._shapes = shapes

    @property
    def _grid(self) -> Grid:
        return self._segmentation.grid

    def segment(self, name: str) -> Measurement:
        """Measure a segment and its parts.

        Raises:
            PromptError: there is none of that name.
        """
        patch = self._segmentation.patch(name)
        if patch is None:
            return Measurement(name, 0, 0, 0.0, self._unit, part_count=0)
        parts = parts_of(patch)
        measured = tuple(self._measured(name, n + 1, parts[n]) for n in range(min(len(parts), MOST_PARTS)))
        if len(parts) == 1:
            return replace(measured[0], part=0, parts=measured)
        whole = self._measured(name, 0, patch, shapes=False)
        if self._shapes:
            axial, longest = _longest_of(measured, parts, self._grid)
            whole = replace(whole, axial=axial, longest=longest, surface_mm2=self._surface(patch))
        return replace(whole, part_count=len(parts), parts=measured)

    def part(self, name: str, number: int, patch: Patch) -> Measurement:
        """Measure one part of a segment alone. patch: its voxels, on the segmentation's grid."""
        return self._measured(name, number, patch)

    def _measured(self, name: str, number: int, patch: Patch, shapes: bool = True) -> Measurement:
        voxels = int(np.count_nonzero(patch.mask_kji))
        volume_ml = voxels * self._grid.voxel_mm3 / 1000
        measurement = Measurement(
            name,
            number,
            voxels,
            volume_ml,
            self._unit,
            patch.extent,
            self._touches(patch.extent),
            centroid_ras(patch, self._grid),
        )
        if self._image is not None:
            measurement = self._with_values(measurement, patch, self._image)
        if shapes and self._shapes:
            grid = self._grid.cropped(patch.extent)
            axial = axial_diameters(patch.mask_kji, grid)
            measurement = replace(
                measurement,
                axial=replace(axial, slice=axial.slice + patch.extent.start_kji[axial.axis]),
                longest=longest_diameter(patch.mask_kji, grid),
                surface_mm2=self._surface(patch),
            )
        return measurement

    def _with_values(self, measurement: Measurement, patch: Patch, image: PlacedImage) -> Measurement:
        intensity = intensity_of(image.within(patch.extent)[patch.mask_kji])
        if intensity is None or self._factor is None:
            return replace(measurement, intensity=intensity)
        in_suv = scaled(intensity, self._factor)
        box = patch.extent.shifted([-start for start in image.extent.start_kji])
        peak = highest_mean(patch.mask_kji, box, image.values_kji, self._grid)
        uptake = Uptake(None if peak is None else peak * self._factor, in_suv.mean * measurement.volume_ml)
        return replace(measurement, intensity=in_suv, uptake=uptake)

    def _surface(self, patch: Patch) -> float:
        return surface_mm2(patch.mask_kji, self._grid)

    def _touches(self, extent: Extent) -> bool | None:
        """Tell whether a box reaches the border of the image; across a single slice there is none to reach."""
        if self._whole is None:
            return None
        bounds = zip(extent.start_kji, extent.stop_kji, self._whole.start_kji, self._whole.stop_kji, strict=True)
        return any(last - first > 1 and (start <= first or stop >= last) for start, stop, first, last in bounds)


def centroid_ras(patch: Patch, grid: Grid) -> tuple[float, float, float]:
    """Return the mean of the centres of the voxels that are set in a box of `grid`, in mm."""
    count = np.count_nonzero(patch.mask_kji)
    means = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        along = np.count_nonzero(patch.mask_kji, axis=others)
        means.append(float(along @ np.arange(len(along))) / count + patch.extent.start_kji[axis])
    r, a, s = (float(value) for value in grid.to_ras(flip_axes(means)))
    return r, a, s


def _longest_of(measured: Sequence[Measurement], parts: Parts, grid: Grid) -> tuple[AxialDiameters, Diameter]:
    """Return the diameters of the part that has the longest, those that were not measured yet among them."""
    axial = max((one.axial for one in measured if one.axial), key=lambda one: one.longest.length_mm)
    longest = max((one.longest for one in measured if one.longest), key=lambda one: one.length_mm)
    for index in range(len(measured), len(parts)):
        slices = parts.boxes[int(parts.numbers[index]) - 1]
        if _diagonal_mm(slices, grid) <= axial.longest.length_mm:  # no longer than the longest in 3D, either
            continue
        patch = parts[index]
        box = grid.cropped(patch.extent)
        other = axial_diameters(patch.mask_kji, box)
        if other.longest.length_mm > axial.longest.length_mm:
            axial = replace(other, slice=other.slice + patch.extent.start_kji[other.axis])
        longest = max(longest, longest_diameter(patch.mask_kji, box), key=lambda one: one.length_mm)
    return axial, longest


def _diagonal_mm(slices: tuple[slice, ...], grid: Grid) -> float:
    """Return the longest diagonal of a box of voxels, sheared or not."""
    size: FloatArray = flip_axes([s.stop - s.start for s in slices])
    corners = np.array([[a, b, 1] for a in (-1, 1) for b in (-1, 1)]) * size
    return float(np.linalg.norm(corners @ grid.ijk_to_ras[:3, :3].T, axis=1).max())
