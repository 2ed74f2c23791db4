"""Channels on grids of their own: sampled where they are, never made up where they are not."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import Grid, affine_from_parts, flip_axes
from PromptSegLib.imaging.co_registration import as_image, co_registered
from PromptSegLib.volume import Volume

SLOPE, OFFSET = np.array([0.5, -1.25, 2.0]), 300.0


def linear_image(grid, dtype=np.float64):
    """Return a volume whose values are linear in RAS: linear sampling gives them exactly, on every grid."""
    index_kji = np.moveaxis(np.indices(grid.shape_kji), 0, -1)
    return Volume((grid.to_ras(flip_axes(index_kji)) @ SLOPE + OFFSET).astype(dtype), grid.ijk_to_ras)


def within_centres(grid, points_ras):
    """Tell which of the points lie between voxel centres of `grid`, where nothing is extrapolated."""
    ijk = grid.to_ijk(points_ras)
    return ((ijk >= 0) & (ijk <= flip_axes(grid.shape_kji) - 1.0)).all(axis=-1)


@settings(deadline=None, max_examples=80)
@given(reference=strategies.grids(), channel=strategies.grids(), fraction=st.floats(0, 1))
def test_a_channel_on_any_grid_has_its_values_where_they_are_and_its_lowest_elsewhere(reference, channel, fraction):
    matrix = channel.ijk_to_ras.copy()  # brought to where it overlaps
    meeting = reference.to_ras(flip_axes(reference.shape_kji) * fraction - 0.5 * (fraction > 0))
    matrix[:3, 3] += meeting - channel.to_ras((flip_axes(channel.shape_kji) - 1) / 2)
    volume = linear_image(Grid(channel.shape_kji, matrix))
    ct = Volume(np.zeros(reference.shape_kji), reference.ijk_to_ras)
    points = reference.to_ras(flip_axes(np.moveaxis(np.indices(reference.shape_kji), 0, -1)))
    inside = volume.grid.contains(points)
    if not inside.any():
        with pytest.raises(GeometryError, match="they do not overlap"):
            co_registered({"ct": ct, "pet": volume})
        return
    image = co_registered({"ct": ct, "pet": volume})
    array = image.channels["pet"].array
    exact = within_centres(volume.grid, points)
    np.testing.assert_allclose(array[exact], (points @ SLOPE + OFFSET)[exact], atol=1e-2)
    assert np.allclose(array[~inside], volume.array.min())
    assert image.covered["pet"] == pytest.approx(inside.mean(), abs=1e-9)
    assert array.dtype == np.float32 or volume.grid.matches(reference)
    assert image.channels["ct"] is ct


def test_an_oblique_channel_lies_where_the_anatomy_is():
    reference = Grid((30, 40, 50), affine_from_parts((1.0, 1.0, 1.5), np.diag([-1.0, -1, 1]), (25.0, 20, -20)))
    oblique = Grid((40, 44, 48), affine_from_parts((1.7, 1.6, 2.0), strategies.rotation(5), (0, 0, 0)))
    matrix = oblique.ijk_to_ras.copy()
    matrix[:3, 3] -= oblique.to_ras((23.5, 21.5, 19.5)) - reference.to_ras((24.5, 19.5, 14.5))
    oblique = Grid(oblique.shape_kji, matrix)
    index = flip_axes(np.moveaxis(np.indices(oblique.shape_kji), 0, -1))
    centre = reference.to_ras((30, 22, 12))
    blob = np.exp(-(np.linalg.norm(oblique.to_ras(index) - centre, axis=-1) ** 2) / 50)
    pet = co_registered({"ct": Volume(np.zeros(reference.shape_kji), reference.ijk_to_ras),
                         "pet": Volume(blob, oblique.ijk_to_ras)}).channels["pet"].array  # fmt: skip
    assert flip_axes(np.unravel_index(pet.argmax(), pet.shape)).tolist() == pytest.approx([30, 22, 12], abs=1)


def test_channels_on_the_reference_grid_are_used_as_they_are():
    ct, pet = (Volume(np.zeros((2, 3, 4)), np.diag([2.0, 2, 2, 1])) for _ in range(2))
    image = as_image({"ct": ct, "pet": pet})
    assert image.channels["pet"] is pet
    assert image.covered == {"ct": 1.0, "pet": 1.0}
    assert image.gaps == ()


def test_what_a_channel_does_not_reach_is_told():
    ct = Volume(np.zeros((10, 4, 4)))
    image = as_image({"ct": ct, "pet": Volume(np.full((5, 4, 4), 7.0))})
    assert image.gaps == ("channel 'pet' covers 50.0 % of 'ct'; beyond, its lowest value is taken",)
    almost = as_image({"ct": Volume(np.zeros((1, 100, 100))), "pet": Volume(np.ones((1, 200, 99)))})
    assert "covers 99.0 %" in almost.gaps[0]


def test_channels_that_do_not_overlap_are_refused_saying_where_each_is():
    away = np.diag([1.0, 1, 1, 1])
    away[2, 3] = 500
    with pytest.raises(GeometryError, match=r"'pet' where 'ct' is \(.*S -0.5 to 1.5 mm, RAS\), got .*do not overlap"):
        as_image({"ct": Volume(np.zeros((2, 3, 4))), "pet": Volume(np.zeros((2, 3, 4)), away)})


def test_colour_on_another_grid_is_refused():
    with pytest.raises(VolumeError, match="one value in each voxel of channel 'photo'"):
        as_image({"ct": Volume(np.zeros((2, 3, 4))), "photo": Volume(np.zeros((2, 4, 4, 3)))})


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float64])
def test_voxels_of_every_type_are_resampled(dtype):
    pet = Volume(np.arange(24).reshape(2, 3, 4).astype(dtype), np.diag([2.0, 2, 2, 1]))
    fine = as_image({"ct": Volume(np.zeros((3, 5, 7))), "pet": pet}).channels["pet"].array
    np.testing.assert_allclose(fine[::2, ::2, ::2], pet.array.astype(np.float32))


def test_a_voxel_that_is_no_number_does_not_spread():
    array = np.full((3, 3, 3), 5.0)
    array[1, 1, 1] = np.nan
    array[0, 0, 0] = 2.0
    fine = as_image({"ct": Volume(np.zeros((5, 5, 5))), "pet": Volume(array, np.diag([2.0, 2, 2, 1]))})
    assert np.isfinite(fine.channels["pet"].array).all()
    assert fine.channels["pet"].array[2, 2, 2] == 2.0
