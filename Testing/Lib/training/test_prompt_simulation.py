"""Simulated prompts lie where people put them, and stay with their targets when the view changes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from PromptSegLib.training import prompt_simulation as simulated
from PromptSegLib.training.draws import Draws
from PromptSegLib.training.pool import Pool
from PromptSegLib.training.slots import Slots
from PromptSegLib.training.views import Views, bounds, resample, sample, turned, view_again, view_targets

SIZES = {2: 32, 3: 16}


def blocks(dims, count=64):
    """Return targets (count, 1, *S): a block off the middle."""
    size = SIZES[dims]
    masks = torch.zeros(count, 1, *[size] * dims)
    masks[(slice(None), 0, *[slice(size // 4, 5 * size // 8)] * dims)] = 1
    return masks


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    made = {dims: Pool(tmp_path_factory.mktemp("pool"), dims, 0, 4, "cpu") for dims in (2, 3)}
    for pool in made.values():
        pool.prepare(1)
    return made


@pytest.mark.parametrize("dims", [2, 3])
def test_clicks_lie_in_the_error_most_of_them_about_its_middle(dims):
    errors = blocks(dims)
    where, found = simulated.click(Draws(0), errors)
    assert found.all()
    assert errors.flatten(1).gather(1, where[:, None]).all()
    middle = (simulated.depth(errors) > 0.8 * simulated.depth(errors).amax()).flatten(1)
    assert middle.float().gather(1, where[:, None]).mean() > 0.5
    assert not simulated.click(Draws(0), torch.zeros_like(errors))[1].any()


@pytest.mark.parametrize("dims", [2, 3])
def test_boxes_enclose_their_targets_but_for_a_little(dims):
    truth = blocks(dims)
    boxes = simulated.box(Draws(1), truth)
    axes = tuple(range(1, truth.dim()))
    assert ((boxes * truth).sum(axes) / truth.sum(axes)).min() > 0.6
    assert boxes.sum() > truth.sum()
    assert boxes.sum(axes).unique().numel() > 8  # no two users draw the same box


@pytest.mark.parametrize("dims", [2, 3])
def test_strokes_stay_in_their_region_or_leave_it_by_a_voxel_and_beside_is_outside(dims):
    truth = blocks(dims)
    drawn = simulated.strokes(Draws(2), truth)
    pool = functional.max_pool2d if dims == 2 else functional.max_pool3d
    assert ((drawn > 0) <= (pool(truth, 3, 1, 1) > 0)).all()
    beyond = (drawn * (1 - truth)).flatten(1).sum(1) > 0
    assert 0 < beyond.sum() < len(truth) / 2
    assert (drawn.flatten(1).sum(1) > 0).all()
    near = simulated.beside(Draws(2), truth)
    assert near.sum() > 0
    assert (near * truth).sum() == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_lassos_surround_most_of_the_target_in_3d_on_one_slice(dims):
    truth = blocks(dims)
    lassos = simulated.lasso(Draws(3), truth)
    inside = (lassos * truth).sum() / lassos.sum()
    assert inside > 0.7
    if dims == 3:
        thickness = [min((lasso[0].amax(axes) > 0).sum() for axes in ((1, 2), (0, 2), (0, 1))) for lasso in lassos]
        assert max(int(t) for t in thickness) <= 1


@pytest.mark.parametrize("dims", [2, 3])
def test_spoilt_masks_have_errors_to_click(dims):
    truth = blocks(dims)
    wrong = (simulated.spoilt(Draws(4), truth) - truth).abs().flatten(1).sum(1)
    assert (wrong > 0).float().mean() > 0.8


@pytest.mark.parametrize("dims", [2, 3])
def test_a_view_of_a_target_shows_it(dims):
    draws, truth = Draws(5), blocks(dims)
    views = view_targets(draws, truth)
    seen = sample(truth, views, 24, border=False)
    assert (seen.flatten(1).amax(1) > 0.5).float().mean() > 0.95


@pytest.mark.parametrize("dims", [2, 3])
def test_points_and_maps_keep_their_place_in_another_view(dims):
    draws, truth, count = Draws(6), blocks(dims, 8), 8
    old = Views(torch.zeros(count, dims), torch.full((count,), 0.9), turned(draws, count, dims))
    points = draws.uniform(-0.5, 0.5, count, 3, dims)
    torch.testing.assert_close(old.from_image(old.to_image(points)), points)
    seen = sample(truth, old, 48, border=False)
    new = view_again(draws, old, (seen > 0.5).float())
    moved = resample(seen, old, new)
    direct = sample(truth, new, 48, border=False)
    assert ((moved > 0.5) == (direct > 0.5)).float().mean() > 0.97


@pytest.mark.parametrize("dims", [2, 3])
def test_bounds_are_those_of_the_mask(dims):
    low, high = bounds(blocks(dims, 1))
    torch.testing.assert_close(low[0], torch.full((dims,), -0.5))
    torch.testing.assert_close(high[0], torch.full((dims,), 0.25))


@pytest.mark.parametrize("dims", [2, 3])
def test_clicks_stay_on_their_side_of_the_target_through_interactions_and_zooms(dims, pools):
    slots = Slots(pools[dims], 12, 2 * SIZES[dims], Draws(7))
    slots.fill()
    right = total = 0
    for _ in range(8):
        maps = slots.maps()
        clicks = (slots.state["signs"] != 0).flatten(1).any(1)
        for marks, truth in ((maps.positive, maps.truth), (maps.negative, 1 - maps.truth)):
            inside, here = (marks * truth)[clicks].sum(), marks[clicks].sum()
            right, total = right + float(inside), total + float(here)
        slots.interact(torch.full_like(maps.truth, 0.4) + 0.2 * maps.truth.roll(2, -1))
    assert total > 50
    assert right / total > 0.85
    assert slots.state["age"].max() >= 3
    assert {int(age) for age in slots.state["age"]} != {int(slots.state["age"][0])}


def test_a_perfect_answer_brings_a_new_image(pools):
    slots = Slots(pools[2], 6, 32, Draws(8))
    slots.fill()
    slots.interact(slots.maps().truth)
    assert (slots.state["age"] == 0).all()
