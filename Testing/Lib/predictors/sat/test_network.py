"""SAT gives the numbers of its official implementation, for texts and for images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import ELSEWHERE, FOLDERS, needs_all_references
from volume_references import VolumeReference

from PromptSegLib.predictors.sat.network import SAT

pytestmark = pytest.mark.usefixtures("inference")

TINY = {"widths": (8, 8, 16, 16, 32, 48), "convs": 2, "query_width": 48, "memory_hidden": 40, "mask_hidden": (40,)}


@pytest.fixture
def inference():
    with torch.inference_mode():
        yield


def assert_meets(reference: VolumeReference, network: SAT, chunks: int) -> None:
    image = reference.tensor("input")[None, None]
    features, tokens, positions = network.encode(image)
    reference.assert_met("image_embedding", tokens.transpose(0, 1))
    reference.assert_met("pos", positions.transpose(0, 1))
    reference.assert_met("pixel_embedding", features[0])
    queries = [reference.tensor(f"queries{n}") for n in range(chunks)]
    logits = torch.cat([network.decode(features, tokens, positions, chunk) for chunk in queries], dim=1)
    reference.assert_met("logits", logits)
    if "mask_packed" in reference:
        assert logits.shape == tuple(reference["logits_shape"])
        reference.assert_mask_met("mask_packed", logits)
    assert reference.unused == set()
    # Queries do not see each other: in one chunk they are answered alike.
    np.testing.assert_allclose(network(image, torch.cat(queries)), logits, atol=1e-3)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_small_network_answers_as_the_official_one(folder):
    network = SAT(**TINY).eval()
    network.load_state_dict(state_dict_from_keys(folder / "sat_tiny_keys.json"))
    assert_meets(VolumeReference(folder, "sat_tiny"), network, chunks=2)


@needs_all_references
def test_sat_nano_answers_as_the_official_one():
    with torch.device("meta"):
        network = SAT.of_size("nano").eval()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "sat_unet_keys.json"), assign=True)
    assert_meets(VolumeReference(ELSEWHERE, "sat_nano_full"), network, chunks=1)


def test_deep_supervision_adds_coarser_levels_and_changes_nothing_else():
    torch.manual_seed(0)
    widths = {"widths": (4, 4, 8, 8, 8, 8), "convs": 1, "query_width": 24, "memory_hidden": 8}
    network = SAT(**widths, mask_hidden=(8, 8, 8, 8), deep_supervision=True).eval()
    plain = SAT(**widths, mask_hidden=(8,)).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("mid_")})
    image, queries = torch.randn(1, 1, 64, 32, 32), torch.randn(2, 24)
    levels = network(image, queries)
    assert [tuple(level.shape) for level in levels] == [(1, 2, 64 // n, 32 // n, 32 // n) for n in (1, 2, 4, 8)]
    torch.testing.assert_close(levels[0], plain(image, queries))


def test_images_of_a_batch_are_answered_as_one_by_one():
    torch.manual_seed(0)
    network = SAT(widths=(4, 4, 8, 8, 8, 8), convs=1, query_width=24, memory_hidden=8, mask_hidden=(8,)).eval()
    images, queries = torch.randn(2, 1, 32, 32, 64), torch.randn(3, 24)
    torch.testing.assert_close(network(images, queries)[1:], network(images[1:], queries))
