"""Synthetic images depend on the seed alone, hold targets of use, and are as varied as they have to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from PromptSegLib.training.draws import Draws
from PromptSegLib.training.fields import blur, smooth_noise
from PromptSegLib.training.label_maps import AIR, IDS, LabelMaps, make_label_maps
from PromptSegLib.training.makers import MakerError
from PromptSegLib.training.pool import SIDES, Pool, make_chunk
from PromptSegLib.training.rendering import render
from PromptSegLib.training.targets import TARGETS, choose_targets
from PromptSegLib.training.vessels import draw_vessels

SHAPES = {2: (48, 64), 3: (24, 20, 28)}


@pytest.fixture
def small_images(monkeypatch):
    """Images of a quarter of the side or a third: what is said of seeds holds for them, too, in a tenth of the time."""
    monkeypatch.setitem(SIDES, 2, 64)
    monkeypatch.setitem(SIDES, 3, 32)


@pytest.mark.usefixtures("small_images")
@pytest.mark.parametrize("dims", [2, 3])
def test_the_same_seed_makes_the_same_chunk_and_another_a_different_one(dims):
    count = {2: 4, 3: 1}[dims]
    one, again, other = (make_chunk(dims, seed, 3, count) for seed in (7, 7, 8))
    assert one.images.shape == (count, *[SIDES[dims]] * dims)
    assert torch.equal(one.images, again.images)
    assert torch.equal(one.targets, again.targets)
    assert not torch.equal(one.images, other.images)


@pytest.mark.usefixtures("small_images")
def test_chunks_of_a_stream_differ():
    assert not torch.equal(make_chunk(2, 0, 0, 1).images, make_chunk(2, 0, 1, 1).images)


@pytest.mark.parametrize("dims", [2, 3])
def test_label_maps_hold_several_structures_and_known_numbers(dims):
    maps = make_label_maps(Draws(1), 12, SHAPES[dims])
    assert maps.labels.shape == (12, *SHAPES[dims])
    assert maps.labels.min() >= 0
    assert maps.labels.max() < IDS
    kinds = [len(labels.unique()) for labels in maps.labels]
    assert sum(count >= 3 for count in kinds) >= 8
    assert any((labels == AIR).any() for labels in maps.labels)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_target_is_made_of_whole_structures_or_their_parts(dims):
    draws = Draws(1)
    maps = make_label_maps(draws, 4, SHAPES[dims])
    bits = choose_targets(draws, maps)
    for labels, vessels, targets in zip(maps.labels, maps.vessels, bits, strict=True):
        for bit in range(TARGETS):
            mask = (targets >> bit) & 1 > 0
            assert 0 < mask.sum() <= 0.6 * mask.numel()
            if torch.equal(mask, vessels):
                continue
            inside, outside = labels[mask].unique(), labels[~mask].unique()
            assert len(set(inside.tolist()) & set(outside.tolist())) <= 2  # parts of at most two structures


@pytest.mark.parametrize("dims", [2, 3])
def test_images_are_between_0_and_1_and_show_structures(dims):
    draws = Draws(2)
    maps = make_label_maps(draws, 16, SHAPES[dims])
    images = render(draws, maps)
    assert images.shape == maps.labels.shape
    assert images.isfinite().all()
    assert images.min() >= 0
    assert images.max() <= 1
    explained = []
    for image, labels in zip(images, maps.labels, strict=True):
        means = torch.stack([image[labels == number].mean() for number in labels.unique()])
        share = torch.bincount(torch.unique(labels, return_inverse=True)[1].flatten()) / labels.numel()
        between = (share * (means - image.mean()).square()).sum()
        explained.append(float(between / image.var()))
    assert sorted(explained)[len(explained) // 2] > 0.25  # typically visible …
    assert min(explained) < 0.8  # … but not always plainly


def test_blur_keeps_the_sum_of_a_spot_and_spreads_it_by_sigma():
    spot = torch.zeros(2, 31, 31)
    spot[:, 15, 15] = 1
    sigma = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    soft = blur(spot, sigma)
    torch.testing.assert_close(soft.sum((1, 2)), torch.ones(2), atol=1e-3, rtol=0)
    squares = (torch.arange(31) - 15.0).square()
    variance = torch.stack([(soft.sum(2) * squares).sum(1), (soft.sum(1) * squares).sum(1)], dim=1)
    torch.testing.assert_close(variance, sigma.square(), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("dims", [2, 3])
def test_smooth_noise_is_smooth_on_its_scale(dims):
    noise = smooth_noise(Draws(3), 2, 2, [40] * dims, scale=10)
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert (noise.diff(dim=-1).abs().mean()) < 0.3


@pytest.mark.usefixtures("small_images")
def test_a_pool_finds_its_chunks_again_and_takes_images_by_number(tmp_path):
    first = Pool(tmp_path, 3, 5, 2, "cpu")
    first.prepare(2)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    second = Pool(tmp_path, 3, 5, 2, "cpu")
    second.prepare(2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == files
    assert len(second) == 4
    taken = second.take(torch.tensor([3, 0]))
    torch.testing.assert_close(taken.images[0], make_chunk(3, 5, 1, 2).images[1])
    torch.testing.assert_close(taken.targets[1], make_chunk(3, 5, 0, 2).targets[0])


def test_makers_make_the_chunks_that_a_pool_makes_itself_and_stop_with_it(tmp_path):
    alone, together = Pool(tmp_path / "a", 2, 5, 1, "cpu"), Pool(tmp_path / "b", 2, 5, 1, "cpu", makers=2, most=3)
    for pool in (alone, together):
        pool.prepare(3)
    numbers = torch.arange(3)
    assert torch.equal(alone.take(numbers).images, together.take(numbers).images)
    with pytest.raises(MakerError, match="have ended without it"):
        together.prepare(4)


@pytest.mark.usefixtures("small_images")
def test_a_pool_holds_the_images_of_its_renderer(tmp_path):
    def even_and_odd(draws, maps):
        return (maps.labels % 2).float()

    pool = Pool(tmp_path, 2, 5, 3, "cpu", renderer=even_and_odd)
    pool.prepare(1)
    assert set(pool.take(torch.arange(3)).images.unique().tolist()) == {0, 255}


@pytest.mark.parametrize("dims", [2, 3])
def test_vessels_are_thin_trees_of_few_pieces(dims):
    shape = [SIDES[dims]] * dims
    trees = [draw_vessels(Draws(seed, dims), shape) for seed in range(8)]
    assert all(0 < tree.float().mean() < 0.5 for tree in trees)
    assert not torch.equal(trees[0], trees[1])
    for tree in trees:
        depth = ndimage.distance_transform_edt(tree.numpy())
        assert np.median(depth[depth > 0]) < 3
        pieces = ndimage.label(tree.numpy(), np.ones([3] * dims))[1]
        assert pieces <= 6  # one a stem at most; a branch begins on its parent


@pytest.mark.parametrize("dims", [2, 3])
def test_vessels_are_seen_in_most_images_and_plainly_in_some(dims):
    shape = SHAPES[dims]
    labels = torch.zeros(16, *shape, dtype=torch.int64)
    classes = torch.arange(IDS).repeat(16, 1)
    vessels = torch.zeros(16, *shape, dtype=torch.bool)
    vessels[:, 10:13] = True
    images = render(Draws(4), LabelMaps(labels, classes, vessels))
    contrast = (images[:, 11].flatten(1).mean(1) - images[:, [5, 6, 17, 18]].flatten(1).mean(1)).abs()
    noise = images[:, 5:7].flatten(1).std(1)
    assert (contrast > 0.3 * noise).sum() >= 10
    assert (contrast > 2 * noise).any()
