"""Masks that a user has to correct are wrong each in its way, the same each time, and shapes are told from masks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from PromptSegLib.evaluation.bending import BENDINGS, bent
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.shape_phantoms import make_shape
from PromptSegLib.evaluation.shapes import SHAPES, shape_of

SLICE, SPACE = (1, 96, 96), (40, 40, 40)


@pytest.mark.parametrize("shape", [SLICE, SPACE])
@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_are_told_from_the_mask(kind, shape):
    volume, truth = make_shape(kind, shape, seed=1)
    expected = "tree" if kind == "plate" and shape == SLICE else kind  # across, a plate is a line
    assert shape_of(truth, volume.grid) == expected


@pytest.mark.parametrize("shape", [SLICE, SPACE])
@pytest.mark.parametrize("kind", ["compact", "ring", "tree", "parts"])
def test_each_way_to_be_wrong_is_that_wrong(kind, shape):
    volume, truth = make_shape(kind, shape, seed=1)
    masks = {name: bent(name, truth, volume, seed=3) for name in BENDINGS}
    assert (masks["broken ring"] is not None) == (kind == "ring")
    assert (masks["lost branch"] is not None) == (kind == "tree")
    assert (masks["lost part"] is not None) == (kind == "parts")
    for name, mask in masks.items():
        if mask is not None:
            assert 0.3 < dice(mask, truth) < 1
            assert np.array_equal(mask, bent(name, truth, volume, seed=3))
    for name, changed in (("missing", truth & ~masks["missing"]), ("leak", masks["leak"] & ~truth)):
        assert dice(masks[name], truth) == pytest.approx(0.857, abs=0.08)  # a part may be smaller than a quarter
        assert ndimage.label(changed, np.ones((3, 3, 3)))[1] == 1
    assert not (masks["missing"] & ~truth).any()
    assert not (truth & ~masks["leak"]).any()


def test_another_seed_bends_otherwise():
    volume, truth = make_shape("compact", SLICE)
    assert not np.array_equal(bent("warp", truth, volume, 1), bent("warp", truth, volume, 2))


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="compact, ring"):
        make_shape("cube", SLICE)
