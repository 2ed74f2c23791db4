"""What looks like the strokes is found wherever it lies: by brightness, by texture, by curvature; sure answers help."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from PromptSegLib.predictors.default.appearance import appearance_of

SHAPE = (1, 90, 100)
_, J, I = np.indices(SHAPE)  # noqa: E741 - the axes' names
UNKNOWN = np.full(SHAPE, 0.5, dtype=np.float32)


def noise(deviation, seed=0):
    return np.random.default_rng(seed).normal(0, deviation, SHAPE)


def stroke(rows, columns):
    """Return a filled rectangle of voxels."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, slice(*rows), slice(*columns)] = True
    return mask


def right(likeness, truth):
    """Return the mean share, of both sides, that is on the right one."""
    return ((likeness > 0.5)[truth].mean() + (likeness <= 0.5)[~truth].mean()) / 2


def test_a_texture_is_told_from_another_of_the_same_brightness():
    rough = J < 45
    image = (0.5 + np.where(rough, noise(0.2), noise(0.03))).astype(np.float32)
    likeness = appearance_of(image, stroke((10, 13), (10, 40)), stroke((70, 73), (10, 40)), UNKNOWN)
    assert likeness.dtype == np.float32
    assert likeness.shape == SHAPE
    assert right(likeness, rough) > 0.9


@pytest.mark.parametrize("sign", [1, -1])
def test_lines_that_nobody_stroked_are_found_on_a_background_that_drifts(sign):
    lines = I % 20 < 3
    image = (0.2 + 0.006 * J + sign * 0.08 * lines + noise(0.01)).astype(np.float32)
    image = ndimage.gaussian_filter(image, (0, 0.7, 0.7))
    likeness = appearance_of(image, stroke((20, 60), (40, 43)), stroke((20, 60), (47, 50)), UNKNOWN)
    far = np.where(np.abs(I - 45) > 15, lines, False)
    assert (likeness > 0.5)[far].mean() > 0.9
    assert right(likeness, lines) > 0.9


def test_what_a_network_is_sure_of_is_an_example_too():
    structure = I < 50  # its lower half is darker, which no stroke tells
    image = np.where(structure, np.where(J < 45, 0.9, 0.1), 0.5).astype(np.float32) + noise(0.02).astype(np.float32)
    strokes = stroke((10, 13), (10, 40)), stroke((10, 13), (60, 90))
    lower = structure & (J > 55)
    alone = appearance_of(image, *strokes, UNKNOWN)
    told = appearance_of(image, *strokes, np.where(structure, 0.97, 0.03).astype(np.float32))
    assert (alone > 0.5)[lower].mean() < 0.5
    assert right(told, structure) > 0.95


def test_in_a_volume_and_with_one_stroked_voxel_of_each_sign():
    inside = np.indices((12, 20, 24))[2] < 12
    image = np.where(inside, 0.7, 0.3).astype(np.float32)
    one, other = np.zeros((2, *image.shape), dtype=bool)
    one[6, 10, 5] = other[6, 10, 18] = True
    likeness = appearance_of(image, one, other, np.full(image.shape, 0.5, dtype=np.float32))
    assert np.isfinite(likeness).all()
    assert likeness[inside].mean() > likeness[~inside].mean()
