"""What people have today, as predictors, to be measured beside the others: Slicer's Grow from Seeds and a threshold."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray, Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import UnknownPredictorError
from PromptSegLib.geometry import Extent, FloatArray, Grid
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.packages import is_installed
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.prompts import Box, Point, Prompt, Scribble, VoxelScribble
from PromptSegLib.volume import Image, Volume

# The Segment Editor's brush, as a part of the view's height.
_BRUSH = 0.03
_INSIDE, _OUTSIDE = 1, 2


class _FromVoxels:
    """A predictor that has nothing to do for an image beforehand."""

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> Image:
        """Return `image`."""
        return image


class GrowFromSeeds(_FromVoxels):
    """Slicer's Grow from Seeds (`vtkImageGrowCutSegment`) as a patient user seeds it.

    Each click is a ball of the Segment Editor's brush, 3 % of the view. Beside the structure, Grow from Seeds needs a
    second segment: the user draws a frame around what the view shows; without a view, around the image. Where the view
    reaches beyond the image, the frame is on the image's outermost rows and columns, and on no slice: structures go
    through the ends of a stack. A box is such a frame too, all outside of it, with a seed of a quarter of its sides in
    the middle. What lies beyond the frame is not looked at. The seed locality is the editor's default, 0. Zhu et al.,
    "An effective interactive medical image segmentation method using fast GrowCut", 2014.

    Raises:
        UnknownPredictorError: without slicer-core.
    """

    capabilities = Capabilities(
        name="growcut",
        title="Grow from Seeds",
        summary="Slicer's own, with clicks as seeds and a frame around them",
        dimensions=frozenset({2, 3}),
        prompts=frozenset({"point+", "point-", "box2d+", "box3d+", "scribble+", "scribble-"}),
        code_license="BSD-3-Clause",
    )

    def __init__(self) -> None:
        if not is_installed("slicer"):
            raise UnknownPredictorError("expected slicer-core for growcut: pip install 'promptseg[mrml]'")

    def predict(
        self, encoding: Image, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Yield one prediction, from all prompts anew."""
        started = time.perf_counter()
        grid = encoding.grid
        frame = _frame_of(state, grid)
        seeds = _seeds(state.prompts, grid, frame, _brush_mm(state, grid))
        values = _grey(encoding.reference, frame)
        seeded = time.perf_counter()
        labels = grow_cut(values, seeds)
        mask = labels == _INSIDE
        timings = {"seeds": 1000 * (seeded - started), "grow": 1000 * (time.perf_counter() - seeded)}
        yield Prediction({state.target: _replacing(mask, frame, state, grid)}, timings_ms=timings)


class ThresholdInBox(_FromVoxels):
    """A threshold by Otsu's method within the box; what the box's middle mostly is, its largest part, without holes.

    Otsu, "A threshold selection method from gray-level histograms", 1979.
    """

    capabilities = Capabilities(
        name="threshold",
        title="Threshold in a box",
        summary="Otsu's threshold within the box",
        dimensions=frozenset({2, 3}),
        prompts=frozenset({"box2d+", "box3d+"}),
        code_license="Apache-2.0",
    )

    def predict(
        self, encoding: Image, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Yield one prediction."""
        started = time.perf_counter()
        extent = _box_of(state.prompts, encoding.grid)
        if extent is None:
            return
        values = _grey(encoding.reference, extent)
        bright = sitk.GetArrayFromImage(sitk.OtsuThreshold(sitk.GetImageFromArray(values), 0, 1)) > 0
        middle = tuple(slice(n // 3, max(n // 3 + 1, 2 * n // 3)) for n in values.shape)
        mask = bright if bright[middle].mean() >= 0.5 else ~bright
        parts, count = ndimage.label(mask)
        if count:
            mask = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
        mask = ndimage.binary_fill_holes(np.squeeze(mask)).reshape(values.shape)
        patch = _replacing(mask, extent, state, encoding.grid)
        yield Prediction({state.target: patch}, timings_ms={"threshold": 1000 * (time.perf_counter() - started)})


RIVALS = {
    "growcut": f"{__name__}:{GrowFromSeeds.__name__}",
    "threshold": f"{__name__}:{ThresholdInBox.__name__}",
}
"""What the benchmark calls them, and where they are: module:class."""


def grow_cut(values_kji: NDArray[np.float32], seeds_kji: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the label that each voxel gets from `seeds_kji`, 0 where there is none; both (k, j, i)."""
    import slicer
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData

    def image(array: NDArray[np.float32] | NDArray[np.uint8]) -> vtkImageData:
        data = vtkImageData()
        data.SetDimensions(*array.shape[::-1])
        data.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
        return data

    # The filter leaves the outermost voxels alone: they are a margin here.
    values, seeds = np.pad(values_kji, 1, mode="edge"), np.pad(seeds_kji, 1)
    grow = slicer.vtkImageGrowCutSegment()
    grow.SetDistancePenalty(0.0)
    grow.SetIntensityVolume(image(values))
    grow.SetSeedLabelVolume(image(seeds))
    grow.Update()
    grown = vtk_to_numpy(grow.GetOutput().GetPointData().GetScalars()).reshape(values.shape)
    return np.array(grown[1:-1, 1:-1, 1:-1])


def _frame_of(state: TargetState, grid: Grid) -> Extent:
    """Return the voxels up to and including the frame that the user draws."""
    clicks = [prompt for prompt in state.prompts if not isinstance(prompt, Box)]
    box = _box_of(state.prompts, grid)
    if box is not None:
        frame = box.padded([int(n > 1) for n in grid.shape_kji])
    elif state.view is not None:
        half_mm = max(state.view.size_mm) / 2
        first = state.views.get(state.prompts[0], state.view)
        middle = grid.nearest_kji(np.array(first.center_ras))
        reach = np.maximum(np.round(half_mm / grid.spacing_kji_mm).astype(int), 1)
        frame = Extent(_ints(middle - reach), _ints(middle + reach + 1))
    else:
        frame = grid.extent
    for prompt in clicks:
        patch = rasterize(prompt, grid)
        frame = frame.union(patch.extent.padded(2))
    return frame.intersection(grid.extent)


def _seeds(prompts: Sequence[Prompt], grid: Grid, frame: Extent, brush_mm: float) -> NDArray[np.uint8]:
    box = _box_of(prompts, grid)
    seeds = np.zeros(frame.shape_kji, dtype=np.uint8)
    if box is not None:
        seeds[:] = _OUTSIDE
        seeds[box.slices_within(frame)] = 0
        if not any(isinstance(prompt, Point | Scribble | VoxelScribble) and prompt.positive for prompt in prompts):
            seeds[box.slices_within(frame)] = _INSIDE * _middle_of(box.shape_kji)
    else:
        for axis in range(3):
            for is_end in (False, True):
                edge = frame.stop_kji[axis] - 1 if is_end else frame.start_kji[axis]
                at_the_end = edge == (grid.shape_kji[axis] - 1 if is_end else 0)
                if axis > 0 or not at_the_end:
                    seeds[(slice(None),) * axis + (-1 if is_end else 0,)] = _OUTSIDE
    for prompt in prompts:
        if isinstance(prompt, Box):
            continue
        label = _INSIDE if prompt.sign == "+" else _OUTSIDE
        if isinstance(prompt, Point):
            prompt = Scribble((prompt.position_ras,), brush_mm, prompt.positive)
        patch = rasterize(prompt, grid)
        part = patch.extent.intersection(frame)
        if part.size:
            seeds[part.slices_within(frame)][patch.mask_kji[part.slices_within(patch.extent)]] = label
    return seeds


def _middle_of(shape_kji: tuple[int, int, int]) -> BoolArray:
    """Return an ellipsoid of a quarter of each side in the middle, one voxel at least."""
    axes = np.ogrid[tuple(slice(n) for n in shape_kji)]
    parts = [((a - (n - 1) / 2) / max(n / 8, 0.6)) ** 2 for a, n in zip(axes, shape_kji, strict=True)]
    return np.asarray(parts[0] + parts[1] + parts[2] <= 1)


def _brush_mm(state: TargetState, grid: Grid) -> float:
    side_mm = float((np.array(grid.shape_kji) * grid.spacing_kji_mm).max())
    if state.view is not None:
        side_mm = max(state.view.size_mm)
    return _BRUSH * side_mm


def _box_of(prompts: Sequence[Prompt], grid: Grid) -> Extent | None:
    """Return the voxels of all boxes, None without one."""
    found: Extent | None = None
    for prompt in prompts:
        if isinstance(prompt, Box):
            patch = rasterize(prompt.flattened(grid), grid)
            extent = Extent.of_mask(patch.mask_kji)
            found = extent.shifted(patch.extent.start_kji).union(found) if extent is not None else found
    return found


def _grey(volume: Volume, extent: Extent) -> NDArray[np.float32]:
    values = volume.array[extent.slices].astype(np.float32)
    return values.mean(axis=-1) if values.ndim == 4 else values


def _replacing(mask_kji: BoolArray, extent: Extent, state: TargetState, grid: Grid) -> Patch:
    """Return `mask_kji`, of `extent`, as all that is to be set: what was there before goes."""
    bounds = state.mask.bounds() if state.mask is not None else None
    whole = extent.union(bounds).intersection(grid.extent)
    mask = np.zeros(whole.shape_kji, dtype=bool)
    mask[extent.slices_within(whole)] = mask_kji
    return Patch(whole, mask)


def _ints(values: FloatArray | NDArray[np.int64]) -> tuple[int, int, int]:
    k, j, i = (int(v) for v in values)
    return k, j, i
