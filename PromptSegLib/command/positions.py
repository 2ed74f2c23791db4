"""Positions as people write them, as prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import FloatArray, Grid, flip_axes, lps_from_ras
from PromptSegLib.prompts import Box, Point, Prompt


def prompt_at(kind: str, numbers: Sequence[float], frame: str, grid: Grid) -> Prompt:
    """Return the prompt that `numbers` describe.

    kind: "positive", "negative": a click; "box": its lowest and its highest corner. numbers: coordinates in
    `frame`, "ras" or "lps" in mm, or "ijk" in voxels; two for a position on a 2D image. A box in ijk goes from
    voxel to voxel, both inside of it.

    Raises:
        PromptError: they do not fit to the image, or a box is inverted.
    """
    if kind != "box":
        position = _position(numbers, frame, grid)
        x, y, z = grid.to_ras(position) if frame == "ijk" else _to_ras(position, frame)
        return Point((float(x), float(y), float(z)), positive=kind == "positive")
    half = len(numbers) // 2
    low, high = (_position(corner, frame, grid) for corner in (numbers[:half], numbers[half:]))
    if (high < low).any():
        raise PromptError(
            f"expected a box from its lowest to its highest corner, got {_text(low)} to {_text(high)} ({frame})"
        )
    if frame == "ijk":
        return Box.from_indices(grid, low, high)
    corners = np.sort([_to_ras(low, frame), _to_ras(high, frame)], axis=0)
    return Box.from_corners(corners[0], corners[1])


def _to_ras(position: FloatArray, frame: str) -> FloatArray:
    return lps_from_ras(position) if frame == "lps" else position


def _position(numbers: Sequence[float], frame: str, grid: Grid) -> FloatArray:
    """Return three coordinates in `frame`; the third of a 2D image is that of its only slice."""
    values = np.asarray(numbers, dtype=np.float64)
    if len(values) == 2:
        values = np.append(values, _only_slice(frame, grid))
    if frame == "ijk":
        counts = flip_axes(grid.shape_kji)
        if (values < -0.5).any() or (values > counts - 0.5).any():
            ranges = ", ".join(f"{axis} 0 to {count - 1}" for axis, count in zip("ijk", counts, strict=True))
            raise PromptError(f"expected a position inside the image ({ranges}), got {_text(values)}: outside of it")
    return values


def _only_slice(frame: str, grid: Grid) -> float:
    if grid.shape_kji[0] > 1:
        raise PromptError(f"expected X,Y,Z for an image of {grid.shape_kji[0]} slices, got two coordinates")
    if frame == "ijk":
        return 0.0
    if abs(grid.directions[2, 2]) < 1 - 1e-6:
        raise PromptError("expected X,Y,Z for a slice that is not axial, got two coordinates; or use --frame ijk")
    return float(grid.ijk_to_ras[2, 3])


def _text(values: FloatArray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
