"""A segmentation read from a file: Slicer's .seg.nrrd with names and layers, or a labelmap in any readable format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.io.image_file import ImageFile, Paths
from PromptSegLib.io.reading import open_image
from PromptSegLib.io.segment_fields import StoredSegment, fields_of, stored_segments
from PromptSegLib.measurement.segmentation import Entry, Segmentation, affine_and_extent, checked_labels, reference_box

_GEOMETRY = re.compile(r"Reference image geometry\|([^|]*)\|")


def read_segmentation(path: Paths, names: Mapping[str, int] | None = None) -> Segmentation:
    """Read the segments of a file. names: values of a labelmap by name, see `Segmentation.of_labels`.

    Raises VolumeError when it cannot be read or holds no labels, PromptError when a named value is not in it.
    """
    file = Path(path)
    image_file = open_image(file)
    segments = stored_segments(file) if file.suffix.lower() == ".nrrd" else ()
    if segments:
        return _of_segments(image_file, segments)
    if image_file.time_points > 1:
        raise VolumeError(f"expected a labelmap of one volume, got {image_file.time_points} in {file}")
    return Segmentation.of_labels(image_file.volume(), names)


def _of_segments(file: ImageFile, segments: Sequence[StoredSegment]) -> Segmentation:
    """Return the segments that Slicer's fields speak of; of two with one name, the second is called "name (2)"."""
    entries: list[Entry] = []
    for number, segment in enumerate(segments, start=1):
        name = segment.name or f"segment {number}"
        if not 0 <= segment.layer < file.time_points:
            raise VolumeError(
                f"expected a layer below {file.time_points} for {name!r} in {file.path}, got {segment.layer}"
            )
        same = sum(entry.name == name or entry.name.startswith(f"{name} (") for entry in entries)
        entries.append(Entry(f"{name} ({same + 1})" if same else name, segment.layer, segment.value))
    layers = [checked_labels(file.volume(layer)) for layer in range(file.time_points)]
    grid = file.volume(0).grid
    return Segmentation(grid, layers, entries, _image_box(fields_of(file.path), grid), file.path.name)


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
