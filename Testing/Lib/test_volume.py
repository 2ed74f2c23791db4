"""Images with their geometry."""

from __future__ import annotations

import numpy as np
import pytest
import strategies

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import affine_from_parts
from PromptSegLib.imaging.co_registration import as_image
from PromptSegLib.volume import Image, Volume

OBLIQUE = affine_from_parts((0.7, 0.8, 3.0), strategies.rotation(3), (-120.0, 35.0, 60.0))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "int64", "float16", "float32", "float64"])
def test_voxels_of_any_real_type_are_taken_as_they_are(dtype):
    array = np.zeros((2, 3, 4), dtype=dtype)
    volume = Volume(array)
    assert volume.array is array
    assert volume.array.dtype == dtype
    assert volume.finite_range == (0.0, 0.0)


@pytest.mark.parametrize("dtype", ["complex64", "object", "U3", "datetime64[s]"])
def test_voxels_that_are_no_intensities_are_refused(dtype):
    with pytest.raises(VolumeError, match="bool, integer or floating"):
        Volume(np.zeros((2, 3, 4), dtype=dtype))


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 4, 0)])
def test_a_volume_without_voxels_is_refused(shape):
    with pytest.raises(VolumeError, match="at least one voxel"):
        Volume(np.zeros(shape))


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 1, 1)])
def test_an_array_of_another_number_of_axes_is_refused(shape):
    with pytest.raises(VolumeError, match=r"an array \(k, j, i\)"):
        Volume(np.zeros(shape))


def test_a_2d_array_is_refused_saying_how_to_give_it():
    with pytest.raises(VolumeError, match=r"give a 2D image as one slice \(1, j, i\)"):
        Volume(np.zeros((3, 4)))


def test_an_affine_of_zero_determinant_is_refused():
    with pytest.raises(GeometryError, match="three independent axes"):
        Volume(np.zeros((2, 3, 4)), np.diag([1.0, 0.0, 1.0, 1.0]))


@pytest.mark.parametrize("thin", [(1, 5, 5), (5, 1, 5), (5, 5, 1), (1, 1, 5), (1, 1, 1)])
def test_a_volume_one_voxel_thin_is_a_volume(thin):
    volume = Volume(np.zeros(thin), OBLIQUE)
    assert volume.grid.shape_kji == thin
    assert volume.grid.is_single_slice
    np.testing.assert_allclose(volume.grid.spacing_mm, [0.7, 0.8, 3.0])


def test_the_finite_range_leaves_out_nan_and_infinity():
    array = np.array([[[np.nan, -3.0, 7.0, np.inf, -np.inf]]])
    assert Volume(array).finite_range == (-3.0, 7.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_volume_without_a_finite_voxel_says_so_when_its_range_is_needed(value):
    volume = Volume(np.full((2, 3, 4), value), name="broken")
    with pytest.raises(VolumeError, match=r"at least one finite voxel.*broken: 2x3x4"):
        _ = volume.finite_range


def test_voxels_that_are_no_numbers_give_way_to_the_lowest_that_is_one():
    array = np.array([[[np.nan, -3.0, 7.0, np.inf, -np.inf]]], dtype=np.float32)
    assert Volume(array).finite().tolist() == [[[-3.0, -3.0, 7.0, -3.0, -3.0]]]
    assert Volume(array).finite().dtype == np.float32
    assert np.isnan(array[0, 0, 0]), "what was given is left alone"
    for whole in (array[..., 1:3], np.zeros((2, 3, 4), np.int16)):
        assert Volume(whole).finite() is whole


def test_the_representation_tells_shape_spacing_orientation_type_and_memory():
    text = repr(Volume(np.zeros((10, 20, 30), dtype=np.int16), np.diag([-1, -0.5, 2.5, 1]), name="CT"))
    assert text == ("Volume(CT: 10x20x30 (k, j, i), int16, spacing 1 x 0.5 x 2.5 mm (i, j, k), LPS, 0.0 MiB)")
    assert "oblique" in repr(Volume(np.zeros((2, 2, 2)), OBLIQUE))
    assert "3 components" in repr(Volume(np.zeros((2, 2, 2, 3), dtype=np.uint8)))


def test_colour_is_a_trailing_component_axis():
    volume = Volume(np.zeros((1, 4, 5, 3), dtype=np.uint8))
    assert volume.components == 3
    assert volume.grid.shape_kji == (1, 4, 5)


def test_a_single_volume_is_the_channel_called_image():
    volume = Volume(np.zeros((2, 3, 4)))
    image = as_image(volume)
    assert dict(image.channels) == {"image": volume}
    assert image.reference is volume
    assert as_image(image) is image
    assert as_image(np.zeros((2, 3, 4))).grid == volume.grid


def test_channels_keep_their_names_and_order():
    pet, ct = (Volume(np.zeros((2, 3, 4)), OBLIQUE) for _ in range(2))
    image = as_image({"ct": ct, "pet": pet})
    assert list(image.channels) == ["ct", "pet"]
    assert image.reference is ct
    assert "ct=Volume(" in repr(image)


def test_channels_on_different_grids_are_refused():
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.01
    with pytest.raises(GeometryError, match=r"channel 'pet' on the grid of 'ct'.*resample it first"):
        Image({"ct": Volume(np.zeros((2, 3, 4)), OBLIQUE), "pet": Volume(np.zeros((2, 3, 4)), moved)})


def test_an_image_without_channels_is_refused():
    with pytest.raises(VolumeError, match="at least one channel"):
        Image({})
