"""Masks become prompts that find the same again."""

from __future__ import annotations

import numpy as np

from PromptSegLib.predictors.slices.prompts import objects_like

Y, X = np.mgrid[:60, :80]


def test_each_part_of_a_mask_is_an_object_with_room_around_it():
    parts = [(Y - 20) ** 2 + (X - 15) ** 2 <= 64, (abs(Y - 40) < 6) & (abs(X - 60) < 11)]
    objects = objects_like(parts[0] | parts[1])
    assert len(objects) == 2
    for one, part in zip(objects, parts, strict=True):
        np.testing.assert_array_equal(one.mask, part)
        [[x, y]] = one.points_xy.astype(int)
        assert part[y, x]
        assert one.labels.tolist() == [1]
        x0, y0, x1, y1 = one.box_xyxy
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        assert columns[0] - 3 < x0 < columns[0] < columns[-1] < x1 < columns[-1] + 3
        assert rows[0] - 3 < y0 < rows[0] < rows[-1] < y1 < rows[-1] + 3


def test_crumbs_are_left_out():
    mask = (Y - 20) ** 2 + (X - 15) ** 2 <= 100
    mask[50, 70] = True
    assert len(objects_like(mask)) == 1


def test_a_box_stays_on_the_slice():
    [one] = objects_like(np.ones((60, 80), dtype=bool))
    assert one.box_xyxy.tolist() == [0, 0, 79, 59]


def test_nothing_is_no_object():
    assert objects_like(np.zeros((6, 8), dtype=bool)) == []
