"""What a network doubts, edges decide; what it is sure of stays, unless a prompt says the contrary."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.predictors.default.refinement import nearer_strokes, refined

SHAPE = (1, 40, 50)
COLUMN = np.indices(SHAPE)[2]
EDGE = 27
STEP = np.where(COLUMN < EDGE, 0.8, 0.2).astype(np.float32)
NOTHING = np.zeros(SHAPE, dtype=bool)
EVERYWHERE = np.ones(SHAPE, dtype=bool)


def marked(*index):
    marks = NOTHING.copy()
    marks[index] = True
    return marks


def test_the_border_of_a_doubtful_band_moves_to_the_edge_in_it():
    logits = (24 - COLUMN).astype(np.float32) * 0.5  # its own border is 3 columns beside the edge
    result = refined(logits, STEP, NOTHING, NOTHING, EVERYWHERE)
    border = (result > 0).sum(axis=2)
    assert border.min() > 24
    assert abs(border - EDGE).max() <= 2
    assert abs(result).max() <= 1


def test_what_the_network_is_sure_of_stays():
    logits = np.where(COLUMN < 15, 8.0, -8.0).astype(np.float32)
    result = refined(logits, STEP, NOTHING, NOTHING, EVERYWHERE)
    np.testing.assert_array_equal(result > 0, logits > 0)


@pytest.mark.parametrize("positive", [True, False])
def test_a_prompt_against_a_sure_network_wins_with_some_voxels_around_it(positive):
    logits = np.where(COLUMN < EDGE, 8.0, -8.0).astype(np.float32)
    marks = marked(0, 20, 40 if positive else 10)
    result = refined(logits, STEP, marks if positive else NOTHING, NOTHING if positive else marks, EVERYWHERE)
    changed = (result > 0) != (logits > 0)
    assert changed[marks].all()
    assert 5 <= changed.sum() <= 81
    assert ((result > 0)[~changed] == (logits > 0)[~changed]).all()


def test_nothing_is_found_where_the_structure_may_not_be():
    logits = (22 - COLUMN).astype(np.float32) * 0.5
    result = refined(logits, STEP, NOTHING, NOTHING, COLUMN > 10)
    assert not (result > 0)[COLUMN <= 10].any()
    assert (result > 0)[COLUMN == 15].all()


@pytest.mark.parametrize("level", [-9.0, 0.0, 9.0])
def test_a_network_of_one_opinion_is_left_with_it(level):
    result = refined(np.full(SHAPE, level, dtype=np.float32), STEP, NOTHING, NOTHING, EVERYWHERE)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result, np.tanh(level / 2), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 40, 40), (12, 40, 40)])
def test_strokes_win_what_is_on_their_side_of_an_edge_however_near_the_others_are(shape):
    left = np.indices(shape)[2] < 30
    image = np.where(left, 0.7, 0.3).astype(np.float32)
    yes, no = np.zeros((2, *shape), dtype=bool)
    yes[0, 20, 2] = no[0, 20, 33] = True
    nearer = nearer_strokes(image, yes, no)
    assert (nearer[left] > 0).all()
    assert (nearer[~left] < 0).all()
    assert np.abs(nearer).max() <= 1
