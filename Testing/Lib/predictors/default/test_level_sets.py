"""What fills a box is found among the image's level sets: it reaches the faces, ends at edges and suits a network."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from PromptSegLib.predictors.default.level_sets import filling_of

SHAPE = (30, 36, 40)
K, J, I = np.indices(SHAPE)  # noqa: E741 - the axes' names


def rendered(mask, brightness=0.8, noise=0.05, seed=0):
    """Return an image of `mask` : 0.3 around it, blurred at its edges."""
    clean = ndimage.gaussian_filter(np.where(mask, brightness, 0.3), [0.5 * (n > 1) for n in mask.shape])
    return (clean + np.random.default_rng(seed).normal(0, noise, mask.shape)).astype(np.float32)


def ellipsoid(shape):
    """Return what a network answers that knows no better: 0.7 in an ellipsoid in the box, 0.1 around it."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    inside = sum(((a - (n - 1) / 2) / max(0.4 * n, 1)) ** 2 for a, n in zip(axes, shape, strict=True)) <= 1
    return np.where(inside, 0.7, 0.1).astype(np.float32)


def dice(mask, truth):
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


@pytest.mark.parametrize("brightness", [0.8, 0.0])
def test_a_bent_structure_is_found_that_fills_less_than_half_of_its_box(brightness):
    arc = 30 - 24 * np.sin(np.pi * I / 39)  # from a lower corner over the top and down again
    bent, network = abs(J - arc) < 7, ellipsoid(SHAPE)
    assert dice(network > 0.5, bent) < 0.4
    found = filling_of(rendered(bent, brightness), network)
    assert dice(found.best, bent) > 0.9
    assert dice(found.likelihood > 0.5, bent) > 0.8
    assert 0 <= found.likelihood.min() <= found.likelihood.max() <= 1


def test_what_does_not_reach_the_box_is_not_what_was_meant():
    core = (K - 15) ** 2 + (J - 18) ** 2 + (I - 20) ** 2 < 5**2
    shell = ((K - 14.5) / 15) ** 2 + ((J - 17.5) / 18) ** 2 + ((I - 19.5) / 20) ** 2 <= 1
    image = np.where(core, 0.7, 0).astype(np.float32) + rendered(shell, 0.6)
    found = filling_of(image, np.where(core, 0.9, 0.1).astype(np.float32))
    assert dice(found.best, shell) > 0.9  # with the core, as a hole in it


def test_in_a_slice_holes_are_filled_too():
    plane = np.indices((1, 40, 50))
    distance = ((plane[1] - 19.5) / 20) ** 2 + ((plane[2] - 24.5) / 25) ** 2
    ring = (distance <= 1) & (distance > 0.2)
    found = filling_of(rendered(ring), ellipsoid(ring.shape))
    assert dice(found.best, distance <= 1) > 0.93


@pytest.mark.parametrize("image", [np.full(SHAPE, 0.4, np.float32), np.zeros((1, 1, 1), np.float32)])
def test_without_any_contrast_nothing_is_said(image):
    assert filling_of(image, np.full(image.shape, 0.6, np.float32)) is None


def test_it_turns_with_the_image():
    rod = (abs(J - 35 * I / 39) < 4) & (abs(K - 29 * I / 39) < 4)
    image, network = rendered(rod), ellipsoid(SHAPE)
    found = filling_of(image, network)
    turned = filling_of(image.transpose(2, 0, 1)[::-1], network.transpose(2, 0, 1)[::-1])
    np.testing.assert_array_equal(turned.best, found.best.transpose(2, 0, 1)[::-1])
    np.testing.assert_allclose(turned.likelihood, found.likelihood.transpose(2, 0, 1)[::-1], atol=1e-4)


@pytest.mark.parametrize("kept", [slice(None), slice(15, 16)], ids=["volume", "slice"])
def test_only_differences_of_brightness_count(kept):
    rod = (abs(J - 35 * I / 39) < 6)[kept]
    image, network = rendered(rod), ellipsoid(rod.shape)
    found, brighter = (filling_of(image + shift, network) for shift in (0, np.float32(0.5)))
    np.testing.assert_array_equal(brighter.best, found.best)
    np.testing.assert_allclose(brighter.likelihood, found.likelihood, atol=1e-3)
