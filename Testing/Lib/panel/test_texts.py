"""What the panel writes."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.errors import PredictionError, PromptError, UnsupportedPromptError
from PromptSegLib.geometry import Grid, affine_from_parts
from PromptSegLib.panel.texts import answer_text, error_text, prompt_row
from PromptSegLib.prompts import Box, ClassPrompt, Lasso, Point, Scribble
from PromptSegLib.session.history import Answer

GRID = Grid((20, 30, 40), affine_from_parts((1.0, 1.5, 2.0), np.diag([-1.0, -1.0, 1.0]), (10.0, 20.0, 30.0)))


def at(*ijk):
    return tuple(float(v) for v in GRID.to_ras(ijk))


@pytest.mark.parametrize(
    ("prompt", "row"),
    [
        (Point(at(3, 4, 5)), ("Point", "+", "5", "7.0, 14.0, 40.0")),
        (Point(at(3, 4, 5), positive=False), ("Point", "−", "5", "7.0, 14.0, 40.0")),  # noqa: RUF001
        (Lasso((at(2, 2, 7), at(8, 2, 7), at(8, 9, 7))), ("Lasso", "+", "7", "4.0, 13.5, 44.0")),
        (Lasso((at(6, 2, 1), at(6, 8, 1), at(6, 8, 9))), ("Lasso", "+", "i 6", "4.0, 11.0, 37.3")),
        (Scribble((at(2, 5, 1), at(6, 5, 9), at(9, 5, 2)), 3.0), ("Scribble", "+", "j 5", "4.3, 12.5, 38.0")),
        (Box(at(5, 6, 6), (8.0, 6.0, 12.0)), ("3D box", "+", "6", "5.0, 11.0, 42.0")),
        (ClassPrompt("liver"), ("liver", "", "", "")),
    ],
)
def test_a_prompt_is_a_row_with_its_sign_its_slice_and_its_place(prompt, row):
    assert tuple(prompt_row(prompt, GRID)) == row


def test_an_answer_is_told_with_quality_changes_time_and_device():
    answer = Answer("ball", None, 12, 0.876, {"total": 34.4}, "be careful", device="cuda:0")
    assert answer_text(answer) == "Expected quality 0.88, 12 voxels changed, 34 ms on cuda:0. be careful"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PromptError("expected a point inside"), "Expected a point inside. The segment is as before."),
        (UnsupportedPromptError("it takes no lasso."), "It takes no lasso. Take another tool, or another model."),
        (PredictionError("'a' failed\nlong trace"), "'a' failed. The segment is as before. Try once more"),
        (ValueError("strange"), "Strange"),
    ],
)
def test_an_error_is_one_message_with_what_to_do(error, text):
    assert error_text(error).startswith(text)
