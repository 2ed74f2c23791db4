from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.sam.antialias import resized_antialiased


def test_a_constant_image_stays_constant():
    for value in (0, 1, 128, 255):
        resized = resized_antialiased(np.full((37, 90, 3), value, np.uint8), (113, 20))
        assert resized.shape == (113, 20, 3)
        assert (resized == value).all()


def test_an_image_of_the_right_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    assert (resized_antialiased(image, (20, 30)) == image).all()


def test_halving_weighs_pixels_by_a_triangle_twice_as_wide():
    row = np.array([[70, 0, 0, 0], [0, 70, 0, 0], [0, 0, 0, 70]], np.uint8)
    # The triangle weighs pixels 0, 1, 2 with 3 : 3 : 1 at the left end, and 1, 2, 3 with 1 : 3 : 3 at the right.
    assert (resized_antialiased(row, (3, 2)) == [[30, 0], [30, 10], [0, 30]]).all()


def test_doubling_interpolates_between_centres():
    column = np.array([[0], [100]], np.uint8)
    assert (resized_antialiased(column, (4, 1)).ravel() == [0, 25, 75, 100]).all()


def test_rows_are_rounded_before_columns_are_summed():
    # Half a grey level in each row rounds up before the rows are mixed.
    image = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], np.uint8)
    assert (resized_antialiased(image, (1, 1)) == 1).all()
    assert (resized_antialiased(image, (2, 1)) == [[0], [1]]).all()


def test_grey_and_colour_images_are_resized_alike():
    image = np.random.default_rng(1).integers(0, 256, (41, 67, 3), dtype=np.uint8)
    resized = resized_antialiased(image, (64, 24))
    for channel in range(3):
        assert (resized_antialiased(image[..., channel], (64, 24)) == resized[..., channel]).all()


def test_an_image_of_floats_is_refused():
    with pytest.raises(VolumeError, match=r"uint8.*float64"):
        resized_antialiased(np.zeros((4, 4)), (2, 2))
