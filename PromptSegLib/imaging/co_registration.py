"""Volumes of one patient in one frame, each on a grid of its own, brought onto one grid: the channels of an image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import FloatArray, Grid
from PromptSegLib.volume import Image, Volume


def as_image(source: Image | Volume | Mapping[str, Volume] | ArrayLike) -> Image:
    """Return `source` as an Image; a bare array (k, j, i) gets the identity as its geometry.

    Of several named volumes the first one is the reference; those on other grids are resampled to it.

    Raises:
        GeometryError: one of them does not overlap it; see `co_registered`.
    """
    if isinstance(source, Image):
        return source
    if isinstance(source, Volume):
        return Image(source)
    if isinstance(source, Mapping):
        return co_registered(source)
    return Image(Volume(np.asarray(source)))


def co_registered(volumes: Mapping[str, Volume]) -> Image:
    """Return `volumes` as the channels of one image, on the grid of the first one.

    A volume on another grid is sampled linearly, float32; see also `Volume.finite`. Where it does not reach, nothing
    is made up: these voxels get its lowest value, and `Image.covered` tells how much of the first one it speaks of.

    Raises:
        GeometryError: a volume and the first one have no voxel in common.
        VolumeError: for colour on another grid.
    """
    if not volumes:
        return Image(volumes)
    first, reference = next(iter(volumes.items()))
    channels: dict[str, Volume] = {}
    covered: dict[str, float] = {}
    for name, volume in volumes.items():
        if volume.grid.matches(reference.grid):
            channels[name], covered[name] = volume, 1.0
            continue
        array, covered[name] = _sampled(name, volume, reference.grid)
        if not covered[name]:
            raise GeometryError(
                f"expected channel {name!r} where {first!r} is ({reference.grid.describe_bounds()}, RAS), "
                f"got {volume!r} at {volume.grid.describe_bounds()}: they do not overlap"
            )
        channels[name] = Volume(array, reference.ijk_to_ras, volume.name)
    return Image(channels, covered)


def _sampled(name: str, volume: Volume, grid: Grid) -> tuple[NDArray[np.float32], float]:
    """Return `volume` sampled at the voxels of `grid`, and the fraction of them that lie in its own voxels."""
    from scipy import ndimage  # an image that is on one grid needs no SciPy

    if volume.components > 1:
        raise VolumeError(f"expected one value in each voxel of channel {name!r} to resample it, got {volume!r}")
    steps_kji, first_kji = grid.index_map_kji(volume.grid)
    is_known = volume.array.dtype not in (bool, np.float16)  # SciPy samples neither
    source = volume.finite() if is_known else volume.finite().astype(np.float32)
    beyond = volume.finite_range[0]
    sampled = np.empty(grid.shape_kji, np.float32)
    inside_count = 0
    for k, layer in enumerate(sampled):
        at_kji = first_kji + k * steps_kji[:, 0]
        inside = _inside(volume.grid, steps_kji[:, 1:], at_kji, grid.shape_kji[1:])
        inside_count += int(inside.sum())
        if inside.any():
            ndimage.affine_transform(
                source, steps_kji, at_kji, layer[None].shape, output=layer[None], order=1, mode="nearest"
            )
        layer[~inside] = beyond
    return sampled, inside_count / sampled.size


def _inside(grid: Grid, steps_kji: FloatArray, at_kji: FloatArray, shape_ji: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell for each pixel (j, i) whether `at_kji` + `steps_kji` @ (j, i) lies in a voxel of `grid`."""
    inside = np.ones(shape_ji, dtype=bool)
    j, i = np.ogrid[: shape_ji[0], : shape_ji[1]]
    for start, (step_j, step_i), length in zip(at_kji, steps_kji, grid.shape_kji, strict=True):
        position = start + step_j * j + step_i * i
        inside &= (position >= -0.5 - 1e-6) & (position <= length - 0.5 + 1e-6)
    return inside
