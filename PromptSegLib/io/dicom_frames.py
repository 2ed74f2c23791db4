"""The frames of a DICOM file: where each lies, what its stored values mean, and which volume it belongs to.

For classic files the one frame, for enhanced (multi-frame) ones each with its own place, spacing and slope, as the
functional groups say (DICOM PS3.3, C.7.6.16); for dose grids by their offsets, for SPECT by its slice vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.geometry import LPS_FROM_RAS, FloatArray
from PromptSegLib.io.dicom_header import DicomFile, understood
from PromptSegLib.io.numbers import integer

# What tells frames of one place apart, the surest first. Enhanced objects also have their dimension index.
_MARKS = (
    "TemporalPositionIndex",
    "TemporalPositionIdentifier",
    "TemporalPositionTimeOffset",
    "ReferencedSegmentNumber",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "DiffusionBValue",
    "AcquisitionNumber",
    "AcquisitionTime",
    "AcquisitionDateTime",
)
# Dimensions that only say which slice of a stack a frame is; its position says so, too.
_SPATIAL_DIMENSIONS = {0x00209056, 0x00209057, 0x00200032, 0x0020930E, 0x00201041, 0x00209113}

# Axes of a slice may be off the right angle by this: they are written with few digits.
_RIGHT_ANGLE = 1e-3


@dataclass(frozen=True)
class Scale:
    """From stored values to real ones: `slope` and `intercept`, or a table that begins with the value `first`."""

    slope: float = 1.0
    intercept: float = 0.0
    first: int = 0
    table: NDArray[Any] | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class Frame:
    """A slice. index: in its file, from 0. slice_to_ras: 4x4, its third column a unit vector across the slice.

    is_placed: whether the file says where in the patient it lies; if not, its corner is at the origin.
    marks: what tells it from other frames at its place, by name. instance: the file's number in its series.
    """

    file: DicomFile
    index: int
    shape_ji: tuple[int, int]
    slice_to_ras: FloatArray
    is_placed: bool
    thickness_mm: float
    scale: Scale
    marks: dict[str, Any]
    instance: int

    @property
    def origin_ras(self) -> FloatArray:
        return self.slice_to_ras[:3, 3]


@dataclass(frozen=True, eq=False)
class FileFrames:
    """The frames of a file as they are stored, and what to tell about them."""

    frames: tuple[Frame, ...]
    notes: tuple[str, ...]


def frames_of(file: DicomFile) -> FileFrames:
    """Return the frames of a file with an image.

    Raises:
        VolumeError: they do not say where they lie, or wrongly.
    """
    with understood(file.path):
        return _Reader(file).read()


class _Reader:
    def __init__(self, file: DicomFile) -> None:
        self.file = file
        self.dataset = file.dataset
        self.notes: list[str] = []
        self.count = integer(file.text("NumberOfFrames") or "1")
        self.shape_ji = (int(self.dataset.Rows), int(self.dataset.Columns))
        groups = self.dataset.get("PerFrameFunctionalGroupsSequence")
        self.groups: Sequence[Any] = groups or ()
        self.shared = (self.dataset.get("SharedFunctionalGroupsSequence") or [None])[0]

    def read(self) -> FileFrames:
        if self.count < 1 or min(self.shape_ji) < 1:
            raise self.file.error(f"it has {self.count} frames of {self.shape_ji[0]} x {self.shape_ji[1]}")
        if "TotalPixelMatrixColumns" in self.dataset:
            raise self.file.error("its frames are tiles of a whole slide; an image of one piece is needed")
        if self.groups and len(self.groups) != self.count:
            raise self.file.error(f"it has {self.count} frames, and {len(self.groups)} descriptions of frames")
        places = self._places()
        thickness = self._thickness()
        scaled = {self._item("PixelValueTransformationSequence", index) is not None for index in range(self.count)}
        if len(scaled) > 1:
            raise self.file.error("some of its frames have a slope, others have none")
        scales = [self._scale(index) for index in range(self.count)]
        if "DoseGridScaling" in self.dataset:
            self.notes.append(f"values are as stored; times {self.file.text('DoseGridScaling')} they are the dose")
        if self.file.text("PhotometricInterpretation") == "MONOCHROME1":
            self.notes.append("its values are as stored, low ones are bright (MONOCHROME1); Slicer turns them over")
        instance = self.file.text("InstanceNumber")
        frames = tuple(
            Frame(
                file=self.file,
                index=index,
                shape_ji=self.shape_ji,
                slice_to_ras=matrix,
                is_placed=is_placed,
                thickness_mm=thickness,
                scale=scales[index],
                marks=self._marks(index),
                instance=int(instance) if instance.lstrip("-").isdecimal() else 0,
            )
            for index, (matrix, is_placed) in enumerate(places)
        )
        return FileFrames(frames, tuple(self.notes))

    def _item(self, name: str, index: int) -> Any:
        """Return the item of a functional group for a frame: its own, else the shared one, else None."""
        for group in (self.groups[index] if self.groups else None, self.shared):
            items = group.get(name) if group is not None else None
            if items:
                return items[0]
        return None

    def _group_value(self, group: str, name: str, index: int) -> Any:
        item = self._item(group, index)
        value = item.get(name) if item is not None else None
        return self.dataset.get(name) if value is None else value

    def _places(self) -> list[tuple[FloatArray, bool]]:
        """Return each frame's slice_to_ras, and whether it is placed."""
        if "SliceVector" in self.dataset and "DetectorInformationSequence" in self.dataset:
            return self._places_by_vector()
        own = [self._place(index) for index in range(self.count)]
        if self.count == 1 or not own[0][1] or self._has_own_places():
            return own
        if "GridFrameOffsetVector" in self.dataset:
            return self._shifted(own[0][0], self._dose_offsets())
        between = float(self.dataset.get("SpacingBetweenSlices") or 0)
        if not between > 0:
            raise self.file.error(f"it has {self.count} frames, and one position for all of them")
        self.notes.append(f"its frames have one position; they are taken as {between:g} mm apart, as in Slicer")
        return self._shifted(own[0][0], between * np.arange(self.count, dtype=np.float64))

    def _has_own_places(self) -> bool:
        names = ("PlanePositionSequence", "PlanePositionVolumeSequence")
        return all(any(self._item(name, index) is not None for name in names) for index in range(self.count))

    def _place(self, index: int, detector: Any = None) -> tuple[FloatArray, bool]:
        position = self._vector("PlanePositionSequence", "ImagePositionPatient", index, 3)
        axes = self._vector("PlaneOrientationSequence", "ImageOrientationPatient", index, 6)
        if position is None and axes is None and self._item("PlanePositionVolumeSequence", index) is not None:
            # Ultrasound: a frame of reference of the volume itself.
            position = self._vector("PlanePositionVolumeSequence", "ImagePositionVolume", index, 3)
            axes = self._vector("PlaneOrientationVolumeSequence", "ImageOrientationVolume", index, 6)
        if detector is not None:
            position = position if position is not None else _numbers(detector.get("ImagePositionPatient"))
            axes = axes if axes is not None else _numbers(detector.get("ImageOrientationPatient"))
        if position is None and axes is not None:
            axes = None
        if position is not None and axes is None:
            self._note("it has a position and no orientation; it is taken for axial, as in Slicer")
        is_placed = position is not None
        spacing = self._spacing(index, is_placed)
        row, column = self._axes(np.array([1.0, 0, 0, 0, 1, 0]) if axes is None else axes)
        matrix = np.eye(4)
        # PixelSpacing is (between rows, between columns): j, i. The first axis runs along a row.
        matrix[:3, 0], matrix[:3, 1] = row * spacing[1], column * spacing[0]
        matrix[:3, 2] = np.cross(row, column)
        if position is not None:
            matrix[:3, 3] = position
        return LPS_FROM_RAS @ matrix, is_placed

    def _axes(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        row, column = values[:3], values[3:]
        lengths = np.linalg.norm(row), np.linalg.norm(column)
        if max(abs(length - 1.0) for length in lengths) > 0.01 or abs(float(row @ column)) > _RIGHT_ANGLE:
            raise self.file.error(f"its orientation is {values.tolist()}; two unit vectors at a right angle are needed")
        return row / lengths[0], column / lengths[1]

    def _spacing(self, index: int, is_placed: bool) -> FloatArray:
        spacing = self._vector("PixelMeasuresSequence", "PixelSpacing", index, 2)
        for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImagePlanePixelSpacing"):
            if spacing is None:
                spacing = _numbers(self.dataset.get(name))
        if spacing is None:
            if is_placed:
                self._note("it has a position and no pixel spacing; 1 mm is taken, as in Slicer")
            return np.ones(2)
        if len(spacing) != 2 or not (np.isfinite(spacing) & (spacing > 0)).all():
            raise self.file.error(f"its pixel spacing is {spacing.tolist()}; two numbers above 0 are needed")
        return spacing

    def _thickness(self) -> float:
        """Return the step to a next slice, as far as a single one can tell; 1 when it does not."""
        for name in ("SpacingBetweenSlices", "SliceThickness"):
            value = float(self._group_value("PixelMeasuresSequence", name, 0) or 0)
            if math.isfinite(value) and value > 0:
                return value
        return 1.0

    def _vector(self, group: str, name: str, index: int, count: int) -> FloatArray | None:
        values = _numbers(self._group_value(group, name, index))
        if values is not None and (len(values) != count or not np.isfinite(values).all()):
            raise self.file.error(f"its {name} is {values.tolist()}; {count} finite numbers are needed")
        return values

    def _dose_offsets(self) -> FloatArray:
        """Return how far along the normal each frame of a dose grid lies from the first (PS3.3, C.8.8.3.2)."""
        offsets = _numbers(self.dataset.GridFrameOffsetVector)
        if offsets is None or len(offsets) != self.count or not np.isfinite(offsets).all():
            raise self.file.error(f"its GridFrameOffsetVector does not hold {self.count} finite numbers")
        first = _numbers(self.dataset.ImagePositionPatient)
        if offsets[0] != 0 and (first is None or abs(offsets[0] - first[2]) > 1e-3):
            raise self.file.error(
                f"its GridFrameOffsetVector begins with {offsets[0]:g}; 0 or the first frame's own position is needed"
            )
        if offsets[0] != 0:  # positions along the patient's axis, and not distances along the normal
            row_column = _numbers(self.dataset.ImageOrientationPatient)
            normal = np.cross(row_column[:3], row_column[3:]) if row_column is not None else np.zeros(3)
            if abs(abs(normal[2]) - 1.0) > _RIGHT_ANGLE:
                raise self.file.error("its GridFrameOffsetVector holds positions, and its slices are not axial")
            return np.asarray((offsets - offsets[0]) * np.sign(normal[2]))
        return offsets

    def _places_by_vector(self) -> list[tuple[FloatArray, bool]]:
        """Return the places of SPECT slices: so many steps from the first slice."""
        slices = _numbers(self.dataset.SliceVector)
        first, is_placed = self._place(0, self.dataset.DetectorInformationSequence[0])
        if slices is None or len(slices) != self.count:
            raise self.file.error(f"its SliceVector does not hold {self.count} numbers")
        step = float(self.dataset.get("SpacingBetweenSlices") or self._thickness())
        return [(matrix, is_placed) for matrix, _ in self._shifted(first, step * (slices - 1))]

    def _shifted(self, first: FloatArray, offsets_mm: FloatArray) -> list[tuple[FloatArray, bool]]:
        places = []
        for offset in offsets_mm:
            matrix = first.copy()
            matrix[:3, 3] += offset * first[:3, 2]
            places.append((matrix, True))
        return places

    def _scale(self, index: int) -> Scale:
        item = self._item("PixelValueTransformationSequence", index)
        source = self.dataset if item is None else item
        if table := source.get("ModalityLUTSequence"):
            return self._table(table[0])
        slope, intercept = source.get("RescaleSlope"), source.get("RescaleIntercept")
        if (slope is None) != (intercept is None) or (item is not None and slope is None):
            raise self.file.error(f"its slope is {slope}, its intercept {intercept}; both are needed, or none")
        scale = Scale(1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))
        if scale.slope == 0 or not (math.isfinite(scale.slope) and math.isfinite(scale.intercept)):
            raise self.file.error(f"its slope is {scale.slope:g}, its intercept {scale.intercept:g}")
        return scale

    def _table(self, item: Any) -> Scale:
        entries, first, bits = (int(value) for value in item.LUTDescriptor)
        data = item.LUTData
        dtype = np.uint8 if bits <= 8 else np.uint16
        if isinstance(data, bytes):
            words = "<u2" if self.file.is_little else ">u2"
            is_narrow = len(data) == (entries or 1 << 16)
            table: NDArray[Any] = np.frombuffer(data, np.uint8 if is_narrow else words)
        else:
            table = np.atleast_1d(np.asarray(data))
        if len(table) < (entries or 1 << 16):
            raise self.file.error(f"its table of {entries} values holds {len(table)}")
        return Scale(first=first, table=table[: entries or 1 << 16].astype(dtype))

    def _marks(self, index: int) -> dict[str, Any]:
        marks: dict[str, Any] = {}
        dimensions = self._dimension_index(index)
        if dimensions:
            marks["DimensionIndexValues"] = dimensions
        for name in _MARKS:
            value = self._find(name, index)
            if value is not None and str(value):
                marks[name] = value if isinstance(value, int | float) else str(value)
        for vector in ("TimeSlotVector", "TimeSliceVector", "PhaseVector", "EnergyWindowVector"):
            values = _numbers(self.dataset.get(vector))
            if values is not None and len(values) == self.count:
                marks[vector] = float(values[index])
        return marks

    def _find(self, name: str, index: int) -> Any:
        """Return an attribute of a frame, whichever of its functional groups holds it."""
        for group in (self.groups[index] if self.groups else None, self.shared):
            for element in group or ():
                if element.VR == "SQ" and element.value and element.value[0].get(name) is not None:
                    return element.value[0].get(name)
        return self.dataset.get(name)

    def _dimension_index(self, index: int) -> tuple[int, ...]:
        """Return a frame's indices in the dimensions other than those of space."""
        content = self._item("FrameContentSequence", index)
        values = content.get("DimensionIndexValues") if content is not None else None
        if values is None:
            return ()
        given = [int(value) for value in (values if not isinstance(values, int) else [values])]
        pointers = [int(item.DimensionIndexPointer) for item in self.dataset.get("DimensionIndexSequence") or ()]
        if len(pointers) != len(given):
            return ()
        return tuple(value for value, tag in zip(given, pointers, strict=True) if tag not in _SPATIAL_DIMENSIONS)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _numbers(values: Any) -> FloatArray | None:
    """Return an attribute's numbers, None when there are none."""
    if values is None or (not isinstance(values, int | float) and len(values) == 0):
        return None
    return np.atleast_1d(np.asarray(values, dtype=np.float64))
