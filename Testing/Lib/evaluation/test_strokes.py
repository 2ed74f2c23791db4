"""Simulated scribbles run along the middle of the largest error."""

from __future__ import annotations

import numpy as np
from slice_phantoms import affine

from PromptSegLib.evaluation.strokes import centre_line, next_scribble
from PromptSegLib.geometry import Grid

GRID = Grid((6, 40, 60), affine(turned_deg=20))
NOTHING = np.zeros(GRID.shape_kji, dtype=bool)
BAR = NOTHING.copy()
BAR[2, 10:17, 5:55] = True
BAR[3, 10:17, 5:50] = True


def voxels(scribble):
    return GRID.nearest_kji(scribble.positions_ras())


def test_a_bar_gets_a_line_along_its_middle_on_the_slice_that_shows_most_of_it():
    scribble = next_scribble(NOTHING, BAR, GRID)
    k, j, i = voxels(scribble).T
    assert scribble.positive
    assert set(k) == {2}
    assert set(j[3:-3]) == {13}
    assert 5 < min(i) < 10
    assert 50 < max(i) < 54


def test_too_much_gets_a_negative_stroke_and_a_right_mask_none():
    assert not next_scribble(BAR, NOTHING, GRID).positive
    assert next_scribble(BAR, BAR, GRID) is None


def test_a_line_follows_a_bend_and_stays_inside():
    ring = np.zeros((40, 40), dtype=bool)
    j, i = np.indices(ring.shape)
    radius = np.hypot(j - 20, i - 20)
    ring[(radius > 10) & (radius < 16) & ~((j > 20) & (abs(i - 20) < 5))] = True
    line = centre_line(ring, np.array([1.0, 1.0]))
    assert ring[tuple(line.T)].all()
    assert np.abs(np.diff(line, axis=0)).max() == 1
    middle = radius[tuple(line[4:-4].T)]
    assert middle.min() > 12
    assert middle.max() < 14.5
    assert len(line) > 50


def test_a_line_runs_along_the_side_that_is_longer_in_mm():
    block = np.ones((9, 9), dtype=bool)
    along_i, along_j = (np.ptp(centre_line(block, np.array(spacing)), axis=0) for spacing in ((1.0, 8.0), (8.0, 1.0)))
    assert along_i[1] > 2 * along_i[0]
    assert along_j[0] > 2 * along_j[1]


def test_a_single_voxel_gets_a_dot():
    dot = NOTHING.copy()
    dot[4, 20, 30] = True
    assert voxels(next_scribble(NOTHING, dot, GRID)).tolist() == [[4, 20, 30]]
