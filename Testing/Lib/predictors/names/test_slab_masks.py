"""Masks that a network gives slab by slab lie where the image's voxels are."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling import linear_back

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.names.slab_masks import masks_from_slabs


def pieces(values, sizes):
    """Cut (class, x, y, z) values into slabs of these sizes along x, over and over; empty ones among them."""
    first = n = 0
    while first < values.shape[1]:
        yield torch.from_numpy(values[:, first : first + sizes[n % len(sizes)]])
        first += sizes[n % len(sizes)]
        n += 1


def above_zero(layer):
    return layer > 0


@settings(deadline=None, max_examples=150)
@given(
    grid=strategies.grids(max_side=24),
    scale=st.tuples(*[st.floats(0.3, 3.0)] * 3),
    offset=st.tuples(*[st.floats(-1.5, 4.0)] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=3).filter(any),
    seed=strategies.seeds,
)
def test_masks_are_those_of_values_resampled_whole(grid, scale, offset, shape, sizes, seed):
    sampling = AlignedSampling.in_ras_order(grid).resized(shape, scale, offset)
    values = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    masks = masks_from_slabs(pieces(values, sizes), sampling, above_zero, 2)
    for mask, own in zip(masks, values, strict=True):
        whole = linear_back(sampling, own, beyond=-1.0)
        clear = abs(whole) > 1e-5
        assert np.array_equal(mask.read()[clear], (whole > 0)[clear])


def test_what_is_decided_may_look_at_all_classes():
    sampling = AlignedSampling.in_ras_order(Grid((3, 4, 5), np.eye(4)))
    values = np.zeros((3, 5, 4, 3), np.float32)
    values[1, 2:] = 1
    values[2, 3:] = 2
    [mask] = masks_from_slabs(pieces(values, [2]), sampling, lambda layer: (layer.argmax(0) == 1)[None], 1)
    assert mask.read()[..., 2].all()
    assert mask.count() == 12


def test_missing_layers_are_told():
    sampling = AlignedSampling.in_ras_order(Grid((3, 4, 5), np.eye(4)))
    with pytest.raises(VolumeError, match="values of 5 layers, got 4"):
        masks_from_slabs([torch.zeros(1, 4, 4, 3)], sampling, above_zero, 1)


def test_it_stops_when_asked_to():
    sampling = AlignedSampling.in_ras_order(Grid((3, 4, 5), np.eye(4)))
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        masks_from_slabs([torch.zeros(1, 5, 4, 3)], sampling, above_zero, 1, cancel=cancel)
