"""Prompts are put on the slice that they were meant for."""

from __future__ import annotations

import numpy as np
import pytest
from slice_phantoms import affine, middle_ras

from PromptSegLib.geometry import Grid
from PromptSegLib.predictors.slices.oblique_slices import ObliqueSlice
from PromptSegLib.predictors.slices.slice_choice import slice_through, slices_of_prompts
from PromptSegLib.prompts import Box, Lasso, Point, Scribble, TextPrompt
from PromptSegLib.view import View

GRID = Grid((20, 30, 40), affine(spacing=(0.8, 0.8, 3.0)))
AXIAL, CORONAL = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))


def at(i, j, k, positive=True, grid=GRID):
    return Point(tuple(grid.to_ras((i, j, k))), positive)


def view_at(point, axes):
    return View(point.position_ras, *axes, (100.0, 100.0))


def keys(prompts, views=None, known=None, grid=GRID):
    return [plane.key for plane in slices_of_prompts(prompts, grid, views or {}, known or {}).values()]


def test_a_point_from_nowhere_is_on_the_slice_across_the_largest_spacing():
    assert keys([at(3, 4, 5)]) == [("k", 5)]
    sagittal = Grid((20, 30, 40), affine(spacing=(3.0, 0.8, 0.8)))
    assert keys([at(3, 4, 5, grid=sagittal)], grid=sagittal) == [("i", 3)]


def test_a_point_from_a_view_is_on_the_slice_that_the_view_shows():
    point = at(3, 4, 5)
    assert keys([point], {point: view_at(point, CORONAL)}) == [("j", 4)]
    assert keys([point], {point: view_at(point, AXIAL)}) == [("k", 5)]


def test_a_view_that_moved_on_does_not_take_its_earlier_point_along():
    point = at(3, 4, 5)
    assert keys([point], {point: view_at(at(3, 9, 5), CORONAL)}) == [("j", 4)]


def test_a_view_turned_by_less_than_a_layer_shows_an_array_slice():
    turn = np.deg2rad(0.5)
    normal = (0.0, np.sin(turn), np.cos(turn))
    assert slice_through(GRID, GRID.to_ras((10, 10, 7)), normal).key == ("k", 7)
    turn = np.deg2rad(15)
    assert isinstance(slice_through(GRID, middle_ras(GRID), (0.0, np.sin(turn), np.cos(turn))), ObliqueSlice)


def test_a_planar_box_and_a_lasso_are_on_their_own_plane_whatever_the_view():
    box = Box.from_indices(GRID, (5, 7, 3), (5, 12, 9))
    lasso = Lasso(tuple(tuple(GRID.to_ras(p)) for p in [(3, 11, 2), (9, 11, 2), (9, 11, 8), (3, 11, 8)]))
    view = view_at(at(5, 7, 3), AXIAL)
    assert keys([box, lasso], {box: view, lasso: view}) == [("i", 5), ("j", 11)]


def test_a_box_drawn_obliquely_is_on_an_oblique_slice_that_holds_it():
    turn = np.deg2rad(20)
    axes = ((1.0, 0.0, 0.0), (0.0, np.cos(turn), np.sin(turn)), (0.0, -np.sin(turn), np.cos(turn)))
    box = Box(tuple(middle_ras(GRID)), (6.0, 5.0, 0.0), axes)
    [plane] = slices_of_prompts([box], GRID, {}, {}).values()
    assert isinstance(plane, ObliqueSlice)
    assert plane.holds(box.corners_ras())


def test_a_point_beside_a_box_joins_it_on_its_slice():
    box = Box.from_indices(GRID, (5, 7, 3), (5, 12, 9))
    assert keys([at(5, 9, 6), box, at(5, 8, 4, False)]) == [("i", 5), ("i", 5), ("i", 5)]


def test_a_point_off_every_slice_goes_to_one_parallel_to_the_newest():
    box = Box.from_indices(GRID, (5, 7, 3), (5, 12, 9))
    assert keys([box, at(8, 9, 6)]) == [("i", 5), ("i", 8)]


def test_a_scribble_is_on_the_slice_that_it_lies_in():
    stroke = Scribble(tuple(tuple(GRID.to_ras(p)) for p in [(3, 11, 2), (9, 11, 5), (12, 11, 8)]))
    assert keys([stroke]) == [("j", 11)]


def test_what_is_known_wins():
    point = at(3, 4, 5)
    known = slices_of_prompts([point], GRID, {point: view_at(point, CORONAL)}, {})
    assert keys([point], {point: view_at(point, AXIAL)}, known) == [("j", 4)]


def test_a_single_slice_is_the_only_one():
    picture = Grid((1, 30, 40), np.eye(4))
    point = at(3, 4, 0, grid=picture)
    assert keys([point], {point: view_at(point, CORONAL)}, grid=picture) == [("k", 0)]


def test_prompts_without_a_place_are_on_no_slice():
    assert keys([TextPrompt("liver"), at(3, 4, 5)]) == [("k", 5)]


@pytest.mark.parametrize("position", [(-0.5, -0.5, -0.5), (39.5, 29.5, 19.5)])
def test_a_point_on_the_outer_face_is_on_the_last_slice(position):
    assert keys([at(*position)])[0][1] in (0, 19)
