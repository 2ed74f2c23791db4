"""What predictions changed, summed up: to be taken back whatever came in which order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from PromptSegLib.bitmask import MaskDelta
from PromptSegLib.footprint import Footprint
from PromptSegLib.geometry import Extent

SHAPE = (40, 70, 90)
AT = Extent.of_shape(SHAPE).shifted((-23, 11, -64))


def changes(seed, count=6):
    """Return masks one after the other, and what changed from each to the next."""
    rng = np.random.default_rng(seed)
    masks, deltas = [rng.random(SHAPE) < 0.3], []
    while len(deltas) < count:
        start = [int(rng.integers(0, n - 1)) for n in SHAPE]
        where = tuple(slice(a, int(rng.integers(a + 1, n + 1))) for a, n in zip(start, SHAPE, strict=True))
        mask = masks[-1].copy()
        mask[where] = rng.random(mask[where].shape) < 0.5
        if (delta := MaskDelta.between(AT, masks[-1], mask)) is not None:
            masks.append(mask)
            deltas.append(delta)
    return masks, deltas


def taken_back(footprint, mask, version):
    """Return `mask` as it was before all that the footprint knows of."""
    around = np.pad(mask, 40)  # tiles reach beyond the image
    for _, delta in footprint.inverse(lambda _: version):
        where = delta.extent.shifted([40 - n for n in AT.start_kji]).slices
        around[where] = delta.apply(around[where])
    return around[40:-40, 40:-40, 40:-40]


@settings(max_examples=8)
@given(seed=st.integers(0, 2**20), packs=st.booleans())
def test_taking_it_back_gives_the_mask_before_the_first_change_at_any_time(seed, packs):
    masks, deltas = changes(seed)
    footprint = Footprint("a", 0)
    for version, delta in enumerate(deltas):
        footprint.add("a", delta, version, version + 1)
        if packs:
            footprint.pack()
    np.testing.assert_array_equal(taken_back(footprint, masks[-1], len(deltas)), masks[0])
    for version in reversed(range(len(deltas))):
        footprint.subtract("a", deltas[version], version, None)
        np.testing.assert_array_equal(taken_back(footprint, masks[version], version), masks[0])
    assert footprint.nbytes == 0


def test_what_lies_between_far_changes_takes_nothing():
    footprint = Footprint("a", 0)
    for version, corner in enumerate(((0, 0, 0), (600, 900, 900))):
        box = Extent.of_shape((2, 2, 2)).shifted(corner)
        delta = MaskDelta.between(box, np.zeros(box.shape_kji, bool), np.ones(box.shape_kji, bool))
        footprint.add("a", delta, version, version + 1)
    deltas = [delta for _, delta in footprint.inverse(lambda _: 2)]
    assert sum(delta.extent.size for delta in deltas) == 16
    assert footprint.nbytes < 20_000


def test_a_mask_that_somebody_else_changed_begins_anew_until_that_is_undone():
    masks, deltas = changes(3, count=3)
    footprint = Footprint("a", 0)
    assert footprint.add("shell", deltas[0], 0, 1) is None
    outdated = footprint.add("shell", deltas[2], 2, 3)  # deltas[1] was somebody else's
    np.testing.assert_array_equal(taken_back(footprint, masks[3], 3), masks[2])
    footprint.subtract("shell", deltas[2], 2, outdated)
    np.testing.assert_array_equal(taken_back(footprint, masks[1], 1), masks[0])
