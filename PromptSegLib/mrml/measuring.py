"""Segmentation and volume nodes as what is measured: in world RAS, as the views show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from PromptSegLib.errors import PromptSegError, SceneError, VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.measurement.dicom_header import read_header_of_files, suv_factor
from PromptSegLib.measurement.follow_up import TimePoint
from PromptSegLib.measurement.image_unit import read_measured_image
from PromptSegLib.measurement.measure import SUV, Measurement, Ruler, measure
from PromptSegLib.measurement.segmentation import Entry, Segmentation, reference_box
from PromptSegLib.measurement.table import as_csv, rows_of
from PromptSegLib.mrml.layers import Layer, all_layers, label_of, layer_of
from PromptSegLib.mrml.transforms import matrix_between
from PromptSegLib.mrml.volumes import volume_from_node
from PromptSegLib.volume import Volume
from PromptSegLib.worklist.worklist import Worklist

_HOUNSFIELD = "[hnsf'U]"
_IS_SUV = "{SUVbw}g/ml"


@dataclass(frozen=True)
class ValueUnit:
    """What the values of a volume are. factor: to SUV, None where there are none; problem: why not, for PET."""

    name: str = ""
    factor: float | None = None
    problem: str = ""


def segmentation_from_node(segmentation_node: Any) -> Segmentation:
    """Return the segments of a node by their names, in world RAS; a second one of a name is called "name (2)".

    Voxels are shared with the node where its layers are of one size.

    Raises:
        SceneError: segments lie on different grids.
        GeometryError: under a nonlinear transform.
    """
    segmentation = segmentation_node.GetSegmentation()
    layers = all_layers(segmentation)
    to_world = matrix_between(segmentation_node, None)
    name = segmentation_node.GetName() or ""
    if not layers:
        return Segmentation(
            Grid((1, 1, 1), to_world), [np.zeros((1, 1, 1), bool)], _entries(segmentation, []), None, name
        )
    if any(not np.allclose(layer.ijk_to_ras, layers[0].ijk_to_ras, rtol=0, atol=1e-6) for layer in layers):
        raise SceneError(
            f"expected segments on one grid in {segmentation_node.GetName()!r}, got several; resample them"
        )
    extent = layers[0].extent
    for layer in layers:
        extent = extent.union(layer.extent)
    arrays: list[NDArray[Any]] = [layer.array if layer.extent == extent else layer.read(extent) for layer in layers]
    lattice = Grid(extent.stop_kji, to_world @ layers[0].ijk_to_ras)
    return Segmentation(lattice.cropped(extent), arrays, _entries(segmentation, layers), None, name)


def _entries(segmentation: Any, layers: Sequence[Layer]) -> list[Entry]:
    """Return the segments by name, with their places in `layers`."""
    entries: list[Entry] = []
    for segment_id in segmentation.GetSegmentIDs():
        layer_here = layer_of(segmentation, segment_id)
        index = next((n for n, one in enumerate(layers) if layer_here and one.image is layer_here.image), None)
        name = segmentation.GetSegment(segment_id).GetName() or segment_id
        same = sum(entry.name == name or entry.name.startswith(f"{name} (") for entry in entries)
        called = f"{name} ({same + 1})" if same else name
        # A segment without voxels is on no layer: value 0 is in none of them.
        entries.append(Entry(called, index or 0, label_of(segmentation, segment_id) if index is not None else 0))
    return entries


def volume_in_world(volume_node: Any) -> Volume:
    """Return a volume node's voxels, shared with it, in world RAS.

    Raises:
        PromptSegError: as `volume_from_node`.
    """
    volume = volume_from_node(volume_node)
    return Volume(volume.array, matrix_between(volume_node, None) @ volume.ijk_to_ras, volume.name)


def value_unit(volume_node: Any, factor: float | None = None) -> ValueUnit:
    """Return what a volume's values are: what Slicer's DICOM reader said, or the headers of its files say.

    factor: what the user says turns them into SUV, which comes first.
    """
    if factor is not None:
        return ValueUnit(SUV, factor)
    units = volume_node.GetVoxelValueUnits() if hasattr(volume_node, "GetVoxelValueUnits") else None
    code = units.GetCodeValue() if units is not None else ""
    if code == _IS_SUV:
        return ValueUnit(SUV, 1.0)
    if code == _HOUNSFIELD:
        return ValueUnit("HU")
    try:
        header = read_header_of_files(dicom_files(volume_node), volume_node.GetName() or "")
    except VolumeError:  # its files were moved: the volume is here all the same, its unit not known
        return ValueUnit()
    if header is None:
        return ValueUnit()
    if not header.is_pet:
        return ValueUnit(header.unit)
    try:
        return ValueUnit(SUV, suv_factor(header))
    except VolumeError as error:
        return ValueUnit(header.unit, problem=str(error))


def dicom_files(volume_node: Any) -> list[Path]:
    """Return the DICOM files that a volume was read from, as far as Slicer's database knows them."""
    database = getattr(slicer, "dicomDatabase", None)
    uids = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None:
        return []
    return [Path(name) for uid in uids if (name := database.fileForInstance(uid))]


def measure_nodes(
    segmentation_node: Any, volume_node: Any, unit: ValueUnit | None = None, names: Sequence[str] | None = None
) -> list[Measurement]:
    """Measure the segments of a node, all or those of `names`, on the volume, in world RAS.

    A volume of colour is left out: sizes are measured.

    Raises:
        GeometryError: it is not on the segments' grid.
    """
    found = segmentation_from_node(segmentation_node)
    has_voxels = bool(all_layers(segmentation_node.GetSegmentation()))
    volume = volume_in_world(volume_node) if volume_node is not None and has_voxels else None
    if volume is not None and volume.components > 1:
        found, volume = replace(found, whole=reference_box(found.grid, volume.grid)), None
    known = unit or ValueUnit()
    ruler = Ruler(found, volume, known.name, known.factor)
    return [ruler.segment(name) for name in (found.names if names is None else names)]


def time_point_from_nodes(segmentation_node: Any, volume_node: Any) -> TimePoint:
    """Return a segmentation and its volume, if there is one, as a time point in world RAS."""
    volume = volume_in_world(volume_node) if volume_node is not None else None
    unit = value_unit(volume_node) if volume_node is not None else ValueUnit()
    if volume is not None and volume.components > 1:
        volume = None
    return TimePoint(
        segmentation_node.GetName() or "",
        segmentation_from_node(segmentation_node),
        volume,
        unit=unit.name,
        suv_factor=unit.factor,
    )


def measured_list(worklist: Worklist) -> tuple[str, list[str]]:
    """Measure the saved cases of a worklist; return one CSV of all, and why others are not in it."""
    rows, cases, failed = [], [], []
    for case in worklist.cases:
        if not case.is_done:
            continue
        try:
            image = read_measured_image(case.image)
            found = measure(case.segmentation, image.volume, unit=image.unit, suv_factor=image.suv_factor)
        except PromptSegError as error:
            failed.append(f"{case.name}: {' '.join(str(error).split())}")
            continue
        here = rows_of(found)
        rows += here
        cases += [case.name] * len(here)
    return as_csv(rows, cases), failed


def volume_of(segmentation_node: Any) -> Any:
    """Return the volume that a segmentation was made on, None when the scene does not say."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentation_node.GetNodeReference(role)
