"""A segmentation read from a file: Slicer's .seg.nrrd with names and layers, or a labelmap in any readable format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.io.image_file import ImageFile, Paths
from PromptSegLib.io.reading import open_image
from PromptSegLib.io.segment_fields import StoredSegment, reference_geometry, stored_segments
from PromptSegLib.measurement.segmentation import Entry, Segmentation, affine_and_extent, checked_labels, reference_box


def read_segmentation(path: Paths, names: Mapping[str, int] | None = None) -> Segmentation:
    """Read the segments of a file. names: values of a labelmap by name, see `Segmentation.of_labels`.

    Raises:
        VolumeError: it cannot be read or holds no labels.
        PromptError: a named value is not in it.
    """
    image_file = open_image(path)
    segments = stored_segments(image_file.path) if image_file.path.suffix.lower() == ".nrrd" else ()
    if segments:
        return _of_segments(image_file, segments)
    if image_file.time_points > 1:
        raise VolumeError(f"expected a labelmap of one volume, got {image_file.time_points} in {path}")
    return Segmentation.of_labels(image_file.volume(), names)


def _of_segments(file: ImageFile, segments: Sequence[StoredSegment]) -> Segmentation:
    """Return segments by their names; of two with one name, the second is called "name (2)"."""
    entries: list[Entry] = []
    for number, segment in enumerate(segments, start=1):
        name = segment.name or f"segment {number}"
        if not 0 <= segment.layer < file.time_points:
            raise VolumeError(f"expected a layer below {file.time_points} for {name!r} in {file.path}")
        same = sum(entry.name == name or entry.name.startswith(f"{name} (") for entry in entries)
        entries.append(Entry(f"{name} ({same + 1})" if same else name, segment.layer, segment.value))
    volumes = [file.volume(layer) for layer in range(file.time_points)]
    grid = volumes[0].grid
    labels = [checked_labels(one) for one in volumes]
    return Segmentation(grid, labels, entries, _image_box(file.path, grid), file.path.name)


def _image_box(path: Path, grid: Grid) -> Extent | None:
    """Return the box of the image that was segmented: Slicer's files keep the part that holds something, alone."""
    numbers = reference_geometry(path)
    if len(numbers) != 22 or not np.isfinite(numbers).all():
        return None
    matrix, extent = affine_and_extent(numbers)
    try:
        return reference_box(grid, Grid(extent.stop_kji, matrix).cropped(extent))
    except GeometryError:  # it is a hint, and the segments are there without it
        return None
