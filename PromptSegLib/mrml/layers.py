"""The labelmaps of a segmentation, box by box: which voxels belong to which segment, on which layer.

Slicer keeps segments that do not overlap in one shared labelmap, a layer, each under its label value. A layer holds
a box of voxels (its extent) of a lattice; outside of it nothing is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent, FloatArray, apply_affine, flip_axes
from PromptSegLib.mrml.transforms import array_from_matrix, matrix_from_array

BINARY_LABELMAP = "Binary labelmap"
CLOSED_SURFACE = "Closed surface"


@dataclass(frozen=True, eq=False)
class Layer:
    """One labelmap of a segmentation. array: the voxels of `extent`, (k, j, i), shared with the node."""

    image: Any
    extent: Extent
    array: NDArray[Any]
    segmentation: Any

    @cached_property
    def segment_ids(self) -> tuple[str, ...]:
        return tuple(self.segmentation.GetSegmentIDsForDataObject(self.image, BINARY_LABELMAP))

    @cached_property
    def ijk_to_ras(self) -> FloatArray:
        """4x4 from the lattice's indices to the segmentation's own RAS."""
        return image_matrix(self.image)

    def read(self, extent: Extent) -> NDArray[Any]:
        """Return a copy of the labels within `extent`, which may reach beyond the layer's own."""
        labels = np.zeros(extent.shape_kji, dtype=self.array.dtype)
        common = extent.intersection(self.extent)
        if common.size:
            labels[common.slices_within(extent)] = self.array[common.slices_within(self.extent)]
        return labels


def layer_of(segmentation: Any, segment_id: str) -> Layer | None:
    """Return the layer that holds the segment, or None when it has no labelmap, or an empty one."""
    return _as_layer(segmentation, segmentation.GetSegment(segment_id).GetRepresentation(BINARY_LABELMAP))


def all_layers(segmentation: Any) -> list[Layer]:
    """Return every layer that holds voxels, each once."""
    images = [segmentation.GetSegment(key).GetRepresentation(BINARY_LABELMAP) for key in segmentation.GetSegmentIDs()]
    different = {id(image): image for image in images if image is not None}.values()
    return [layer for image in different if (layer := _as_layer(segmentation, image)) is not None]


def _as_layer(segmentation: Any, image: Any) -> Layer | None:
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    extent = Extent((k0, j0, i0), (k1 + 1, j1 + 1, i1 + 1))
    if extent.size == 0:
        return None
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(extent.shape_kji)
    return Layer(image, extent, array, segmentation)


def is_on_lattice(layer: Layer, ijk_to_ras: FloatArray) -> bool:
    """Tell whether the voxels of `layer` have the very indices of the lattice `ijk_to_ras`."""
    return bool(np.allclose(layer.ijk_to_ras, ijk_to_ras, rtol=0, atol=1e-6))


def new_layer(segmentation: Any, segment_id: str, extent: Extent, ijk_to_ras: FloatArray) -> Layer:
    """Give the segment a layer of its own, without voxels as yet, for those of `extent`."""
    image = oriented_image(np.zeros(extent.shape_kji, dtype=bool), extent, ijk_to_ras)
    segment = segmentation.GetSegment(segment_id)
    segment.SetLabelValue(1)
    segment.AddRepresentation(BINARY_LABELMAP, image)
    return _known_layer(segmentation, segment_id)


def join_layer(segmentation: Any, segment_id: str, layer: Layer) -> Layer:
    """Let the segment share `layer`, under a label that is free there, without voxels as yet."""
    label = segmentation.GetUniqueLabelValueForSharedLabelmap(layer.segment_ids[0])
    slicer.vtkOrientedImageDataResample.CastImageForValue(layer.image, label)
    segment = segmentation.GetSegment(segment_id)
    segment.SetLabelValue(label)
    segment.AddRepresentation(BINARY_LABELMAP, layer.image)
    return _known_layer(segmentation, segment_id)


def _known_layer(segmentation: Any, segment_id: str) -> Layer:
    layer = layer_of(segmentation, segment_id)
    assert layer is not None
    return layer


def grown_layer(segmentation: Any, layer: Layer, extent: Extent) -> Layer:
    """Make room on `layer` for the voxels of `extent`, and return it as it is then."""
    union = layer.extent.union(extent)
    labels = layer.read(union)
    layer.image.SetExtent(*vtk_extent(union))
    layer.image.GetPointData().SetScalars(numpy_to_vtk(labels.ravel(), deep=True))
    return _known_layer(segmentation, layer.segment_ids[0])


def label_of(segmentation: Any, segment_id: str) -> int:
    return int(segmentation.GetSegment(segment_id).GetLabelValue())


def read_segment(segmentation: Any, segment_id: str, extent: Extent) -> BoolArray:
    """Return the voxels of `extent`, in the lattice of the segment's layer, that belong to the segment."""
    layer = layer_of(segmentation, segment_id)
    if layer is None:
        return np.zeros(extent.shape_kji, dtype=bool)
    return np.asarray(layer.read(extent) == label_of(segmentation, segment_id))


def oriented_image(mask_kji: BoolArray, extent: Extent, ijk_to_ras: FloatArray) -> Any:
    """Return `mask_kji`, the voxels of `extent`, as vtkOrientedImageData of 0 and 1 in the lattice `ijk_to_ras`."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*vtk_extent(extent))
    image.SetGeometryFromImageToWorldMatrix(matrix_from_array(ijk_to_ras))
    values = np.ascontiguousarray(mask_kji, dtype=np.uint8).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(values, deep=True))
    return image


def vtk_extent(extent: Extent) -> tuple[int, ...]:
    """Return `extent` as VTK writes it: i0, i1, j0, j1, k0, k1, the last voxels included."""
    starts, stops = flip_axes(extent.start_kji), flip_axes(extent.stop_kji)
    return tuple(int(v) for pair in zip(starts, stops - 1, strict=True) for v in pair)


def image_matrix(image: Any) -> FloatArray:
    """Return the 4x4 from a vtkOrientedImageData's indices to its frame."""
    matrix = matrix_from_array(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    return array_from_matrix(matrix)


def sampled_image(image: Any, extent: Extent, ijk_to_ras: FloatArray, outside: float) -> NDArray[Any]:
    """Return the values of a vtkOrientedImageData nearest to the voxels of `extent` in the lattice `ijk_to_ras`."""
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    ranges = [np.arange(a, b) for a, b in zip(extent.start_kji, extent.stop_kji, strict=True)]
    index_ijk = flip_axes(np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1))
    found = apply_affine(np.linalg.inv(image_matrix(image)) @ ijk_to_ras, index_ijk)
    nearest = flip_axes(np.floor(np.round(found + 0.5, 6))).astype(np.int64) - (k0, j0, i0)
    inside = ((nearest >= 0) & (nearest < array.shape)).all(axis=-1)
    values = np.full(extent.shape_kji, outside, dtype=np.float64)
    values[inside] = array[tuple(nearest[inside].T)]
    return values
