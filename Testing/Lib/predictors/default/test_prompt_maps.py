"""A region is shown to the network as it was trained: black to white, and each prompt where it lies."""

from __future__ import annotations

import numpy as np
import pytest
from click_phantoms import SPACE, at, bits, grey
from slice_phantoms import ball, coloured, middle_ras

from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.predictors.default.evidence import Evidence
from PromptSegLib.predictors.default.prompt_maps import prompt_maps
from PromptSegLib.prompts import Box
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume

ROI = Roi.covering(SPACE, Extent((2, 4, 4), (34, 36, 40)), 1.0)
VOLUME = grey(SPACE, ball(SPACE, middle_ras(SPACE), 9))


def maps(volume, *prompts, mask_kji=None, window=None, is_ct=False):
    mask = None if mask_kji is None else bits(mask_kji)
    state = TargetState("segment", prompts, mask=mask, window=window)
    previous = None if mask is None else ROI.read_mask(mask)
    return prompt_maps(ROI, volume, state, Evidence.of(state, volume.grid), previous, is_ct)


def test_clicks_and_the_mask_so_far_are_marked_where_they_are():
    drawn = ball(SPACE, middle_ras(SPACE), 5)
    shown = maps(VOLUME, at(SPACE), at(SPACE, (9, 0, 0), positive=False), mask_kji=drawn)
    assert shown.positive.sum() == shown.negative.sum() == 1
    k, j, i = SPACE.nearest_kji(middle_ras(SPACE)) - ROI.extent.start_kji
    assert shown.positive[k, j, i] == 1
    np.testing.assert_array_equal(shown.previous, drawn[ROI.extent.slices])
    assert not shown.box.any()


def test_a_box_fills_its_map_and_marks_nothing_else():
    box = Box.from_indices(SPACE, (14, 12, 10), (28, 26, 24))
    shown = maps(VOLUME, box)
    assert Extent.of_mask(shown.box).shifted(ROI.extent.start_kji) == Extent((10, 12, 14), (25, 27, 29))
    assert not shown.positive.any()
    assert not shown.negative.any()


def test_a_flat_box_in_a_volume_says_what_is_in_it_and_what_is_around():
    shown = maps(VOLUME, Box.from_indices(SPACE, (12, 10, 17), (31, 29, 17)))
    layer = 17 - ROI.extent.start_kji[0]
    for marks in (shown.positive, shown.negative):
        assert Extent.of_mask(marks).start_kji[0] == layer
        assert Extent.of_mask(marks).shape_kji[0] == 1
    inner, outer = Extent.of_mask(shown.positive), Extent.of_mask(shown.negative)
    assert inner.shape_kji[1:] == pytest.approx((7, 7), abs=1)
    assert outer.shape_kji[1:] == (28, 28)
    assert not shown.box.any()


def test_black_and_white_are_the_windows_ends_else_nearly_the_extremes():
    shown = maps(VOLUME, at(SPACE), window=Window(50, 90)).image
    inside = ball(SPACE, middle_ras(SPACE), 7)[ROI.extent.slices]
    assert (shown[inside] == 1).all()
    assert np.median(shown[~inside]) == 0
    shown = maps(VOLUME, at(SPACE)).image
    assert 0.003 < (shown == 1).mean() + (shown == 0).mean() < 0.02
    assert maps(Volume(np.full(SPACE.shape_kji, 7.0), SPACE.ijk_to_ras), at(SPACE)).image.max() == 0


@pytest.mark.parametrize(("tissue_hu", "other_hu"), [(50, 110), (-850, -600), (400, 900)])
def test_in_a_ct_the_tissue_that_is_clicked_has_contrast(tissue_hu, other_hu):
    array = np.full(SPACE.shape_kji, -1000, dtype=np.int16)
    array[:, 6:] = other_hu
    array[ball(SPACE, middle_ras(SPACE), 9)] = tissue_hu
    array[:, :, -3:] = 2500
    shown = maps(Volume(array, SPACE.ijk_to_ras), at(SPACE), is_ct=True).image
    inside, k = ball(SPACE, middle_ras(SPACE), 7)[ROI.extent.slices], 4
    assert abs(shown[inside].mean() - shown[k, 20, 4]) > 0.13


def test_colours_are_shown_by_what_they_differ_in():
    left, right = (ball(SPACE, np.add(middle_ras(SPACE), (x, 0, 0)), 8) for x in (-9, 9))
    colours = coloured(SPACE, left, right)
    shown = maps(colours, at(SPACE)).image
    parts = [shown[part[ROI.extent.slices]].mean() for part in (left, right)]
    assert abs(parts[0] - parts[1]) > 0.5
