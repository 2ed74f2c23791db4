"""What the default model's network is shown of a region: intensities from black to white, and maps of the prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray, Patch
from PromptSegLib.geometry import Extent, Float32Array
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.imaging.windowing import window_of_tissue
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.predictors.default.evidence import Evidence, prompts_on
from PromptSegLib.predictors.default.geodesic import LAST_BITS
from PromptSegLib.prompts import Box
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume

# Percentiles of a region that become black and white when nobody gave a window; the network was trained with them.
_BLACK, _WHITE = 0.3, 99.7
# Working voxels between a flat box in a volume and what is said to be outside: clicks reach 2.5 around them.
_BESIDE = 3


@dataclass(frozen=True, eq=False)
class PromptMaps:
    """Maps on a region's working grid, float32 (k, j, i), or without its axis of one voxel.

    image: 0 is black, 1 is white. positive, negative: 1 at prompted voxels, 0 elsewhere. box: 1 inside of the
    positive boxes. previous: how much of each voxel the mask so far fills, 0 to 1.
    """

    image: Float32Array
    positive: Float32Array
    negative: Float32Array
    box: Float32Array
    previous: Float32Array

    def __iter__(self) -> Iterator[Float32Array]:
        return iter((self.image, self.positive, self.negative, self.box, self.previous))

    def squeezed(self, axis: int) -> PromptMaps:
        """Return these without `axis`, of one voxel."""
        return PromptMaps(*(values.squeeze(axis) for values in self))


def prompt_maps(
    roi: Roi, volume: Volume, state: TargetState, evidence: Evidence, previous: Float32Array | None, is_ct: bool
) -> PromptMaps:
    """Return what there is of `volume` and of the prompts in `roi`. is_ct: whether its values are HU."""
    positive, negative, box = np.zeros((3, *roi.shape_kji), dtype=np.float32)
    prompts = prompts_on(roi.source, state)
    meant = np.zeros(roi.shape_kji, dtype=bool)
    for prompt, (voxels, value) in zip(prompts, evidence.said, strict=True):
        marked = roi.mark(voxels)
        if value:
            meant |= marked
        if isinstance(prompt, Box) and value:
            if not prompt.is_planar or roi.source.is_single_slice:
                continue  # part of the limit
            negative[_beside(roi, rasterize(prompt, roi.source))] = 1
        (positive if value else negative)[marked] = 1
    negative[positive > 0] = 0
    if evidence.limit is not None:
        box[roi.box(evidence.limit)] = 1
    if not meant.any() and len(evidence.positive_kji):
        meant = roi.mark(evidence.positive_kji)
    previous = np.zeros(roi.shape_kji, dtype=np.float32) if previous is None else previous
    values = _grey(roi.read(volume))
    return PromptMaps(_scaled(values, meant, state.window, is_ct), positive, negative, box, previous)


def _grey(values: Float32Array) -> Float32Array:
    """Return colours (k, j, i, component) as the grey levels in which they differ most: (k, j, i)."""
    if values.ndim == 3:
        return values
    flat = values.reshape(-1, values.shape[-1])
    axes = np.linalg.eigh(np.cov(flat, rowvar=False).reshape(values.shape[-1], -1))[1]
    main = axes[:, -1]
    return np.asarray(values @ (main * np.sign(main.sum() or 1)), dtype=np.float32)


def _scaled(values: Float32Array, meant: BoolArray, window: Window | None, is_ct: bool) -> Float32Array:
    """Return `values` with black as 0 and white as 1, clipped; meant: voxels known to belong to the structure."""
    if window is None:
        low, high = (float(v) for v in np.percentile(values, [_BLACK, _WHITE]))
        if is_ct and meant.any():
            tissue = window_of_tissue(float(np.median(values[meant])))
            if max(low, tissue.low) < min(high, tissue.high):
                low, high = max(low, tissue.low), min(high, tissue.high)
    else:
        low, high = window.low, window.high
    # Less than that are the last bits of float32, of what does not differ.
    least = LAST_BITS * max(abs(low), abs(high)) if window is None else 0.0
    scaled: Float32Array = np.clip((values - low) / (max(high - low, least) or 1.0), 0, 1, dtype=np.float32)
    return scaled


def _beside(roi: Roi, flat: Patch) -> BoolArray:
    """Return the outline, on the working grid, a little beyond a box of one layer of the image's voxels."""
    box = Extent.of_mask(flat.mask_kji)
    thin = [axis for axis in range(3) if box is not None and box.shape_kji[axis] == 1]
    if box is None or not thin:  # an oblique one has no such outline
        return np.zeros(roi.shape_kji, dtype=bool)
    layer = roi.box(box.shifted(flat.extent.start_kji))
    across = np.ones([1 if axis == thin[0] else 3 for axis in range(3)], dtype=bool)
    inner = ndimage.binary_dilation(layer, across, _BESIDE)
    return np.asarray(ndimage.binary_dilation(inner, across) & ~inner)
