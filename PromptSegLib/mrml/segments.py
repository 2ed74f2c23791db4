"""Segments as the masks of a session: what stands in the segmentation node is the truth."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from PromptSegLib.bitmask import BitMask, BoolArray, MaskDelta, Patch
from PromptSegLib.geometry import Extent, FloatArray
from PromptSegLib.mrml.label_copies import LabelCopies
from PromptSegLib.mrml.lattice_placement import Placement
from PromptSegLib.mrml.lattices import Lattices
from PromptSegLib.mrml.layers import BINARY_LABELMAP, as_layer, is_on_lattice, label_of, layer_of, read_segment
from PromptSegLib.mrml.observations import Observations
from PromptSegLib.mrml.segment_writer import SegmentWriter
from PromptSegLib.structures.names import find_structure
from PromptSegLib.structures.terminology import terminology_entry

_log = logging.getLogger(__name__)
_SLAB = 16


@dataclass
class _Known:
    """A segment as it was seen last. mask: the voxels of the placement's box, in `lattice`. image, label: theirs."""

    mask: BitMask
    lattice: FloatArray
    placement: Placement
    image: Any
    label: int


class SegmentMaskStore:
    """The segments of `segmentation_node` as masks on the grid of `volume_node`; keys are segment IDs.

    Writes follow the masking and the overwrite mode of `editor_node` and touch only the changed box. A segment whose
    lattice is a permutation, flip or crop of the volume's is written exactly, whatever linear transforms both nodes
    are under; another one voxel by nearest voxel, with a warning in the log. Each segment keeps its lattice.

    Where the nodes lie is asked by `foreign_edits`: call it before whatever belongs together. history: see
    `SegmentWriter`. Extents of the changes that it returns are in the segment's lattice; `image_extent` brings them to
    the volume's.

    Raises:
        GeometryError: a transform between the two is not linear.
    """

    def __init__(self, volume_node: Any, segmentation_node: Any, editor_node: Any, history: Any = None) -> None:
        self._node = segmentation_node
        self.writer = SegmentWriter(segmentation_node, editor_node, history)
        self.revision = 0
        self._known: dict[str, _Known] = {}
        self._written: dict[str, FloatArray] = {}  # the lattices that steps of the history are in
        self._segments: dict[str, Any] = {}
        self._times: dict[Any, int] = {}  # of the layers' images, when they were looked at last
        self._lost: list[str] = []
        self._observed: Any = None
        self._observations = Observations()
        self._has_news = True
        self._copies = LabelCopies()
        self._lattice_of: dict[Any, FloatArray] = {}  # of the layers, by their images
        self._matrices = self._take_stock()
        self._lattices = Lattices(volume_node, segmentation_node, list(self._matrices.values()))
        self._lattice_of = {image: self._lattices.same(matrix) for image, matrix in self._matrices.items()}

    def close(self) -> None:
        """Let go of the nodes."""
        self._observations.close()

    # The MaskStore protocol

    def add(self, name: str) -> str:
        key = str(self._segmentation.AddEmptySegment("", name))
        if (structure := find_structure(name)) is not None:
            segment = self._segmentation.GetSegment(key)
            segment.SetColor(*structure.colour)
            if entry := terminology_entry(structure):
                segment.SetTerminology(entry)
        self._segments[key] = self._segmentation.GetSegment(key)
        self._note_times()  # Slicer lets the segment share a layer, and says that this one changed
        return key

    def keys(self) -> tuple[str, ...]:
        return tuple(self._segmentation.GetSegmentIDs())

    def find(self, name: str) -> str | None:
        return str(self._segmentation.GetSegmentIdBySegmentName(name)) or None

    def read(self, key: str, extent: Extent) -> BoolArray:
        placement = self._lattices.placement(self._lattice(key))
        box = placement.extent_s(extent)
        patch = placement.to_volume(Patch(box, read_segment(self._segmentation, key, box)))
        mask = np.zeros(extent.shape_kji, dtype=bool)
        common = patch.extent.intersection(extent)
        mask[common.slices_within(extent)] = patch.mask_kji[common.slices_within(patch.extent)]
        return mask

    def snapshot(self, key: str) -> BitMask | None:
        known = self._seen(key)
        if known.placement.is_identity:
            return known.mask.copy() if known.mask.any() else None
        bounds = known.mask.bounds()
        if bounds is None:
            return None
        shifted = bounds.shifted(known.placement.box_s.start_kji)
        patch = known.placement.to_volume(Patch(shifted, known.mask.read(bounds)))
        grid = self._lattices.grid
        common = patch.extent.intersection(grid.extent)
        mask = BitMask(grid.shape_kji)
        mask.write(common, patch.mask_kji[common.slices_within(patch.extent)])
        return mask

    def is_empty(self, key: str) -> bool:
        """Tell whether nothing is set, as of the last write or `foreign_edits`."""
        return not self._seen(key).mask.any()

    def write(self, key: str, patch: Patch) -> dict[str, MaskDelta]:
        lattice = self._lattice_to_write(key)
        target, speaks = self._lattices.placement(lattice).to_segmentation(patch)
        before = self._read_on(lattice, key, target.extent)
        added = target.mask_kji & ~before & speaks
        removed = before & ~target.mask_kji & speaks
        changed = Extent.of_mask(added | removed)
        if changed is None:
            return {}
        self._seen(key, lattice)
        extent = changed.shifted(target.extent.start_kji)
        deltas = self.writer.write(key, extent, added[changed.slices], removed[changed.slices], lattice)
        for each in deltas:
            self._written.setdefault(each, self._lattice(each))
        self._remember(deltas)
        return deltas

    def apply(self, key: str, delta: MaskDelta, revert: bool) -> None:
        if self._segmentation.GetSegment(key) is None:
            _log.warning("segment %s is no longer there: its undo step is passed over", key)
            return
        lattice = self._lattice_to_write(key)
        self._seen(key, lattice)
        before = self._read_on(lattice, key, delta.extent)
        after = delta.revert(before) if revert else delta.apply(before)
        self._written.setdefault(key, lattice)
        self.writer.assign(key, delta.extent, after & ~before, before & ~after, lattice)
        change = MaskDelta.between(delta.extent, before, after)
        self._remember({key: change} if change else {})

    def foreign_edits(self) -> dict[str, MaskDelta]:
        is_moved = self._lattices.locate()
        is_news = self._is_news()
        if is_news:
            self._matrices = self._take_stock()
        if is_news or is_moved:
            self._lattices.choose(list(self._matrices.values()))
            self._lattice_of = {image: self._lattices.same(matrix) for image, matrix in self._matrices.items()}
        if is_moved or any(map(self._is_elsewhere, self._known if is_news else ())):
            self.revision += 1
            self._known.clear()
            self._written.clear()
        return self._look_again() if is_news else {}

    def lost(self) -> tuple[str, ...]:
        lost, self._lost = tuple(self._lost), []
        return lost

    def image_extent(self, key: str, extent: Extent) -> Extent:
        return self._lattices.placement(self._written.get(key, self._lattices.default)).extent_v(extent)

    # Within

    @property
    def _segmentation(self) -> Any:
        return self._node.GetSegmentation()

    # Where segments lie

    def _lattice(self, key: str) -> FloatArray:
        """Return the lattice that the segment's voxels are in; the default one where it has no layer."""
        image = self._segmentation.GetSegment(key).GetRepresentation(BINARY_LABELMAP)
        if image in self._lattice_of:
            return self._lattice_of[image]
        layer = layer_of(self._segmentation, key)
        return self._lattices.default if layer is None else self._lattices.same(layer.ijk_to_ras)

    def _lattice_to_write(self, key: str) -> FloatArray:
        """Return the lattice that a change of the segment is to be in.

        An empty segment shares the layer of the first one, on whichever lattice that is: it need not stay there.
        """
        if key in self._written:
            return self._written[key]
        lattice = self._lattice(key)
        is_exact = self._lattices.placement(lattice).is_exact
        return lattice if is_exact or not self._is_empty_on_layer(key) else self._lattices.default

    def _is_empty_on_layer(self, key: str) -> bool:
        layer = layer_of(self._segmentation, key)
        return layer is None or not (layer.array == label_of(self._segmentation, key)).any()

    def _is_elsewhere(self, key: str) -> bool:
        """Tell whether the segment was brought to another lattice: changes in the one before cannot be taken back."""
        known, lattice = self._known[key], self._lattice_of.get(self._whereabouts(key)[0])
        if lattice is None or lattice is known.lattice:
            return False
        return known.mask.any() or not self._is_empty_on_layer(key)

    # What was seen

    def _on_news(self) -> None:
        self._has_news = True

    def _is_news(self) -> bool:
        """Tell whether the segments may have changed since they were looked at last."""
        return self._has_news or self._segmentation is not self._observed or any(map(self._is_touched, self._times))

    def _take_stock(self) -> dict[Any, FloatArray]:
        """Look which segments there are, note those lost, and return the lattices of the layers by their images."""
        segmentation = self._segmentation
        if segmentation is not self._observed:
            self._observations.close()
            self._observations.add(segmentation, "AnyEvent", self._on_news)
            self._observed = segmentation
        self._has_news = False
        now = {key: segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()}
        lost = [key for key, segment in self._segments.items() if now.get(key) is not segment]
        for key in lost:
            self._known.pop(key, None)
            self._written.pop(key, None)
        self._lost += lost
        self._segments = now
        representations = (segment.GetRepresentation(BINARY_LABELMAP) for segment in now.values())
        images = dict.fromkeys(image for image in representations if image is not None)
        matrices = {image: self._matrix_of(image) for image in images}
        self._times = {image: self._times.get(image, -1) for image in images}
        return {image: matrix for image, matrix in matrices.items() if matrix is not None}

    def _matrix_of(self, image: Any) -> FloatArray | None:
        """Return the lattice of a layer, asked only when it changed; None when it holds no voxels."""
        if image in self._lattice_of and not self._is_touched(image):
            return self._lattice_of[image]
        layer = as_layer(self._segmentation, image)
        return layer.ijk_to_ras if layer is not None else None

    def _note_times(self) -> None:
        self._times = {image: image.GetMTime() for image in self._times}

    def _seen(self, key: str, lattice: FloatArray | None = None) -> _Known:
        """Return the segment as it was seen last, in `lattice`: by default, the one that it lies in."""
        if lattice is None:
            lattice = self._written.get(key, self._lattice(key))
        known = self._known.get(key)
        if known is None or known.lattice is not lattice:
            placement = self._lattices.placement(lattice)
            mask = self._read_box(key, placement, lattice)
            known = self._known[key] = _Known(mask, lattice, placement, *self._whereabouts(key))
        return known

    def _look_again(self) -> dict[str, MaskDelta]:
        """Look at the segments that may have changed, and return what somebody else changed in them."""
        touched = filter(self._is_touched, self._times)
        layers = [layer for image in touched if (layer := as_layer(self._segmentation, image)) is not None]
        changed = {layer.image: self._copies.changed_labels(layer) for layer in layers}
        edits: dict[str, MaskDelta] = {}
        for key, known in self._known.items():
            image, label = self._whereabouts(key)
            labels = changed.get(image, set())
            if image is known.image and label == known.label and labels is not None and label not in labels:
                continue
            known.image, known.label = image, label
            delta = self._difference(key, known)
            if delta is not None:
                edits[key] = delta
                self._written.setdefault(key, known.lattice)  # the edit becomes a step there, to be taken back there
        self._copies.keep(layers, self._times)
        self._note_times()
        return edits

    def _is_touched(self, image: Any) -> bool:
        return bool(image.GetMTime() != self._times.get(image))

    def _difference(self, key: str, known: _Known) -> MaskDelta | None:
        """Read a segment, and return in what it differs from what was known."""
        now = self._read_box(key, known.placement, known.lattice)
        changed = known.mask.difference(now)
        before, known.mask = known.mask, now
        if changed is None:
            return None
        start = known.placement.box_s.start_kji
        return MaskDelta.between(changed.shifted(start), before.read(changed), now.read(changed))

    def _whereabouts(self, key: str) -> tuple[Any, int]:
        segment = self._segments[key]
        return segment.GetRepresentation(BINARY_LABELMAP), int(segment.GetLabelValue())

    def _read_on(self, lattice: FloatArray, key: str, extent: Extent) -> BoolArray:
        """Return the voxels of `extent` in `lattice`; none where the segment is not on it: then it is empty."""
        layer = layer_of(self._segmentation, key)
        if layer is None or not is_on_lattice(layer, lattice):
            return np.zeros(extent.shape_kji, dtype=bool)
        return read_segment(self._segmentation, key, extent)

    def _read_box(self, key: str, placement: Placement, lattice: FloatArray) -> BitMask:
        """Return the segment within the placement's box, read slab by slab."""
        mask = BitMask(placement.box_s.shape_kji)
        layer = layer_of(self._segmentation, key)
        if layer is None or not is_on_lattice(layer, lattice):
            return mask
        common, label = placement.box_s.intersection(layer.extent), label_of(self._segmentation, key)
        start, stop = common.start_kji, common.stop_kji
        for k in range(start[0], stop[0] if common.size else start[0], _SLAB):
            slab = Extent((k, *start[1:]), (min(k + _SLAB, stop[0]), *stop[1:]))
            voxels = layer.array[slab.slices_within(layer.extent)] == label
            if voxels.any():
                mask.write(slab.shifted([-n for n in placement.box_s.start_kji]), voxels)
        return mask

    def _remember(self, deltas: dict[str, MaskDelta]) -> None:
        """Bring what was seen up to date after a change of our own."""
        for key, delta in deltas.items():
            known = self._seen(key)
            box = known.placement.box_s
            common = delta.extent.intersection(box)
            inside = common.shifted([-n for n in box.start_kji])
            if common.size:
                known.mask.write(inside, read_segment(self._segmentation, key, common))
            known.image, known.label = self._whereabouts(key)
            layer = layer_of(self._segmentation, key)
            if layer is not None:
                self._lattice_of.setdefault(layer.image, self._lattices.same(layer.ijk_to_ras))
                self._times[layer.image] = 0
                self._copies.follow(layer, delta.extent)
        self._note_times()
