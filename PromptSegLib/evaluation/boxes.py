"""Boxes that a user draws around a structure."""

from __future__ import annotations

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent, FloatArray, Grid, flip_axes
from PromptSegLib.prompts import Box

# MedSAM's: up to 20 pixels of an image that is 1024 pixels wide.
_MEDSAM_SHIFT = 20 / 1024


def box_with_margin(truth_kji: BoolArray, grid: Grid, margin: float = 0.0) -> Box:
    """Return the box around `truth_kji`, each side larger by `margin`, a part of its length, at either end.

    A box on the slice where the image is one.

    Raises:
        GeometryError: nothing is set.
    """
    extent = _extent(truth_kji)
    grow = np.round(margin * np.array(extent.shape_kji))
    return _box(extent, grid, grow, grow)


def jittered_box(truth_kji: BoolArray, grid: Grid, seed: int) -> Box:
    """Return a box that is too large by a random amount at each face, as MedSAM is trained and tested with.

    Each face lies up to 20/1024 of the image's side outside of the structure. Ma et al., "Segment anything in medical
    images", Nature Communications 2024.

    Raises:
        GeometryError: nothing is set.
    """
    rng = np.random.default_rng(seed)
    most = np.round(_MEDSAM_SHIFT * np.array(grid.shape_kji))
    low, high = (np.floor(rng.uniform(0, most + 1)) for _ in range(2))
    return _box(_extent(truth_kji), grid, low, high)


def _extent(truth_kji: BoolArray) -> Extent:
    extent = Extent.of_mask(truth_kji)
    if extent is None:
        raise GeometryError("expected a structure of at least one voxel, got none")
    return extent


def _box(extent: Extent, grid: Grid, low_kji: FloatArray, high_kji: FloatArray) -> Box:
    """Return the box around `extent`, larger by so many voxels at either end, within the image."""
    low = np.maximum(np.array(extent.start_kji) - low_kji, 0)
    high = np.minimum(np.array(extent.stop_kji) - 1 + high_kji, np.array(grid.shape_kji) - 1)
    return Box.from_indices(grid, flip_axes(low), flip_axes(high))
