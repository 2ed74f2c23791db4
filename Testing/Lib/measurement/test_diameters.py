"""Diameters against all pairs of points, and against shapes whose diameters are known."""

import numpy as np
import pytest
from measured_phantoms import (
    AXES,
    box,
    ellipsoid,
    face_middles,
    grid_around,
    grid_of,
    longest_across,
    longest_of_all_pairs,
    outline_pieces,
)
from scipy import ndimage
from scipy.spatial.transform import Rotation

from PromptSegLib.geometry import flip_axes
from PromptSegLib.measurement.diameters import SlicePlane, axial_axis, axial_diameters, longest_diameter


def random_mask(seed):
    """A mask of one kind out of noise, blobs, thin sheets and single voxels, on any of the grids."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 11, 3))
    noise = rng.random(shape)
    mask = [noise > 0.8, ndimage.gaussian_filter(noise, 1.2) > 0.5, noise == noise.max()][seed % 3]
    mask.flat[rng.integers(mask.size)] = True
    return mask, grid_of(list(AXES)[seed // 3 % len(AXES)], shape)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_diameters_are_those_of_all_pairs_of_points_on_random_masks(first):
    for seed in range(first, first + 20):
        mask, grid = random_mask(seed)
        points_ras = grid.to_ras(flip_axes(face_middles(mask)))
        assert longest_diameter(mask, grid).length_mm == pytest.approx(longest_of_all_pairs(points_ras), rel=1e-9)
        found = axial_diameters(mask, grid)
        axis = axial_axis(grid)
        plane = SlicePlane(grid, axis)
        slices = {n: np.take(mask, n, axis) for n in range(mask.shape[axis]) if np.take(mask, n, axis).any()}
        lengths = {n: longest_of_all_pairs(plane.to_mm(face_middles(one))) for n, one in slices.items()}
        assert found.longest.length_mm == pytest.approx(max(lengths.values()), rel=1e-9), seed
        assert lengths[found.slice] == pytest.approx(max(lengths.values()), rel=1e-9)
        along = plane.to_mm(flip_axes(grid.to_ijk(found.longest.ends_ras))[:, [a for a in range(3) if a != axis]])
        pieces = plane.to_mm(outline_pieces(slices[found.slice]))
        expected = longest_across(pieces, along[1] - along[0])
        assert found.perpendicular.length_mm == pytest.approx(expected, abs=1e-6), seed


@pytest.mark.parametrize("kind", AXES)
def test_the_ends_are_as_far_apart_as_is_said_and_the_second_is_at_a_right_angle_in_the_same_slice(kind):
    grid, centre = grid_around(kind, 14)
    mask = ellipsoid(grid, centre, (14, 9, 7), Rotation.from_euler("z", 30, degrees=True).as_matrix())
    found = axial_diameters(mask, grid)
    ends = np.array([found.longest.ends_ras, found.perpendicular.ends_ras])
    for line, pair in zip((found.longest, found.perpendicular), ends, strict=True):
        assert np.linalg.norm(pair[0] - pair[1]) == pytest.approx(line.length_mm)
        indices = flip_axes(grid.to_ijk(pair))[:, found.axis]
        assert indices == pytest.approx([found.slice] * 2)
    assert np.dot(ends[0, 1] - ends[0, 0], ends[1, 1] - ends[1, 0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["isotropic", "anisotropic", "flipped", "sheared"])
@pytest.mark.parametrize("angle", [0, 20, 45, 77])
def test_an_ellipsoid_has_its_axes_as_diameters_to_within_a_voxel(kind, angle):
    grid, centre = grid_around(kind, 20)
    mask = ellipsoid(grid, centre, (20, 11, 12), Rotation.from_euler("z", angle, degrees=True).as_matrix())
    found = axial_diameters(mask, grid)
    assert found.longest.length_mm == pytest.approx(40, abs=1.0)
    assert found.perpendicular.length_mm == pytest.approx(22, abs=1.2)


def test_slices_of_a_sagittal_image_are_axial_ones_all_the_same():
    grid, centre = grid_around("sagittal", 15)
    mask = box(grid, centre, (14, 4, 8))  # R, A, S
    found = axial_diameters(mask, grid)
    assert grid.directions[2, 2 - found.axis] == pytest.approx(1)
    assert found.longest.length_mm == pytest.approx(np.hypot(28, 8), abs=2.0)


@pytest.mark.parametrize("angle", [0, 15, 45])
def test_a_turned_box_has_its_diagonals(angle):
    grid, centre = grid_around("isotropic", 30)
    mask = box(grid, centre, (20, 10, 5), Rotation.from_euler("z", angle, degrees=True).as_matrix())
    assert longest_diameter(mask, grid).length_mm == pytest.approx(np.linalg.norm([40, 20, 10]), abs=1.5)
    assert axial_diameters(mask, grid).longest.length_mm == pytest.approx(np.hypot(40, 20), abs=1.0)


def test_a_row_of_voxels_is_as_long_as_its_voxels_and_one_wide():
    grid = grid_of("anisotropic", (3, 5, 12))
    mask = np.zeros(grid.shape_kji, bool)
    mask[1, 2, 1:11] = True
    found = axial_diameters(mask, grid)
    assert found.longest.length_mm == pytest.approx(10 * 0.8)
    assert found.perpendicular.length_mm == pytest.approx(0.7)
