"""The slice of a lesion's longest diameter, with its outline and both diameters, as SVG."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.geometry import FloatArray, Grid, flip_axes
from PromptSegLib.measurement.diameters import SlicePlane, axial_axis
from PromptSegLib.measurement.matching import Lesion
from PromptSegLib.measurement.outline import outline_segments
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume

_PIXELS = 240
_OUTLINE, _LONGEST, _ACROSS = "#ffd43b", "#ff6b6b", "#66d9ff"
_MIDDLE = (1.0, 99.0)


def window_around(lesion: Lesion, volume: Volume, width_mm: float) -> Window:
    """Return the window that shows the middle 98 % of what is around a lesion."""
    axial = lesion.measurement.axial
    assert axial is not None
    plane = SlicePlane(lesion.grid, axial.axis)
    values = _sampled(_View(plane, axial.slice, np.mean(axial.longest.ends_ras, axis=0), width_mm), volume)
    black, white = (float(value) for value in np.percentile(values, _MIDDLE))
    return Window(black, white if white > black else black + 1)


def slice_svg(
    lesion: Lesion, lesions: Sequence[Lesion], volume: Volume | None, width_mm: float, window: Window | None
) -> str:
    """Return a square of `width_mm` around a lesion, seen from the patient's feet as radiology shows it.

    lesions: all whose outlines are drawn where they reach into the slice. volume: the image, shown by `window`; without
    one, it is black.
    """
    axial = lesion.measurement.axial
    assert axial is not None
    plane = SlicePlane(lesion.grid, axial.axis)
    view = _View(plane, axial.slice, np.mean(axial.longest.ends_ras, axis=0), width_mm)
    parts = [_picture(view, volume, window)] if volume is not None and window is not None else []
    for one in lesions:
        index = axial.slice - one.patch.extent.start_kji[axial.axis]
        if 0 <= index < one.patch.mask_kji.shape[axial.axis]:
            start = [one.patch.extent.start_kji[axis] for axis in range(3) if axis != axial.axis]
            pieces = outline_segments(np.take(one.patch.mask_kji, index, axial.axis)) + start
            ends = view.pixels(plane.to_ras(axial.slice, pieces.reshape(-1, 2))).reshape(-1, 4)
            path = "".join(f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" for x0, y0, x1, y1 in ends)
            parts.append(f'<path d="{path}" stroke="{_OUTLINE}" stroke-width="1.4" fill="none"/>')
    for line, colour in ((axial.longest, _LONGEST), (axial.perpendicular, _ACROSS)):
        (x0, y0), (x1, y1) = view.pixels(np.array(line.ends_ras))
        parts.append(
            f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" stroke-width="1.8"/>'
        )
    return _drawn(parts, width_mm)


def place_svg(middle_ras: FloatArray, grid: Grid, volume: Volume, width_mm: float, window: Window) -> str:
    """Return the same around a place where no lesion is any more. grid: of the segmentation of this time point."""
    axis = axial_axis(grid)
    view = _View(SlicePlane(grid, axis), 0, middle_ras, width_mm)
    return _drawn([_picture(view, volume, window)], width_mm)


def _drawn(parts: Sequence[str], width_mm: float) -> str:
    """Return what is drawn as one SVG, with a scale."""
    bar = _PIXELS * 10 / width_mm
    scale = [
        f'<rect x="4" y="213" width="{max(bar, 38) + 8:.1f}" height="23" fill="#000" fill-opacity=".6"/>',
        f'<line x1="8" x2="{8 + bar:.1f}" y1="232" y2="232" stroke="#fff" stroke-width="2"/>',
        '<text x="8" y="226" fill="#fff" font-size="11" font-family="sans-serif">10 mm</text>',
    ]
    label = 'role="img" aria-label="slice through the lesion"'
    return f'<svg viewBox="0 0 {_PIXELS} {_PIXELS}" {label}>{"".join([*parts, *scale])}</svg>'


class _View:
    """A square piece of a slice as it is shown: the patient's right on the left, the front at the top."""

    def __init__(self, plane: SlicePlane, index: int, middle_ras: FloatArray, width_mm: float) -> None:
        normal = np.cross(*np.diff(plane.to_ras(index, np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])), axis=0))
        normal /= np.linalg.norm(normal)
        right = np.array([-1.0, 0.0, 0.0])
        right -= (right @ normal) * normal
        if np.linalg.norm(right) < 1e-3:  # a sagittal slice: the front on the left
            right = np.array([0.0, -1.0, 0.0]) - (-normal[1]) * normal
        self.right_ras = right / np.linalg.norm(right)
        down = np.cross(normal, self.right_ras)
        toward_back = np.array([0.0, -1.0, -1.0])  # down is to the back, or to the feet in an upright slice
        self.down_ras = down if down @ toward_back > 0 else -down
        self.middle_ras = middle_ras
        self.width_mm = width_mm

    def pixels(self, points_ras: FloatArray) -> FloatArray:
        """Map RAS (n, 3) to the picture (n, 2): x to the right, y down."""
        offsets = (points_ras - self.middle_ras) @ np.stack([self.right_ras, self.down_ras]).T
        return np.asarray((offsets / self.width_mm + 0.5) * _PIXELS)

    def places_ras(self) -> FloatArray:
        """Return where the centres of pixels are, (y, x, 3)."""
        steps = (np.arange(_PIXELS) + 0.5) / _PIXELS - 0.5
        down, right = np.meshgrid(steps * self.width_mm, steps * self.width_mm, indexing="ij")
        return np.asarray(self.middle_ras + down[..., None] * self.down_ras + right[..., None] * self.right_ras)


def _sampled(view: _View, volume: Volume) -> NDArray[np.float32]:
    """Return the image at the pixels of a view, (y, x); beyond its border the nearest values."""
    places_kji = np.moveaxis(flip_axes(volume.grid.to_ijk(view.places_ras())), -1, 0)
    low = np.floor(places_kji.reshape(3, -1).min(axis=1)).astype(int) - 1
    high = np.ceil(places_kji.reshape(3, -1).max(axis=1)).astype(int) + 2
    start = np.clip(low, 0, np.subtract(volume.array.shape[:3], 1))
    stop = np.clip(high, start + 1, volume.array.shape[:3])
    piece = volume.array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].astype(np.float32)
    piece = np.nan_to_num(piece, posinf=0.0, neginf=0.0)
    return np.asarray(ndimage.map_coordinates(piece, places_kji - start[:, None, None], order=1, mode="nearest"))


def _picture(view: _View, volume: Volume, window: Window) -> str:
    grey = np.clip((_sampled(view, volume) - window.low) / (window.high - window.low), 0, 1) * 255
    grey[~volume.grid.contains(view.places_ras())] = 0
    encoded = base64.b64encode(_png(grey.astype(np.uint8))).decode("ascii")
    return f'<image width="{_PIXELS}" height="{_PIXELS}" href="data:image/png;base64,{encoded}"/>'


def _png(grey: NDArray[np.uint8]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slice.png"
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(path), True)
        return path.read_bytes()
