"""What was found in an image is found again without its network."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.bitmask import BitMask, Patch
from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.predictors.names.found_structures import FoundStructures, names_asked
from PromptSegLib.prompts import ClassPrompt, Point, TextPrompt

GRID = Grid((6, 7, 8), np.eye(4))


def noise(seed):
    return np.random.default_rng(seed).random(GRID.shape_kji) < 0.5


def bits(mask):
    packed = BitMask(GRID.shape_kji)
    packed.write(GRID.extent, mask)
    return packed


def everywhere(patch):
    mask = np.zeros(GRID.shape_kji, dtype=bool)
    mask[patch.extent.slices] = patch.mask_kji
    return mask


def test_many_structures_asked_at_once_are_all_there():
    found = FoundStructures(GRID, budget_bytes=0)
    names = [str(n) for n in range(40)]
    assert found.missing(names) == names
    for n, name in enumerate(names):
        found.keep(name, bits(noise(n)))
    for n, name in enumerate(names):
        np.testing.assert_array_equal(everywhere(found.patch([name], ())), noise(n))
    assert found.missing(["7", "new", "7"]) == ["new"]


def test_the_oldest_go_when_all_take_more_than_the_budget():
    found = FoundStructures(GRID, budget_bytes=150)
    for name in "abc":
        assert found.missing([name]) == [name]
        found.keep(name, bits(noise(ord(name))))
    assert found.missing("cba") == ["a"]


def test_several_make_one_and_nothing_is_nowhere():
    found = FoundStructures(GRID)
    found.missing(["a", "b", "none"])
    found.keep("a", Patch(Extent((0, 0, 0), (2, 2, 2)), np.ones((2, 2, 2), dtype=bool)))
    found.keep("b", Patch(Extent((1, 1, 1), (6, 7, 8)), np.ones((5, 6, 7), dtype=bool)))
    found.keep("none", bits(np.zeros(GRID.shape_kji, dtype=bool)))
    expected = np.zeros(GRID.shape_kji, dtype=bool)
    expected[:2, :2, :2] = expected[1:, 1:, 1:] = True
    np.testing.assert_array_equal(everywhere(found.patch(["a", "none", "b"], ())), expected)
    assert found.patch(["none"], ()).mask_kji.size == 0
    assert found.patch(["a"], [Point((7.0, 6.0, 5.0))]).mask_kji.size == 0


def test_the_newest_name_of_each_target_counts():
    asked = {
        "x": (ClassPrompt("liver"), Point((0.0, 0.0, 0.0)), ClassPrompt("spleen")),
        "y": (TextPrompt("left kidney"),),
    }
    assert names_asked(asked, "m") == {"x": "spleen", "y": "left kidney"}
    with pytest.raises(PromptError, match="the name of a structure for z, got none: 'm' needs one"):
        names_asked({**asked, "z": (Point((0.0, 0.0, 0.0)),)}, "m")
