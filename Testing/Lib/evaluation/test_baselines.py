"""Grow from Seeds and the threshold do what they do in Slicer: on phantoms with one answer."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.evaluation.baselines import GrowFromSeeds, ThresholdInBox, grow_cut
from PromptSegLib.evaluation.boxes import box_with_margin
from PromptSegLib.evaluation.field_of_view import StructureView
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.prompts import Point, VoxelScribble
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume


def block(shape_kji=(20, 60, 70), spacing=(1.0, 1.5, 2.5)):
    """A bright block on a dark ground, with its truth."""
    truth = np.zeros(shape_kji, dtype=bool)
    k = slice(6, 14) if shape_kji[0] > 1 else slice(None)
    truth[k, 20:38, 22:50] = True
    rng = np.random.default_rng(0)
    array = np.where(truth, 100, 0) + rng.normal(0, 3, shape_kji)
    return Volume(array.astype(np.float32), np.diag([*spacing, 1.0])), truth


def point(volume, ijk, positive=True):
    return Point(tuple(volume.grid.to_ras(ijk)), positive)


@pytest.mark.parametrize("shape_kji", [(20, 60, 70), (1, 60, 70)])
@pytest.mark.parametrize("has_view", [True, False])
def test_a_click_and_the_frame_find_a_block(shape_kji, has_view):
    volume, truth = block(shape_kji)
    session = Session(volume, GrowFromSeeds())
    click = point(volume, (35, 28, shape_kji[0] // 2))
    session.add(click, StructureView(truth, volume.grid).of(click) if has_view else None)
    assert dice(session.mask_kji, truth) > 0.99
    assert set(session.prediction.timings_ms) >= {"seeds", "grow"}


def test_two_seeds_share_a_plain_image_by_distance_in_intensity():
    values = np.zeros((3, 3, 9), dtype=np.float32)
    values[..., 5:] = 10
    seeds = np.zeros(values.shape, dtype=np.uint8)
    seeds[1, 1, 0], seeds[1, 1, 8] = 1, 2
    assert (grow_cut(values, seeds) == np.where(values > 0, 2, 1)).all()


def test_a_later_click_grows_anew_and_a_negative_one_takes_away():
    volume, _ = block()
    array = volume.array.copy()
    array[8:12, 20:38, 56:66] = 100  # another block as bright
    volume = Volume(array, volume.ijk_to_ras)
    session = Session(volume, GrowFromSeeds())
    session.add(point(volume, (35, 28, 10)))
    session.add(point(volume, (60, 28, 10)))
    assert session.mask_kji[10, 28, 60]
    session.add(point(volume, (61, 28, 10), positive=False))
    assert not session.mask_kji[10, 28, 61]
    assert session.mask_kji[10, 28, 35]


def test_in_a_box_all_outside_is_background():
    for model, least in ((GrowFromSeeds(), 0.99), (ThresholdInBox(), 0.99)):
        for shape_kji in ((20, 60, 70), (1, 60, 70)):
            volume, truth = block(shape_kji)
            session = Session(volume, model)
            session.add(box_with_margin(truth, volume.grid, 0.1))
            assert dice(session.mask_kji, truth) > least


def test_scribbles_are_seeds():
    volume, truth = block((1, 60, 70))
    session = Session(volume, GrowFromSeeds())
    session.add(VoxelScribble(tuple(map(tuple, volume.grid.to_ras([(i, 30, 0) for i in range(25, 45)])))))
    assert dice(session.mask_kji, truth) > 0.99


def test_the_threshold_takes_dark_structures_and_fills_holes():
    volume, truth = block((1, 60, 70))
    array = 100 - volume.array
    array[0, 25, 30] = 100
    session = Session(Volume(array, volume.ijk_to_ras), ThresholdInBox())
    session.add(box_with_margin(truth, volume.grid, 0.1))
    assert dice(session.mask_kji, truth) > 0.99
    assert session.mask_kji[0, 25, 30]
