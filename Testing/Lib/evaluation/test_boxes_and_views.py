"""Boxes around structures, and the view that a structure takes a third of."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import rotation

from PromptSegLib.errors import GeometryError
from PromptSegLib.evaluation.boxes import box_with_margin, jittered_box
from PromptSegLib.evaluation.field_of_view import StructureView
from PromptSegLib.geometry import Extent, Grid, affine_from_parts
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.prompts import Point

SHAPE = (30, 200, 300)
TRUTH = np.zeros(SHAPE, dtype=bool)
TRUTH[10:20, 40:80, 100:200] = True
GRID = Grid(SHAPE, affine_from_parts((0.8, 1.2, 2.5), rotation(4), (5, -7, 11)))


def voxels(box, grid=GRID):
    patch = rasterize(box, grid)
    return Extent.of_mask(patch.mask_kji).shifted(patch.extent.start_kji)


def test_a_box_is_larger_by_its_margin_at_each_end_and_ends_with_the_image():
    assert voxels(box_with_margin(TRUTH, GRID)) == Extent((10, 40, 100), (20, 80, 200))
    assert voxels(box_with_margin(TRUTH, GRID, 0.1)) == Extent((9, 36, 90), (21, 84, 210))
    assert voxels(box_with_margin(TRUTH, GRID, 2.0)).start_kji == (0, 0, 0)


def test_a_structure_on_a_slice_gets_a_box_on_the_slice():
    grid = Grid((1, *SHAPE[1:]), GRID.ijk_to_ras)
    box = box_with_margin(TRUTH[12:13], grid, 0.1)
    assert box.is_planar
    assert voxels(box, grid) == Extent((0, 36, 90), (1, 84, 210))


def test_a_jittered_box_holds_the_structure_and_is_up_to_20_of_1024_pixels_too_large():
    boxes = [voxels(jittered_box(TRUTH, GRID, seed)) for seed in range(40)]
    tight, most = Extent((10, 40, 100), (20, 80, 200)), Extent((9, 36, 94), (21, 84, 206))
    assert all(box.contains(tight) and most.contains(box) for box in boxes)
    assert {box.start_kji[2] for box in boxes} == set(range(94, 101))
    assert voxels(jittered_box(TRUTH, GRID, 3)) == boxes[3]


def test_the_structure_takes_a_third_of_the_view_which_is_on_the_clicks_slice():
    click = Point(tuple(GRID.to_ras((110.0, 50.0, 17.0))))
    view = StructureView(TRUTH, GRID).of(click)
    assert view.size_mm == (pytest.approx(3 * 100 * 0.8),) * 2
    assert GRID.to_ijk(view.center_ras) == pytest.approx([149.5, 59.5, 17.0])
    assert abs(view.normal_ras @ GRID.directions[:, 2]) == pytest.approx(1)


def test_nothing_has_no_box_and_no_view():
    for make in (box_with_margin, StructureView):
        with pytest.raises(GeometryError, match="at least one voxel"):
            make(np.zeros(SHAPE, dtype=bool), GRID)
