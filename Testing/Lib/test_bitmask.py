"""Masks as bits, against plain bool arrays."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from PromptSegLib.bitmask import BitMask, MaskDelta, Patch
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 27))


@given(SHAPES, st.data())
def test_a_bit_mask_reads_as_the_array_that_was_written(shape, data):
    bits, plain = BitMask(shape), np.zeros(shape, dtype=bool)
    for _ in range(data.draw(st.integers(1, 4))):
        extent = data.draw(strategies.extents_in(shape, empty=True))
        values = data.draw(strategies.masks(extent.shape_kji))
        bits.write(extent, values)
        plain[extent.slices] = values
        box = data.draw(strategies.extents_in(shape, empty=True))
        np.testing.assert_array_equal(bits.read(box), plain[box.slices])
    np.testing.assert_array_equal(bits.read(), plain)
    assert bits.bounds() == Extent.of_mask(plain)
    assert bits.count() == plain.sum()
    assert bits.any() == plain.any()


@given(SHAPES, st.data())
def test_masks_are_equal_outside_of_their_difference_and_it_is_tight(shape, data):
    masks, plain = [BitMask(shape), BitMask(shape)], [data.draw(strategies.masks(shape)) for _ in range(2)]
    for mask, values in zip(masks, plain, strict=True):
        mask.write(Extent.of_shape(shape), values)
    assert masks[0].difference(masks[1]) == Extent.of_mask(plain[0] ^ plain[1])
    assert masks[0].difference(masks[0].copy()) is None


@given(SHAPES, st.data())
def test_a_copy_is_independent(shape, data):
    mask = BitMask(shape)
    values = data.draw(strategies.masks(shape))
    mask.write(Extent.of_shape(shape), values)
    copy = mask.copy()
    mask.write(Extent.of_shape(shape), ~values)
    np.testing.assert_array_equal(copy.read(), values)


def test_what_is_read_is_a_copy():
    mask = BitMask((2, 3, 4))
    mask.read()[:] = True
    assert not mask.any()


def test_an_empty_mask_has_no_bounds():
    assert BitMask((2, 3, 4)).bounds() is None


@pytest.mark.parametrize(
    "extent", [Extent((0, 0, 0), (2, 3, 5)), Extent((-1, 0, 0), (2, 3, 4)), Extent((2, 0, 0), (3, 1, 1))]
)
def test_a_box_that_reaches_outside_is_refused(extent):
    mask = BitMask((2, 3, 4))
    with pytest.raises(GeometryError, match=r"a box inside \(2, 3, 4\)"):
        mask.read(extent)
    with pytest.raises(GeometryError, match=r"a box inside \(2, 3, 4\)"):
        mask.write(extent, np.ones(extent.shape_kji, dtype=bool))


def test_values_of_another_shape_are_refused():
    with pytest.raises(GeometryError, match=r"a mask of shape \(1, 1, 2\), got \(1, 1, 3\)"):
        BitMask((2, 3, 4)).write(Extent((0, 0, 0), (1, 1, 2)), np.ones((1, 1, 3), dtype=bool))


def test_a_mask_takes_an_eighth_of_a_byte_a_voxel():
    assert BitMask((300, 512, 512)).nbytes == 300 * 512 * 512 / 8


@pytest.mark.parametrize("mask", [np.ones((1, 1, 3), dtype=bool), np.ones((1, 1, 2), dtype=np.uint8)])
def test_a_patch_that_does_not_fit_its_box_is_refused(mask):
    with pytest.raises(GeometryError, match=r"a bool mask of shape \(1, 1, 2\)"):
        Patch(Extent((0, 0, 0), (1, 1, 2)), mask)


# What a step changed


@given(SHAPES, st.data())
def test_a_change_is_made_and_taken_back_exactly(shape, data):
    extent = data.draw(strategies.extents_in(shape))
    offset = (3, -2, 7)
    before, after = (data.draw(strategies.masks(extent.shape_kji)) for _ in range(2))
    delta = MaskDelta.between(extent.shifted(offset), before, after)
    if delta is None:
        np.testing.assert_array_equal(before, after)
        return
    changed = Extent.of_mask(before != after)
    assert delta.extent == changed.shifted(extent.start_kji).shifted(offset)
    assert delta.changed_voxels() == (before != after).sum()
    np.testing.assert_array_equal(delta.apply(before[changed.slices]), after[changed.slices])
    np.testing.assert_array_equal(delta.revert(after[changed.slices]), before[changed.slices])


@given(SHAPES, st.data())
def test_voxels_that_a_step_did_not_change_stay_as_they_are_meanwhile(shape, data):
    extent = Extent.of_shape(shape)
    before, after, meanwhile = (data.draw(strategies.masks(shape)) for _ in range(3))
    delta = MaskDelta.between(extent, before, after)
    if delta is None:
        return
    box = delta.extent.slices
    unchanged = (before == after)[box]
    for result, wanted in ((delta.apply(meanwhile[box]), after), (delta.revert(meanwhile[box]), before)):
        np.testing.assert_array_equal(result[unchanged], meanwhile[box][unchanged])
        np.testing.assert_array_equal(result[~unchanged], wanted[box][~unchanged])


def test_a_change_of_a_ball_takes_little_memory():
    ball = np.linalg.norm(np.indices((100, 100, 100)) - 49.5, axis=0) < 45
    delta = MaskDelta.between(Extent.of_shape(ball.shape), np.zeros_like(ball), ball)
    assert delta.nbytes < ball.size / 50
