"""What nnInteractive is told by a prompt: a point, a box in one slice, or marked voxels, in its own axes.

Its v1.0 was trained on boxes that are one voxel thick. A 3D box is therefore given as its middle slice, across the
axis with the largest voxels, as its authors do; a checkpoint that says it takes 3D boxes gets all of it. A planar box
that lies along no slice is given as the voxels it marks, by the lasso's call, which writes to the same channels.
Strokes get the width that the checkpoint prefers: see `strokes` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray, Patch
from PromptSegLib.errors import PromptError, UnsupportedPromptError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.predictors.nninteractive.strokes import USUAL_KJI, checked_thickness, stroke
from PromptSegLib.prompts import Box, Lasso, Point, Prompt, Scribble, VoxelScribble
from PromptSegLib.view import View

Bounds = list[list[int]]
"""A box of voxels, [[first, last + 1], …] along the axes of the array."""

MIDDLE_SLICE_NOTE = "nnInteractive was trained on boxes in one slice: it was given the middle slice of the 3D box"


class OfficialSession(Protocol):
    """What nnInteractive's local session and its client's remote one share; arrays have the axes of the image."""

    supported_interactions: dict[str, bool]
    preferred_scribble_thickness: Any
    license: str | None

    def set_image(self, image: NDArray[Any]) -> None: ...

    def set_target_buffer(self, target_buffer: NDArray[np.uint8]) -> None: ...

    def reset_interactions(self) -> None: ...

    def undo(self) -> bool: ...

    def add_point_interaction(
        self, coordinates: list[int], include_interaction: bool, run_prediction: bool = True
    ) -> Bounds | None: ...

    def add_bbox_interaction(
        self, bbox_coords: Bounds, include_interaction: bool, run_prediction: bool = True
    ) -> Bounds | None: ...

    def add_scribble_interaction(
        self,
        scribble_image: NDArray[np.uint8],
        include_interaction: bool,
        run_prediction: bool = True,
        *,
        interaction_bbox: Bounds | None = None,
    ) -> Bounds | None: ...

    def add_lasso_interaction(
        self,
        lasso_image: NDArray[np.uint8],
        include_interaction: bool,
        run_prediction: bool = True,
        *,
        interaction_bbox: Bounds | None = None,
    ) -> Bounds | None: ...

    def add_initial_seg_interaction(
        self, initial_seg: NDArray[np.uint8], run_prediction: bool = False
    ) -> Bounds | None: ...


@dataclass(frozen=True)
class Takes:
    """What a checkpoint takes. boxes_3d: whether also 3D boxes. stroke_kji: how many voxels strokes are to be wide."""

    boxes_3d: bool = False
    stroke_kji: tuple[float, float, float] = USUAL_KJI

    @classmethod
    def of(cls, session: OfficialSession) -> Takes:
        """Return what the checkpoint of a session takes.

        Raises:
            ValueError: it states what cannot be.
        """
        boxes_3d = bool(session.supported_interactions.get("bbox3d", False))
        return cls(boxes_3d, checked_thickness(session.preferred_scribble_thickness))


@dataclass(frozen=True, eq=False)
class Interaction:
    """One thing said: what is `marked`, in the axes of the oriented image, belongs to the structure, or does not."""

    kind: Literal["point", "box", "scribble", "lasso"]
    positive: bool
    marked: Patch
    note: str = ""

    @classmethod
    def of(cls, prompt: Prompt, grid: Grid, takes: Takes, view: View | None = None) -> Interaction:
        """Return what `prompt`, from `view` where it came from one, is on `grid`, that of an oriented image.

        Raises:
            PromptError: it marks no voxel.
        """
        if isinstance(prompt, Box):
            return _of_box(prompt, grid, takes.boxes_3d)
        if isinstance(prompt, Scribble):
            return cls("scribble", prompt.positive, _cropped(stroke(prompt, grid, takes.stroke_kji, view), prompt))
        if isinstance(prompt, Point | VoxelScribble | Lasso):
            return cls(prompt.kind, prompt.positive, _marked(prompt, grid))  # type: ignore[arg-type]
        raise UnsupportedPromptError(f"expected a point, a box, a scribble or a lasso, got a {prompt.kind}")

    @property
    def bounds(self) -> Bounds:
        extent = self.marked.extent
        return [list(pair) for pair in zip(extent.start_kji, extent.stop_kji, strict=True)]

    @property
    def middle_kji(self) -> tuple[int, int, int]:
        """The voxel that a prediction for it is centred on."""
        k, j, i = (round((low + high) / 2) if self.kind != "point" else low for low, high in self.bounds)
        return k, j, i

    def is_met_by(self, mask_kji: BoolArray) -> bool:
        """Tell whether a mask, given within the extent of `marked`, says the same.

        For more than half of the voxels; for one at least of a box or lasso, which are drawn around a structure.
        """
        said = mask_kji[self.marked.mask_kji]
        if self.positive:
            return bool(said.any() if self.kind in ("box", "lasso") else 2 * said.sum() > said.size)
        return bool(2 * said.sum() < said.size)

    def give(self, session: OfficialSession, predict: bool) -> Bounds | None:
        """Say it to `session`. Returns the box that a prediction has written to, None without one."""
        if self.kind == "point":
            return session.add_point_interaction(list(self.marked.extent.start_kji), self.positive, predict)
        if self.kind == "box":
            return session.add_bbox_interaction(self.bounds, self.positive, predict)
        add = session.add_scribble_interaction if self.kind == "scribble" else session.add_lasso_interaction
        image = np.ascontiguousarray(self.marked.mask_kji, dtype=np.uint8)
        return add(image, self.positive, predict, interaction_bbox=self.bounds)


def _of_box(box: Box, grid: Grid, takes_3d_boxes: bool) -> Interaction:
    box = box.flattened(grid)
    marked, note = _marked(box, grid), ""
    if 1 not in marked.extent.shape_kji and not box.is_planar:
        if takes_3d_boxes:
            return Interaction("box", box.positive, marked)
        marked, note = _marked(_middle_slice(box, grid), grid), MIDDLE_SLICE_NOTE
    is_slab = 1 in marked.extent.shape_kji and marked.mask_kji.all()
    return Interaction("box" if is_slab else "lasso", box.positive, marked, note)


def _middle_slice(box: Box, grid: Grid) -> Box:
    """Return the 2D box in the middle of a 3D one, across its side nearest to the axis with the largest voxels."""
    spacing = np.round(grid.spacing_mm / grid.spacing_mm.max(), 3)
    across = 2 - int(np.argmax(spacing[::-1]))  # of equal ones the last, which runs towards Superior
    side = int(np.abs(np.array(box.axes) @ grid.directions[:, across]).argmax())
    x, y, z = (0.0 if n == side else length for n, length in enumerate(box.size_mm))
    return replace(box, size_mm=(x, y, z))


def _marked(prompt: Prompt, grid: Grid) -> Patch:
    return _cropped(rasterize(prompt, grid), prompt)


def _cropped(patch: Patch, prompt: Prompt) -> Patch:
    """Return what `prompt` marks without the margin around it.

    Raises:
        PromptError: it marks nothing.
    """
    extent = Extent.of_mask(patch.mask_kji)
    if extent is None:
        raise PromptError(f"expected a {prompt.kind} that holds the centre of a voxel of the image, got {prompt}")
    return Patch(extent.shifted(patch.extent.start_kji), patch.mask_kji[extent.slices])
