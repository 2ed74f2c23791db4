"""A segmentation read from a file: Slicer's .seg.nrrd with names and layers, or a labelmap in any readable format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.io.image_file import Paths, open_image
from PromptSegLib.measurement.segmentation import Entry, Segmentation, affine_and_extent, checked_labels, reference_box
from PromptSegLib.volume import Volume

_GEOMETRY = re.compile(r"Reference image geometry\|([^|]*)\|")


def read_segmentation(path: Paths, names: Mapping[str, int] | None = None) -> Segmentation:
    """Read the segments of a file. names: values of a labelmap by name, see `Segmentation.of_labels`.

    Raises VolumeError when it cannot be read or holds no labels, PromptError when a named value is not in it.
    """
    file = Path(path)
    if file.name.lower().endswith(".seg.nrrd") and file.is_file():
        fields, volumes = _read_nrrd(file)
        if "Segment0_LabelValue" in fields or "Segment0_Name" in fields:
            return _of_fields(file, fields, volumes)
    image_file = open_image(file)
    if image_file.time_points > 1:
        raise VolumeError(f"expected a labelmap of one volume, got {image_file.time_points} in {file}")
    return Segmentation.of_labels(image_file.volume(), names)


def _read_nrrd(path: Path) -> tuple[dict[str, str], list[Volume]]:
    """Return the fields of a NRRD file and its layers."""
    from PromptSegLib.io.itk import affine_of, read_array, read_header

    reader = read_header(path, "NRRD", "NrrdImageIO")
    fields = {key: str(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}
    array = read_array(reader, path, "NRRD")
    if array.ndim == 3:
        array = array[..., None]
    try:
        matrix = affine_of(reader)
        return fields, [Volume(np.ascontiguousarray(array[..., n]), matrix, path.name) for n in range(array.shape[3])]
    except GeometryError as error:
        raise VolumeError(f"{path}: {error}") from error


def _of_fields(path: Path, fields: Mapping[str, str], volumes: list[Volume]) -> Segmentation:
    """Return the segments that Slicer's fields speak of; of two with one name, the second is called "name (2)"."""
    entries: list[Entry] = []
    number = 0
    while f"Segment{number}_LabelValue" in fields or f"Segment{number}_Name" in fields:
        name = fields.get(f"Segment{number}_Name") or fields.get(f"Segment{number}_ID") or f"segment {number + 1}"
        layer = _whole(path, fields, f"Segment{number}_Layer", 0)
        value = _whole(path, fields, f"Segment{number}_LabelValue", number + 1)
        if layer >= len(volumes):
            raise VolumeError(f"expected a layer below {len(volumes)} for {name!r} in {path}, got {layer}")
        same = sum(entry.name == name or entry.name.startswith(f"{name} (") for entry in entries)
        entries.append(Entry(f"{name} ({same + 1})" if same else name, layer, value))
        number += 1
    grid = volumes[0].grid
    return Segmentation(grid, [checked_labels(one) for one in volumes], entries, _image_box(fields, grid), path.name)


def _whole(path: Path, fields: Mapping[str, str], key: str, default: int) -> int:
    text = fields.get(key, str(default)).strip()
    if not text.isdecimal():
        raise VolumeError(f"expected a whole number as {key} in {path}, got {text!r}")
    return int(text)


def _image_box(fields: Mapping[str, str], grid: Grid) -> Extent | None:
    """Return the box of the image that was segmented: Slicer's files keep the part that holds something, alone."""
    found = _GEOMETRY.search(fields.get("Segmentation_ConversionParameters", ""))
    try:
        numbers = [float(number) for number in found.group(1).split(";") if number] if found else []
        if len(numbers) != 22:
            return None
        matrix, extent = affine_and_extent(numbers)
        return reference_box(grid, Grid(extent.stop_kji, matrix).cropped(extent))
    except (ValueError, GeometryError):  # it is a hint, and the segments are there without it
        return None
