"""Segments as the masks of a session: what stands in the segmentation node is the truth."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from PromptSegLib.bitmask import BitMask, BoolArray, MaskDelta, Patch
from PromptSegLib.geometry import Extent, FloatArray, Grid
from PromptSegLib.mrml.layers import Layer, all_layers, image_matrix, label_of, layer_of, read_segment, vtk_extent
from PromptSegLib.mrml.placement import Placement, placement_of
from PromptSegLib.mrml.segment_writer import SegmentWriter
from PromptSegLib.mrml.transforms import matrix_between, matrix_from_array
from PromptSegLib.mrml.volumes import volume_from_node
from PromptSegLib.structures import find_structure
from PromptSegLib.terminology import terminology_entry

_log = logging.getLogger(__name__)


@dataclass
class _Known:
    """A segment as it was seen last. mask: the voxels of the placement's box. signature: changes when it does."""

    mask: BitMask
    signature: tuple[Any, ...]


class SegmentMaskStore:
    """The segments of `segmentation_node` as masks on the grid of `volume_node`; keys are segment IDs.

    Writes follow the masking and the overwrite mode of `editor_node` and touch only the changed box. A segmentation
    whose lattice is a permutation, flip or crop of the volume's is written exactly, whatever linear transforms both
    are under; another one voxel by nearest voxel, with a warning in the log.

    history: see `SegmentWriter`. Extents of the changes that it returns are in the segmentation's lattice;
    `image_extent` brings them to the volume's. Raises GeometryError when a transform between the two is not linear.
    """

    def __init__(self, volume_node: Any, segmentation_node: Any, editor_node: Any, history: Any = None) -> None:
        self._volume_node = volume_node
        self._node = segmentation_node
        self._grid = volume_from_node(volume_node).grid
        self.writer = SegmentWriter(segmentation_node, editor_node, history)
        self._known: dict[str, _Known] = {}
        self._shape: tuple[int, int, int] | None = None
        self._frames = np.zeros((2, 4, 4))
        self.revision = 0
        self._placement = self._place()

    # The MaskStore protocol

    def add(self, name: str) -> str:
        key = str(self._segmentation.AddEmptySegment("", name))
        if (structure := find_structure(name)) is not None:
            segment = self._segmentation.GetSegment(key)
            segment.SetColor(*structure.colour)
            if entry := terminology_entry(structure):
                segment.SetTerminology(entry)
        return key

    def keys(self) -> tuple[str, ...]:
        return tuple(self._segmentation.GetSegmentIDs())

    def find(self, name: str) -> str | None:
        return str(self._segmentation.GetSegmentIdBySegmentName(name)) or None

    def read(self, key: str, extent: Extent) -> BoolArray:
        placement = self._place()
        box = placement.extent_s(extent)
        patch = placement.to_volume(Patch(box, read_segment(self._segmentation, key, box)))
        mask = np.zeros(extent.shape_kji, dtype=bool)
        common = patch.extent.intersection(extent)
        mask[common.slices_within(extent)] = patch.mask_kji[common.slices_within(patch.extent)]
        return mask

    def snapshot(self, key: str) -> BitMask | None:
        placement = self._place()
        known = self._seen(key).mask
        if placement.is_identity:
            return known.copy() if known.any() else None
        bounds = known.bounds()
        if bounds is None:
            return None
        patch = placement.to_volume(Patch(bounds.shifted(placement.box_s.start_kji), known.read(bounds)))
        common = patch.extent.intersection(self._grid.extent)
        mask = BitMask(self._grid.shape_kji)
        mask.write(common, patch.mask_kji[common.slices_within(patch.extent)])
        return mask

    def is_empty(self, key: str) -> bool:
        """Tell whether nothing is set, as of the last write or `foreign_edits`."""
        self._place()
        return not self._seen(key).mask.any()

    def write(self, key: str, patch: Patch) -> dict[str, MaskDelta]:
        placement = self._place()
        self._seen(key)
        target, speaks = placement.to_segmentation(patch)
        before = read_segment(self._segmentation, key, target.extent)
        added = target.mask_kji & ~before & speaks
        removed = before & ~target.mask_kji & speaks
        changed = Extent.of_mask(added | removed)
        if changed is None:
            return {}
        extent = changed.shifted(target.extent.start_kji)
        pictures = self._pictures(extent)
        self.writer.write(key, extent, added[changed.slices], removed[changed.slices], self._ijk_to_ras)
        deltas = self._differences(extent, pictures, key)
        self.writer.mark_outdated(deltas)
        self._remember(deltas)
        return deltas

    def apply(self, key: str, delta: MaskDelta, revert: bool) -> None:
        if key not in self.keys():
            _log.warning("segment %s is no longer there: its undo step is passed over", key)
            return
        self._place()
        self._seen(key)
        before = read_segment(self._segmentation, key, delta.extent)
        after = delta.revert(before) if revert else delta.apply(before)
        self.writer.assign(key, delta.extent, after & ~before, before & ~after, self._ijk_to_ras)
        change = MaskDelta.between(delta.extent, before, after)
        self._remember({key: change} if change else {})

    def foreign_edits(self) -> dict[str, MaskDelta]:
        placement = self._place()
        edits: dict[str, MaskDelta] = {}
        for key in [key for key in self._known if key not in self.keys()]:
            del self._known[key]
        for key, known in self._known.items():
            if self._signature(key) == known.signature:
                continue
            now = self._read_box(key)
            changed = known.mask.difference(now)
            if changed is not None:
                extent = changed.shifted(placement.box_s.start_kji)
                delta = MaskDelta.between(extent, known.mask.read(changed), now.read(changed))
                edits |= {key: delta} if delta else {}
            self._known[key] = _Known(now, self._signature(key))
        return edits

    def image_extent(self, extent: Extent) -> Extent:
        return self._place().extent_v(extent)

    # Within

    @property
    def _segmentation(self) -> Any:
        return self._node.GetSegmentation()

    def _place(self) -> Placement:
        """Return how volume and segmentation lie now; when that changed, forget what was seen before."""
        from_volume = matrix_between(self._volume_node, self._node)
        self._grid = volume_from_node(self._volume_node).grid
        placed = Grid(self._grid.shape_kji, from_volume @ self._grid.ijk_to_ras)
        lattice = self._lattice(placed)
        frames = np.stack([placed.ijk_to_ras, lattice])
        # Slicer keeps a matrix as spacing and directions: it comes back with another last bit.
        if self._shape != placed.shape_kji or not np.allclose(frames, self._frames, rtol=0, atol=1e-7):
            self.revision += self._shape is not None
            self._shape, self._frames = placed.shape_kji, frames
            self._ijk_to_ras = lattice
            self._known.clear()
            self._placement = placement_of(placed, lattice)
            if not self._placement.is_exact:
                _log.warning(
                    "the segmentation %r has another grid than the volume %r: masks are resampled to the nearest "
                    "voxel; for exact masks use a segmentation with the volume's geometry",
                    self._node.GetName(),
                    self._volume_node.GetName(),
                )
        return self._placement

    def _lattice(self, placed: Grid) -> FloatArray:
        """Return the 4x4 of the lattice that masks are written in, to the segmentation's RAS."""
        layers = all_layers(self._segmentation)
        if layers:
            return layers[0].ijk_to_ras
        converter = slicer.vtkSegmentationConverter
        reference = slicer.vtkOrientedImageData()
        geometry = self._segmentation.GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
        if geometry and converter.DeserializeImageGeometry(geometry, reference, False):
            matrix = image_matrix(reference)
            # Slicer takes a volume's geometry over without its transform: nobody chose that grid here.
            if not np.allclose(matrix, self._grid.ijk_to_ras, atol=1e-6):
                return matrix
        self._set_reference_geometry(placed)
        return placed.ijk_to_ras

    def _set_reference_geometry(self, placed: Grid) -> None:
        """Give a segmentation that has no voxels yet the volume's grid, where the transforms put it."""
        converter = slicer.vtkSegmentationConverter
        image = slicer.vtkOrientedImageData()
        image.SetExtent(*vtk_extent(placed.extent))
        image.SetGeometryFromImageToWorldMatrix(matrix_from_array(placed.ijk_to_ras))
        name = converter.GetReferenceImageGeometryParameterName()
        geometry = converter.SerializeImageGeometry(image)
        if self._segmentation.GetConversionParameter(name) != geometry:
            self._segmentation.SetConversionParameter(name, geometry)

    def _seen(self, key: str) -> _Known:
        if key not in self._known:
            self._known[key] = _Known(self._read_box(key), self._signature(key))
        return self._known[key]

    def _signature(self, key: str) -> tuple[Any, ...]:
        layer = layer_of(self._segmentation, key)
        if layer is None:
            return (None,)
        return (layer.image.GetAddressAsString(""), layer.image.GetMTime(), label_of(self._segmentation, key))

    def _read_box(self, key: str) -> BitMask:
        """Return the segment within the placement's box, read slab by slab."""
        box = self._placement.box_s
        mask = BitMask(box.shape_kji)
        layer = layer_of(self._segmentation, key)
        common = box.intersection(layer.extent) if layer else None
        if common is None or common.size == 0:
            return mask
        start, stop = common.start_kji, common.stop_kji
        for k in range(start[0], stop[0], 16):
            slab = Extent((k, *start[1:]), (min(k + 16, stop[0]), *stop[1:]))
            mask.write(slab.shifted([-n for n in box.start_kji]), read_segment(self._segmentation, key, slab))
        return mask

    def _pictures(self, extent: Extent) -> dict[str, tuple[Any, Any, int]]:
        """Return for each segment its layer's labels within `extent`, its layer, and its label."""
        by_segment: dict[str, tuple[Any, Any, int]] = {}
        for layer in self._aligned_layers():
            labels = layer.read(extent)
            for segment_id in layer.segment_ids:
                by_segment[segment_id] = (labels, layer.image, label_of(self._segmentation, segment_id))
        return by_segment

    def _aligned_layers(self) -> list[Layer]:
        layers = all_layers(self._segmentation)
        return [layer for layer in layers if np.allclose(layer.ijk_to_ras, self._ijk_to_ras, atol=1e-6)]

    def _differences(self, extent: Extent, before: dict[str, tuple[Any, Any, int]], key: str) -> dict[str, MaskDelta]:
        """Return what changed in each segment since `before`; `key` last, so that undo makes room first."""
        after = self._pictures(extent)
        nothing = (np.zeros(extent.shape_kji, dtype=np.uint8), None, 1)
        same: dict[tuple[int, int], bool] = {}
        deltas: dict[str, MaskDelta] = {}
        for segment_id in sorted({*before, *after}, key=lambda i: i == key):
            (old, _, old_label), (new, _, new_label) = (
                before.get(segment_id, nothing),
                after.get(segment_id, nothing),
            )
            pair = (id(old), id(new))
            if pair not in same:
                same[pair] = bool(np.array_equal(old, new))
            if same[pair] and old_label == new_label:
                continue
            delta = MaskDelta.between(extent, old == old_label, new == new_label)
            if delta:
                deltas[segment_id] = delta
        return deltas

    def _remember(self, deltas: dict[str, MaskDelta]) -> None:
        """Bring what was seen up to date after a change of our own."""
        origin = [-n for n in self._placement.box_s.start_kji]
        for key, delta in deltas.items():
            if key in self._known:
                mask = self._known[key].mask
                common = delta.extent.intersection(self._placement.box_s)
                mask.write(common.shifted(origin), read_segment(self._segmentation, key, common))
        for key, known in self._known.items():
            known.signature = self._signature(key)
