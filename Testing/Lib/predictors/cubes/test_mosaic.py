"""Tiles that overlap answer as one, and tell where a structure leaves them."""

from __future__ import annotations

import numpy as np
import pytest

from PromptSegLib.predictors.cubes.mosaic import Tile, blend, exits, extended, innermost, largest_part, parts_at

EVERYWHERE = (np.full(3, -1000.0), np.full(3, 1000.0))


def tile(start=(0, 0, 0), value=None, size=8):
    shape = (size,) * 3
    logits = np.random.default_rng(0).normal(size=shape) if value is None else np.full(shape, value)
    return Tile(start, logits.astype(np.float32))


def test_a_tile_alone_comes_back_to_the_last_bit():
    one = tile()
    logits, covered = blend([one], (-1, -1, -1), (10, 10, 10))
    np.testing.assert_array_equal(logits[1:-1, 1:-1, 1:-1], one.logits)
    assert covered.sum() == 8**3
    assert not logits[~covered].any()


def test_where_tiles_overlap_the_middle_of_a_tile_counts_more_than_its_faces():
    logits, covered = blend([tile(value=1.0), tile((4, 0, 0), value=-1.0)], (0, 0, 0), (12, 8, 8))
    assert covered.all()
    line = logits[:, 4, 4]
    np.testing.assert_array_equal(line[:4], 1)
    np.testing.assert_array_equal(line[8:], -1)
    assert (np.diff(line[3:9]) < 0).all()
    np.testing.assert_allclose(line[4:8], -line[7:3:-1], atol=1e-6)


def test_no_tile_is_no_answer():
    logits, covered = blend([tile((100, 0, 0))], (0, 0, 0), (3, 3, 3))
    assert not logits.any()
    assert not covered.any()


def test_values_go_on_where_no_tile_is():
    values, covered = blend([tile()], (-1, 0, 0), (10, 8, 8))
    whole = extended(values, covered)
    np.testing.assert_array_equal(whole[0], values[1])
    np.testing.assert_array_equal(whole[-1], values[-2])


def test_parts_are_those_that_seeds_lie_in():
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[:3, :3, :3] = mask[6:, 6:, 5:] = True
    np.testing.assert_array_equal(np.argwhere(parts_at(mask, np.array([[1, 1, 1], [-4, 0, 99], [4, 4, 4]]))).max(), 2)
    assert not parts_at(mask, np.array([[4, 4, 4]])).any()
    assert largest_part(mask).sum() == 36
    assert not largest_part(np.zeros_like(mask)).any()


def test_innermost_is_farthest_from_every_border():
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[:, 2:7, 2:7] = True
    np.testing.assert_array_equal(innermost(mask), [2, 4, 4])


def part(*boxes, size=8):
    mask = np.zeros((size,) * 3, dtype=bool)
    for box in boxes:
        mask[box] = True
    return mask


THROUGH_ONE_FACE = part(np.s_[2:8, 3:6, 3:6])


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (part(np.s_[1:7, 1:7, 1:7]), []),
        (THROUGH_ONE_FACE, [(8, 4, 4)]),
        (part(np.s_[:, 3:6, 3:6]), [(-1, 4, 4), (8, 4, 4)]),
    ],
    ids=["inside", "one face", "two faces"],
)
def test_a_structure_leaves_a_tile_where_it_touches_a_face(mask, expected):
    one = tile()
    assert sorted(exits([one], one, mask, EVERYWHERE)) == expected


def test_through_an_edge_it_leaves_once():
    one = tile()
    [(x, y, z)] = exits([one], one, part(np.s_[4:8, 4:8, 3:6]), EVERYWHERE)
    assert max(x, y) == 8
    assert z == 4


def test_tiles_about_the_exits_cover_all_of_them():
    one = tile()
    places = list(exits([one], one, np.ones((8, 8, 8), dtype=bool), EVERYWHERE))
    around = [tile((x - 4, y - 4, z - 4)) for x, y, z in places]
    _, covered = blend([one, *around], (-1, -1, -1), (10, 10, 10))
    crossing = sum(np.isin(index, (0, 9)).astype(int) for index in np.indices((10, 10, 10))) == 1
    assert covered[crossing].all()
    assert len(places) < 30


def test_where_a_tile_is_already_or_the_image_ends_there_is_no_exit():
    one = tile()
    assert not list(exits([one, tile((4, 0, 0))], one, THROUGH_ONE_FACE, EVERYWHERE))
    ends_there = (np.full(3, -1000.0), np.array([8.4, 1000.0, 1000.0]))
    assert not list(exits([one], one, THROUGH_ONE_FACE, ends_there))
    goes_on = (np.full(3, -1000.0), np.array([8.6, 1000.0, 1000.0]))
    assert list(exits([one], one, THROUGH_ONE_FACE, goes_on))
