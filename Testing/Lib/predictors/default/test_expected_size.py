"""Between answers that a network finds about as likely, the view and the box decide by their size."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.predictors.default.expected_size import ExpectedSize
from PromptSegLib.view import View


def view(side_mm):
    return View((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (side_mm, side_mm))


def doubtful(dims, sure=3.0, doubt=0.7):
    """Return logits of a small cube that is sure, in a larger one that rather does not belong, in nothing."""
    logits = np.full([48] * dims, -6.0, dtype=np.float32)
    logits[tuple([slice(12, 36)] * dims)] = -doubt
    logits[tuple([slice(20, 28)] * dims)] = sure
    return logits


def side(logits):
    return np.count_nonzero(logits > 0) ** (1 / logits.ndim)


@pytest.mark.parametrize("dims", [2, 3])
def test_in_a_wide_view_what_is_doubtful_belongs_and_in_a_narrow_one_it_does_not(dims):
    logits = doubtful(dims)
    wide, narrow = (ExpectedSize.in_view(view(mm), dims).brought_to(logits, 1.0) for mm in (130.0, 30.0))
    assert side(wide) == pytest.approx(24)
    assert side(narrow) == pytest.approx(8)
    assert narrow.dtype == np.float32


@pytest.mark.parametrize("dims", [2, 3])
def test_in_a_large_box_what_is_doubtful_belongs(dims):
    logits = doubtful(dims)
    large, small = (ExpectedSize.in_box(np.full(dims, mm)).brought_to(logits, 1.0) for mm in (28.0, 10.0))
    assert side(large) == pytest.approx(24)
    assert side(small) == pytest.approx(8)


def test_sizes_are_in_mm():
    logits = doubtful(3)
    fine, coarse = (ExpectedSize.in_view(view(130.0), 3).brought_to(logits, mm) for mm in (1.0, 4.0))
    assert side(fine) == pytest.approx(24)
    assert side(coarse) == pytest.approx(8)


def test_what_the_network_is_sure_of_stays():
    logits = doubtful(2, sure=9.0, doubt=9.0)
    assert side(ExpectedSize.in_view(view(1000.0), 2).brought_to(logits, 1.0)) == pytest.approx(8)
    assert side(ExpectedSize.in_view(view(1.0), 2).brought_to(logits, 1.0)) == pytest.approx(8)
