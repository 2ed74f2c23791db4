"""A picture of what was done: the slices through a click, with prompts and outlines.

As radiology shows them: the patient's right on the left of the picture, millimetres in true proportion.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from PromptSegLib.geometry import FloatArray, Grid, flip_axes
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.io.segmentation import Segment
from PromptSegLib.prompts import Point, Prompt
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume

_POSITIVE, _NEGATIVE = "#7CFC00", "#FF4040"
_MOST_PIXELS = 800
_WIDTH_INCHES, _GAP_INCHES, _MARGIN_INCHES = 12.0, 0.15, 0.4
_DPI = 120


@dataclass(frozen=True)
class Plane:
    """A slice as it is shown.

    right_ras, up_ras: unit vectors of the screen's axes. normal: R, A or S; empty for a slice that is neither.
    """

    name: str
    right_ras: tuple[float, float, float]
    up_ras: tuple[float, float, float]
    normal: str = ""

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Letters for the left, right, lower and upper edge; none for planes that are not anatomical."""
        if not self.normal:
            return "", "", "", ""
        return (
            _letter(self.right_ras, -1),
            _letter(self.right_ras, 1),
            _letter(self.up_ras, -1),
            _letter(self.up_ras, 1),
        )


AXIAL = Plane("axial", (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), "S")
CORONAL = Plane("coronal", (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), "A")
SAGITTAL = Plane("sagittal", (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), "R")


def draw_slices(
    path: str | os.PathLike[str],
    volume: Volume,
    center_ras: ArrayLike,
    prompts: Sequence[Prompt] = (),
    segments: Sequence[Segment] = (),
    window: Window | None = None,
) -> None:
    """Write a PNG with the axial, coronal and sagittal slice through `center_ras` : (3,), mm.

    A volume of a single slice is shown as it is. segments: outlined; their masks are on the volume's grid.
    window: intensities from black to white; by default the middle 98 % of what is seen. Needs matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    center = np.asarray(center_ras, dtype=np.float64)
    cuts = [_Cut(plane, volume.grid, center) for plane in _planes(volume.grid)]
    images = [cut.sample(volume.array, order=1) for cut in cuts]
    black, white = (window.low, window.high) if window else _middle_range(images)
    inches_per_mm = (_WIDTH_INCHES - _GAP_INCHES * (len(cuts) + 1)) / sum(cut.width_mm for cut in cuts)
    tallest = max(cut.height_mm for cut in cuts) * inches_per_mm
    figure = Figure((_WIDTH_INCHES, tallest + 2 * _MARGIN_INCHES), facecolor="black")
    FigureCanvasAgg(figure)
    left = _GAP_INCHES
    for cut, image in zip(cuts, images, strict=True):
        width, height = cut.width_mm * inches_per_mm, cut.height_mm * inches_per_mm
        bottom = _MARGIN_INCHES + (tallest - height) / 2
        axes = figure.add_axes(_relative(figure, left, bottom, width, height))
        left += width + _GAP_INCHES
        _show(axes, cut, image, black, white)
        for prompt in prompts:
            _mark(axes, cut, prompt, volume.grid)
        for segment in segments:
            _outline(axes, cut, segment.mask_kji, segment.rgb)
    _legend(figure, segments, volume.grid)
    figure.savefig(Path(path), dpi=_DPI, facecolor="black")


def _relative(
    figure: Any, left: float, bottom: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """Return what is in inches as shares of the figure's size."""
    whole_width, whole_height = (float(inches) for inches in figure.get_size_inches())
    return left / whole_width, bottom / whole_height, width / whole_width, height / whole_height


def _planes(grid: Grid) -> list[Plane]:
    if not grid.is_single_slice:
        return [AXIAL, CORONAL, SAGITTAL]
    thin = grid.shape_kji.index(1)
    # The slice's own axes, i to the right and the other one down, as pictures are stored.
    across, down = [axis for axis in (0, 1, 2) if axis != 2 - thin]
    x, y, z = grid.directions[:, across]
    u, v, w = -grid.directions[:, down]
    return [Plane("", (x, y, z), (u, v, w))]


class _Cut:
    """Where a plane through a point meets a grid: the positions of its pixels."""

    def __init__(self, plane: Plane, grid: Grid, center_ras: FloatArray) -> None:
        self.plane = plane
        right, up = np.array(plane.right_ras), np.array(plane.up_ras)
        corners = grid.to_ras(_corners_ijk(grid)) - center_ras
        self.right_mm = _span(corners @ right)
        self.up_mm = _span(corners @ up)
        self.center_ras, self.right, self.up = center_ras, right, up
        step = max(float(grid.spacing_mm.min()), self.width_mm / _MOST_PIXELS, self.height_mm / _MOST_PIXELS)
        self.columns_mm = _middles(self.right_mm, step)
        self.rows_mm = _middles(self.up_mm, step)
        positions = center_ras + self.columns_mm[None, :, None] * right + self.rows_mm[:, None, None] * up
        self._index = np.moveaxis(flip_axes(grid.to_ijk(positions)), -1, 0)
        self.slab_mm = float(np.abs(grid.ijk_to_ras[:3, :3].T @ np.cross(right, up)).max()) / 2

    @property
    def width_mm(self) -> float:
        return self.right_mm[1] - self.right_mm[0]

    @property
    def height_mm(self) -> float:
        return self.up_mm[1] - self.up_mm[0]

    def sample(self, array: NDArray[Any], order: int) -> FloatArray:
        """Return the values (row, column[, component]) of `array` : (k, j, i[, component]), NaN outside."""
        parts = [array] if array.ndim == 3 else [array[..., component] for component in range(array.shape[3])]
        # Half a voxel beyond the outermost centres still belongs to the image.
        limits = np.array(array.shape[:3])[:, None, None]
        outside = ((self._index < -0.5) | (self._index > limits - 0.5)).any(axis=0)
        sampled = [
            np.where(outside, np.nan, ndimage.map_coordinates(part, self._index, np.float64, order, mode="nearest"))
            for part in parts
        ]
        return sampled[0] if array.ndim == 3 else np.stack(sampled, axis=-1)

    def project(self, points_ras: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return how far to the right, up and towards the viewer each of `points_ras` : (n, 3) is, mm."""
        offsets = points_ras - self.center_ras
        return offsets @ self.right, offsets @ self.up, offsets @ np.cross(self.right, self.up)


def _corners_ijk(grid: Grid) -> FloatArray:
    low, high = np.full(3, -0.5), flip_axes(grid.shape_kji) - 0.5
    return np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T


def _span(values: FloatArray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _middles(span: tuple[float, float], step: float) -> FloatArray:
    count = max(1, round((span[1] - span[0]) / step))
    edges = np.linspace(*span, count + 1)
    return np.asarray((edges[:-1] + edges[1:]) / 2)


def _middle_range(images: Sequence[FloatArray]) -> tuple[float, float]:
    values = np.concatenate([image[np.isfinite(image)] for image in images])
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, [1, 99]))
    if low == high:
        low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + (abs(low) or 1.0)


def _show(axes: Any, cut: _Cut, image: FloatArray, black: float, white: float) -> None:
    extent = (*cut.right_mm, *cut.up_mm)
    grey = np.nan_to_num(np.clip((image - black) / (white - black), 0, 1))
    if image.ndim == 3:
        grey = grey[..., :3] if image.shape[2] >= 3 else grey[..., 0]
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=extent, origin="lower", interpolation="nearest")
    axes.set(xticks=[], yticks=[], xlim=cut.right_mm, ylim=cut.up_mm)
    for spine in axes.spines.values():
        spine.set_edgecolor("#555555")
    plane = cut.plane
    if plane.normal:
        value = cut.center_ras["RAS".index(plane.normal)]
        axes.set_title(f"{plane.name}, {plane.normal} {value:.1f} mm", color="white", fontsize=10)
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    sides = (("left", "center"), ("right", "center"), ("center", "bottom"), ("center", "top"))
    for letter, (x, y), (horizontal, vertical) in zip(plane.letters, places, sides, strict=True):
        _write(axes, x, y, letter, ha=horizontal, va=vertical, transform=axes.transAxes, weight="bold")
    if plane.normal:
        _scale_bar(axes, cut)


def _scale_bar(axes: Any, cut: _Cut) -> None:
    length = next((mm for mm in (100, 50, 20, 10, 5, 2, 1) if mm < cut.width_mm / 3), 1)
    x, y = cut.right_mm[0] + 0.04 * cut.width_mm, cut.up_mm[0] + 0.05 * cut.height_mm
    for color, width in (("black", 4), ("white", 2)):
        axes.plot([x, x + length], [y, y], color=color, linewidth=width, solid_capstyle="butt")
    _write(axes, x, y + 0.015 * cut.height_mm, f"{length} mm", fontsize=8, va="bottom")


def _write(axes: Any, x: float, y: float, text: str, **style: Any) -> None:
    """Write in white with a black rim, legible on any image."""
    from matplotlib.patheffects import withStroke

    axes.text(x, y, text, color="white", path_effects=[withStroke(linewidth=2, foreground="black")], **style)


def _mark(axes: Any, cut: _Cut, prompt: Prompt, grid: Grid) -> None:
    """Draw a click where it is, when it is on this slice; any other prompt as the outline of what it marks."""
    colour = _NEGATIVE if prompt.sign == "-" else _POSITIVE
    if isinstance(prompt, Point):
        x, y, depth = cut.project(prompt.positions_ras())
        if abs(float(depth[0])) <= cut.slab_mm * (1 + 1e-6):
            for color, width in (("black", 4.0), (colour, 1.5)):
                axes.plot(x, y, "o", markersize=13, fillstyle="none", color=color, markeredgewidth=width)
                axes.plot(x, y, "_" if prompt.sign == "-" else "+", markersize=7, color=color, markeredgewidth=width)
    elif len(prompt.positions_ras()):
        patch = rasterize(prompt, grid)
        mask = np.zeros(grid.shape_kji, dtype=bool)
        mask[patch.extent.slices] = patch.mask_kji
        _outline(axes, cut, mask, colour, linestyle="dashed")


def _outline(axes: Any, cut: _Cut, mask_kji: NDArray[np.bool_], colour: Any, linestyle: str = "solid") -> None:
    inside = np.nan_to_num(cut.sample(mask_kji.view(np.uint8), order=0))
    if inside.any():
        # A rim of background, so that an outline along the edge of the image closes.
        rows, columns = _rimmed(cut.rows_mm), _rimmed(cut.columns_mm)
        axes.contour(
            columns, rows, np.pad(inside, 1), levels=[0.5], colors=[colour], linewidths=1.4, linestyles=linestyle
        )


def _rimmed(middles_mm: FloatArray) -> FloatArray:
    step = middles_mm[1] - middles_mm[0] if len(middles_mm) > 1 else 1.0
    return np.concatenate([[middles_mm[0] - step], middles_mm, [middles_mm[-1] + step]])


def _legend(figure: Any, segments: Sequence[Segment], grid: Grid) -> None:
    for number, segment in enumerate(segments):
        text = f"{segment.name}: {segment.size_on(grid)}"
        figure.text(0.01 + 0.2 * number, 0.015, text, color=segment.rgb, fontsize=10, va="bottom")


def _letter(direction_ras: Sequence[float], sign: int) -> str:
    main = int(np.abs(direction_ras).argmax())
    return ("RL", "AP", "SI")[main][0 if direction_ras[main] * sign > 0 else 1]
