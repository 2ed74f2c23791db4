"""Tiles moved over a volume give the mean of their answers, as the published systems take it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import ELSEWHERE, FOLDERS, KEPT_HERE, needs_all_references
from volume_references import VolumeReference

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, VolumeError
from PromptSegLib.geometry import Extent
from PromptSegLib.predictors.names.tiling import (
    class_probabilities,
    even_starts,
    gaussian_weights,
    half_step_starts,
    slabs,
    slabs_of_half_steps,
    slabs_of_probabilities,
    softmax_in_place,
    with_strongest_other,
)
from PromptSegLib.predictors.stu_net.network import STUNet
from PromptSegLib.predictors.uniseg.network import UniSeg

pytestmark = pytest.mark.usefixtures("inference")

MIRRORINGS = {0: (), 1: (0, 1, 2)}


@pytest.fixture
def inference():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("mirrored", MIRRORINGS)
def test_tiled_stu_net_gives_the_official_probabilities(folder, mirrored):
    network = STUNet(1, 7, widths=(4, 8, 8, 16, 16, 16), depths=[2] * 6).eval()
    network.load_state_dict(state_dict_from_keys(folder / "stu_net_tiny_keys.json", "depth2"))
    reference = VolumeReference(folder, "stu_net_tiny")

    def predict(tile: torch.Tensor) -> torch.Tensor:
        return class_probabilities(network, tile, mirror_axes=MIRRORINGS[mirrored])

    found = torch.cat(list(slabs_of_probabilities(reference.tensor("tiled_input"), predict, (32, 32, 32))), dim=1)
    reference.assert_met(f"tiled_mirror{mirrored}_prob", found)
    assert (found.argmax(dim=0).numpy() == reference[f"tiled_mirror{mirrored}_seg"]).all()


@needs_all_references
@pytest.mark.parametrize("mirrored", MIRRORINGS)
def test_tiled_uniseg_gives_the_official_probabilities(mirrored):
    network = UniSeg(patch=(32, 64, 64), widths=(8, 16, 32, 48, 48, 48)).eval()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "uniseg_tiny_keys.json"))
    reference = VolumeReference(ELSEWHERE, "uniseg_tiny")

    def predict(tile: torch.Tensor) -> torch.Tensor:
        return class_probabilities(lambda w: network(w, 0), tile, mirror_axes=MIRRORINGS[mirrored])

    found = torch.cat(list(slabs_of_probabilities(reference.tensor("tiled_input"), predict, network.patch)), dim=1)
    reference.assert_met(f"tiled_task0_mirror{mirrored}_prob", found)
    if mirrored:
        assert (found.argmax(dim=0).numpy() == reference["tiled_task0_seg"]).all()


def test_tiles_weigh_as_in_nnunet():
    VolumeReference(KEPT_HERE, "stu_net_tiny").assert_met("gaussian32", gaussian_weights((32, 32, 32)))


def test_sat_places_and_weighs_its_tiles_as_officially():
    reference = VolumeReference(KEPT_HERE, "sat_prep")
    for n in range(4):
        shape = reference[f"grid{n}_shape"].tolist()
        starts = [half_step_starts(length, tile) for length, tile in zip(shape, (288, 288, 96), strict=True)]
        corners = reference[f"grid{n}_idx"][:, ::2].tolist()
        assert list(itertools.product(*starts)) == [tuple(corner) for corner in corners]
    weights = gaussian_weights((16, 16, 8), peak=10.0, half_precision=True)
    np.testing.assert_array_equal(weights, reference["toy_gaussian_f16"])

    def toy(tile: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(2 * tile + 0.1 * tile.mean())

    found = torch.cat(list(slabs_of_half_steps(reference.tensor("toy_volume"), toy, (16, 16, 8))), dim=1)
    reference.assert_met("toy_mean", found)


@pytest.mark.parametrize(
    ("length", "step", "starts"),
    [
        (32, 0.5, [0]),
        (33, 0.5, [0, 1]),
        (50, 0.5, [0, 9, 18]),
        (40, 0.5, [0, 8]),
        (96, 1.0, [0, 32, 64]),
    ],
)
def test_tiles_are_evenly_spaced(length, step, starts):
    assert even_starts(length, 32, step) == starts


def squares(tile: torch.Tensor) -> torch.Tensor:
    """Three classes that say what was seen, and one that depends on where in the tile."""
    place = torch.arange(tile.numel()).reshape(tile.shape) / tile.numel()
    return torch.cat((tile, tile**2, place), dim=1)


@pytest.mark.parametrize("shape", [(19, 11, 7), (6, 30, 9), (3, 5, 8)])
def test_slabs_are_layers_of_the_mean_over_all_tiles(shape):
    tile = (6, 5, 4)
    volume = torch.from_numpy(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32))
    low = [max(w - n, 0) // 2 for n, w in zip(shape, tile, strict=True)]
    padded = np.pad(volume[0], [(b, max(w - n, 0) - b) for n, w, b in zip(shape, tile, low, strict=True)])
    total, mass = np.zeros((3, *padded.shape)), np.zeros(padded.shape)
    weights = gaussian_weights(tile).numpy()
    for corner in itertools.product(*(even_starts(n, w, 0.5) for n, w in zip(padded.shape, tile, strict=True))):
        at = tuple(slice(c, c + w) for c, w in zip(corner, tile, strict=True))
        total[:, *at] += squares(torch.from_numpy(padded[at])[None, None])[0].numpy() * weights
        mass[at] += weights
    inside = tuple(slice(b, b + n) for b, n in zip(low, shape, strict=True))
    parts = list(slabs_of_probabilities(volume, squares, tile))
    np.testing.assert_allclose(torch.cat(parts, dim=1), (total / mass)[:, *inside], atol=1e-5)
    assert max(part.shape[1] for part in parts) <= tile[0]


def test_the_mean_over_mirrorings_is_the_same_for_a_mirrored_tile():
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 3, 3, padding=1)
    tile = torch.randn(1, 1, 4, 5, 6)
    answer = class_probabilities(network, tile, mirror_axes=(0, 2))
    mirrored = class_probabilities(network, tile.flip(2, 4), mirror_axes=(0, 2))
    torch.testing.assert_close(mirrored.flip(2, 4), answer)
    plain = class_probabilities(network, tile)
    assert (answer - plain).abs().max() > 1e-3


def test_the_classes_asked_for_come_in_the_order_asked():
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 5, 3, padding=1)
    tile = torch.randn(1, 1, 4, 5, 6)
    every = class_probabilities(network, tile, mirror_axes=(1,))
    some = class_probabilities(network, tile, mirror_axes=(1,), classes=[3, 0])
    torch.testing.assert_close(some, every[:, [3, 0]])


def test_softmax_in_place_is_softmax():
    logits = torch.randn(1, 7, 3, 3, 3) * 50
    torch.testing.assert_close(softmax_in_place(logits.clone()), logits.softmax(dim=1))


def test_a_class_and_the_strongest_other_decide_as_all_classes_within_a_tile():
    probabilities = torch.randn(1, 9, 6, 6, 6).softmax(dim=1)
    winner = probabilities.argmax(dim=1)
    asked = with_strongest_other(probabilities.clone(), [4, 2])
    assert asked.shape == (1, 3, 6, 6, 6)
    for place, number in enumerate([4, 2], start=1):
        torch.testing.assert_close(asked.argmax(dim=1) == place, winner == number)


def test_a_cancelled_prediction_stops_before_the_next_tile():
    token, seen = CancelToken(), []

    def predict(tile: torch.Tensor) -> torch.Tensor:
        seen.append(tile)
        token.cancel()
        return tile

    with pytest.raises(Cancelled):
        list(slabs_of_probabilities(torch.zeros(1, 20, 20, 20), predict, (8, 8, 8), cancel=token))
    assert len(seen) == 1


def test_progress_rises_to_the_end():
    fractions = []
    volume = torch.zeros(1, 12, 8, 8)
    list(slabs_of_probabilities(volume, lambda w: w, (8, 8, 8), progress=lambda done, what: fractions.append(done)))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len(fractions) == 2


def test_half_precision_answers_are_added_up_in_full():
    parts = slabs(torch.ones(1, 4, 4, 4), lambda w: w.half(), [[0], [0], [0]], torch.ones(4, 4, 4))
    assert next(parts).dtype == torch.float32


def test_a_volume_smaller_than_a_tile_has_no_tiles():
    with pytest.raises(VolumeError, match="one tile of 8 voxels, got 7"):
        even_starts(7, 8, 0.5)


def test_a_step_beyond_the_tile_is_refused():
    with pytest.raises(ValueError, match=r"at most 1 tile, got 1\.5"):
        even_starts(20, 8, 1.5)


@pytest.mark.parametrize("box", [((0, 0, 0), (3, 3, 3)), ((9, 6, 2), (11, 8, 5)), ((14, 8, 5), (19, 11, 7))])
@pytest.mark.parametrize("gaussian", [True, False])
def test_a_box_is_answered_as_in_the_whole_volume_by_fewer_tiles(box, gaussian):
    seen = []

    def predict(tile: torch.Tensor) -> torch.Tensor:
        seen.append(tile)
        return squares(tile)

    volume = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 19, 11, 7)).astype(np.float32))
    options = {"tile": (6, 5, 9), "gaussian": gaussian}
    whole = torch.cat(list(slabs_of_probabilities(volume, predict, **options)), dim=1)
    tiles = len(seen)
    wanted = Extent(*box)
    part = torch.cat(list(slabs_of_probabilities(volume, predict, wanted=wanted, **options)), dim=1)
    assert part.shape == whole.shape
    torch.testing.assert_close(part[:, *wanted.slices], whole[:, *wanted.slices])
    assert len(seen) - tiles < tiles / 2
    assert (part == 0).all(dim=0).any()
