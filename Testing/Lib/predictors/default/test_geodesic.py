"""Travel times are those of straight paths in mm, strangeness is measured against the seeds, levels end at edges."""

from __future__ import annotations

import numpy as np
import pytest
from slice_phantoms import affine, ball, centres_ras, iou, middle_ras

from PromptSegLib.geometry import Grid
from PromptSegLib.predictors.default.geodesic import best_level, noise_of, settled, strangeness, travel_time

GRID = Grid((15, 21, 25), affine(spacing=(1.0, 1.2, 2.0)))


def seed_at(shape, *index):
    seeds = np.zeros(shape, dtype=bool)
    seeds[index] = True
    return seeds


def test_through_one_tissue_the_time_is_the_distance_in_mm():
    seeds = seed_at(GRID.shape_kji, 7, 10, 12)
    times = travel_time(np.full(GRID.shape_kji, 0.5, dtype=np.float32), seeds, GRID.spacing_kji_mm)
    distance = np.linalg.norm(centres_ras(GRID) - centres_ras(GRID)[7, 10, 12], axis=-1)
    assert times[7, 10, 12] == 0
    np.testing.assert_allclose(times[7, 10], 0.5 * distance[7, 10], rtol=1e-4)
    np.testing.assert_allclose(times, 0.5 * distance, atol=1.0)


@pytest.mark.parametrize("shape", [(1, 1, 6), (1, 6, 1), (6, 1, 1)])
def test_a_row_of_voxels_is_travelled_along(shape):
    times = travel_time(np.ones(shape, dtype=np.float32), seed_at(shape, 0, 0, 0), np.array([2.0, 2.0, 2.0]))
    np.testing.assert_allclose(times.ravel(), 2 * np.arange(6), rtol=1e-5)
    assert travel_time(np.ones((1, 1, 1)), seed_at((1, 1, 1), 0, 0, 0), np.ones(3)).tolist() == [[[0]]]


def test_a_wall_is_gone_around():
    cost = np.ones((1, 11, 11), dtype=np.float32)
    cost[0, :10, 5] = 1000
    times = travel_time(cost, seed_at(cost.shape, 0, 0, 0), np.ones(3))
    assert 18 < times[0, 0, 10] < 30


def test_seeds_within_seeds_change_nothing():
    seeds = ball(GRID, middle_ras(GRID), 6)
    cost = np.random.default_rng(0).uniform(0.5, 2, GRID.shape_kji).astype(np.float32)
    times = travel_time(cost, seeds, GRID.spacing_kji_mm)
    assert (times[seeds] == 0).all()
    assert (times[~seeds] > 0).all()


def test_both_tissues_that_were_seeded_are_familiar():
    image = np.zeros((1, 6, 30), dtype=np.float32)
    image[..., 10:20], image[..., 20:] = 50, 100
    strange = strangeness(image, seed_at(image.shape, 0, 2, [3, 15]), noise=1.0)
    assert (strange[..., :20] == 0).all()
    assert (strange[..., 20:] > 0.5).all()
    colour = np.stack([image, image * 0, image * 0], axis=-1)
    np.testing.assert_allclose(strangeness(colour, seed_at(image.shape, 0, 2, [3, 15]), 1.0)[..., :20], 0)


def test_noise_is_that_of_flat_regions():
    image = np.random.default_rng(0).normal(0, 5, (20, 20, 20)).astype(np.float32)
    image[:, :, 10:] += 1000
    assert noise_of(image) == pytest.approx(5, rel=0.1)
    assert noise_of(np.full((1, 1, 1), 7, dtype=np.float32)) == 0


def test_the_best_level_ends_at_the_edge():
    truth = ball(GRID, middle_ras(GRID), 8)
    strange = np.where(truth, 0, 3).astype(np.float32)
    times = travel_time(0.05 + strange, seed_at(GRID.shape_kji, 7, 10, 12), GRID.spacing_kji_mm)
    level = best_level(times, strange, np.ones(truth.shape, dtype=bool), GRID.spacing_kji_mm)
    assert iou(times <= level, truth) > 0.85
    assert best_level(times, strange, np.zeros(truth.shape, dtype=bool), GRID.spacing_kji_mm) == 0


@pytest.mark.parametrize("off_mm", [-0.7, 0.7])
def test_a_border_nearly_a_voxel_off_settles_on_the_edge(off_mm):
    grid = Grid((24, 26, 28), affine())
    truth, rough = (ball(grid, middle_ras(grid), radius) for radius in (8, 8 + off_mm))
    field, image = np.where(rough, 1, -1).astype(np.float32), 100 * truth.astype(np.float32)
    everywhere = np.ones(truth.shape, dtype=bool)
    assert iou(rough, truth) < 0.85
    assert iou(settled(field, image, everywhere, 1.0) > 0, truth) > 0.93
    np.testing.assert_array_equal(settled(field, image, ~everywhere, 1.0), field)
    np.testing.assert_array_equal(settled(field, image, everywhere, 50.0), field)
    np.testing.assert_array_equal(settled(-abs(field), image, everywhere, 1.0), -abs(field))


def test_paths_stay_where_they_may_go():
    cost = np.ones((1, 7, 9), dtype=np.float32)
    where = np.ones(cost.shape, dtype=bool)
    where[0, :6, 4] = False  # a wall, with a gap at the end
    times = travel_time(cost, seed_at(cost.shape, 0, 0, 2), np.ones(3), where)
    assert times[0, 0, 0] == pytest.approx(2, abs=0.1)
    assert times[0, 0, 6] > 12
    assert np.isinf(times[0, :6, 4]).all()
    closed = where.copy()
    closed[0, 6, 4] = False
    assert np.isinf(travel_time(cost, seed_at(cost.shape, 0, 0, 2), np.ones(3), closed)[0, :, 5:]).all()
    nowhere = np.zeros(cost.shape, dtype=bool)
    assert np.isinf(travel_time(cost, seed_at(cost.shape, 0, 0, 2), np.ones(3), nowhere)).sum() == 62
