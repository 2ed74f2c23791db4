"""Intensities as what networks for pictures take: greys or colours between black and white.

What is black and what is white comes from a window that somebody gave, or from the image by a rule of the network's
own; never from how the image happens to be displayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume

# Percentiles of this many voxels, evenly spread, differ from those of all by less than a grey level; all of a large
# CT take 1 s, these 0.02.
ENOUGH_VOXELS = 2**21


# Windows in which radiologists look at CT, in HU, and the intensities of what they look at in them.
_LUNG, _SOFT_TISSUE, _BONE = Window(-1350, 150), Window(-160, 240), Window(-500, 1300)
_LUNG_HU, _BONE_HU = -400.0, 300.0
# Air around or within the patient, as CT has it; and what no CT falls below, padding around a round field of view.
_AIR_HU, _PADDING_HU = -800.0, -4100.0


@dataclass(frozen=True)
class IntensityRule:
    """Where black and white are when nobody gave a window.

    over: the voxels that decide: of the whole volume, so that all its slices look alike, or of the slice alone.
    low, high: percentiles of them that become black and white. positive_only: leave out what is not above 0, in an
    image without negative values: the empty surroundings in MR. keeps_bytes: whether images of 8 bit are taken as
    they are.
    """

    over: Literal["volume", "slice"] = "volume"
    low: float = 0.5
    high: float = 99.5
    positive_only: bool = False
    keeps_bytes: bool = True

    def window(self, volume: Volume, pixels: NDArray[Any]) -> Window | None:
        """Return the window for `pixels`, a slice of `volume`; None where nothing differs from anything else."""
        if self.keeps_bytes and volume.array.dtype == np.uint8:
            return Window(0, 255)
        values = thinned(volume.array) if self.over == "volume" else pixels
        values = values[np.isfinite(values)].astype(np.float64)
        if self.positive_only and values.size and values.min() >= 0:
            values = values[values > 0]
        if values.size == 0:
            return None
        low, high = (float(v) for v in np.percentile(values, [self.low, self.high]))
        if low == high:
            low, high = float(values.min()), float(values.max())
        return Window(low, high) if low < high else None


def is_ct(volume: Volume) -> bool:
    """Tell whether the values of `volume` are those of a CT: of one component, with air about -1000 HU in them."""
    if volume.array.ndim != 3 or volume.array.dtype.kind not in "if":
        return False
    values = thinned(volume.array)
    values = values[np.isfinite(values)]
    return values.size > 0 and bool(_PADDING_HU < np.percentile(values, 1) < _AIR_HU)


def window_of_tissue(intensity_hu: float) -> Window:
    """Return the window, in HU, in which radiologists look at tissue of that intensity: lung, soft tissue or bone."""
    if intensity_hu < _LUNG_HU:
        return _LUNG
    return _SOFT_TISSUE if intensity_hu < _BONE_HU else _BONE


def thinned(array: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th voxel along each of the first three axes, n as small as leaves about `ENOUGH_VOXELS`."""
    step = int(np.ceil((array.size / ENOUGH_VOXELS) ** (1 / 3)))
    return array[::step, ::step, ::step]


def between_black_and_white(pixels: NDArray[Any], window: Window | None) -> NDArray[np.float32]:
    """Return intensities of any shape as 0 (black) to 1 (white), float32; NaN is black, without a window all is."""
    if window is None:
        return np.zeros(pixels.shape, dtype=np.float32)
    values = np.nan_to_num(pixels.astype(np.float64), nan=window.low, posinf=window.high, neginf=window.low)
    scaled = (np.clip(values, window.low, window.high) - window.low) / (window.high - window.low)
    return scaled.astype(np.float32)


def as_rgb(pixels: NDArray[Any], window: Window | None) -> NDArray[np.uint8]:
    """Return pixels (h, w) or (h, w, component) as colours (h, w, 3), uint8; grey is repeated.

    Raises:
        VolumeError: for pixels of two components.
    """
    grey_levels = np.rint(255 * between_black_and_white(pixels, window)).astype(np.uint8)
    if grey_levels.ndim == 2:
        return np.repeat(grey_levels[..., None], 3, axis=2)
    if grey_levels.shape[2] == 1:
        return np.repeat(grey_levels, 3, axis=2)
    if grey_levels.shape[2] not in (3, 4):
        raise VolumeError(f"expected grey or RGB, got pixels of {grey_levels.shape[2]} components")
    return np.ascontiguousarray(grey_levels[..., :3])


def as_grey(pixels: NDArray[Any], window: Window | None) -> NDArray[np.float32]:
    """Return pixels (h, w) or (h, w, component) as 0 (black) to 1 (white), float32 (h, w); colours are averaged."""
    scaled = between_black_and_white(pixels, window)
    return scaled if scaled.ndim == 2 else np.asarray(scaled[..., :3].mean(axis=2), dtype=np.float32)


def as_bytes(values: NDArray[Any], window: Window | None) -> NDArray[np.float32]:
    """Return intensities of any shape as whole numbers from 0 (black) to 255 (white), rounded down, float32."""
    return np.trunc(255 * between_black_and_white(values, window))
