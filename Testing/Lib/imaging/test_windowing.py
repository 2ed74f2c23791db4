"""Black and white come from a window or a rule, and odd voxels harm nobody."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.errors import VolumeError
from PromptSegLib.imaging.windowing import IntensityRule, as_grey, as_rgb, is_ct, thinned, window_of_tissue
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume


def window_of(array, pixels=None, **rule):
    return IntensityRule(**rule).window(Volume(array), array[0] if pixels is None else pixels)


def test_a_window_maps_its_ends_to_black_and_white():
    pixels = np.array([[-500, -160, 40, 240, 3000]], dtype=np.int16)
    assert as_rgb(pixels, Window(-160, 240))[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    np.testing.assert_allclose(as_grey(pixels, Window(-160, 240))[0], [0, 0, 0.5, 1, 1])


def test_bytes_are_taken_as_they_are():
    array = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    window = window_of(array)
    np.testing.assert_array_equal(as_rgb(array[0], window)[..., 1], array[0])


def test_a_rule_over_the_volume_makes_all_slices_look_alike():
    array = np.linspace(0, 1000, 20 * 30 * 30).reshape(20, 30, 30)
    window = window_of(array)
    assert window.low == pytest.approx(5, abs=1)
    assert window.high == pytest.approx(995, abs=1)
    over_slice = window_of(array, over="slice")
    assert over_slice.high < 60


def test_percentiles_of_a_large_volume_are_those_of_all_voxels():
    array = np.random.default_rng(2).normal(100, 20, (160, 160, 160)).astype(np.float32)
    assert thinned(array).size < array.size
    window = window_of(array)
    np.testing.assert_allclose([window.low, window.high], np.percentile(array, [0.5, 99.5]), atol=0.3)


def test_the_empty_surroundings_of_mr_can_be_left_out():
    array = np.zeros((2, 20, 20))
    array[:, 5:, :] = np.linspace(100, 200, 300).reshape(15, 20)
    assert window_of(array, positive_only=True).low > 99
    assert window_of(array).low == 0
    assert window_of(array - 1, positive_only=True).low == -1


def test_voxels_that_are_not_finite_are_left_out_and_shown_black_or_white():
    array = np.linspace(0, 100, 400).reshape(1, 20, 20)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    window = window_of(array)
    assert window.high < 101
    assert as_grey(array[0], window)[0, :3].tolist() == [0, 1, 0]


@pytest.mark.parametrize("value", [7, np.nan])
def test_an_image_without_contrast_is_black(value):
    array = np.full((2, 4, 4), value, dtype=float)
    assert window_of(array) is None
    assert not as_rgb(array[0], None).any()


def test_masks_are_images_too():
    array = np.zeros((1, 4, 4), dtype=bool)
    array[0, 1, 1] = True
    assert as_rgb(array[0], window_of(array)).max() == 255


def test_colour_stays_colour_and_transparency_goes():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(as_rgb(pixels, Window(0, 255)), pixels[..., :3])
    assert as_grey(pixels, Window(0, 255)).shape == (4, 5)


def test_two_components_are_no_colour():
    with pytest.raises(VolumeError, match="expected grey or RGB, got pixels of 2 components"):
        as_rgb(np.zeros((4, 5, 2)), Window(0, 1))


def test_a_ct_is_known_by_its_air():
    hu = np.full((10, 20, 20), 40, dtype=np.int16)
    hu[:, :3] = -1000
    assert is_ct(Volume(hu))
    assert is_ct(Volume(np.where(hu == 40, hu, np.nan).astype(np.float32))) is False
    assert is_ct(Volume(np.where(hu == 40, 40.0, -3024.0)))  # padding around a round field of view
    assert not is_ct(Volume(hu + 1024))
    assert not is_ct(Volume((hu + 1024).astype(np.uint16)))
    assert not is_ct(Volume(np.repeat(hu[..., None], 3, axis=3)))


@pytest.mark.parametrize(
    ("hu", "low", "high"), [(-800, -1350, 150), (-90, -160, 240), (60, -160, 240), (700, -500, 1300)]
)
def test_each_tissue_has_its_window(hu, low, high):
    assert window_of_tissue(hu) == Window(low, high)
