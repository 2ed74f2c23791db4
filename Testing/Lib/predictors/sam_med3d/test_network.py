"""SAM-Med3D gives the numbers of its official implementation, from the image to the mask."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import ELSEWHERE, FOLDERS, needs_all_references
from volume_references import VolumeReference

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.sam_med3d.encoder import WindowAttention3D
from PromptSegLib.predictors.sam_med3d.network import SAMMed3D

pytestmark = pytest.mark.usefixtures("inference")

TINY = {"width": 48, "heads": 4, "global_blocks": (1,), "prompt_width": 48}


@pytest.fixture
def inference():
    with torch.inference_mode():
        yield


def tiny_network(folder, part: str, image_size: int, depth: int) -> SAMMed3D:
    network = SAMMed3D(image_size=image_size, depth=depth, **TINY).eval()
    network.load_state_dict(state_dict_from_keys(folder / "sam_med3d_tiny_keys.json", part))
    return network


def assert_meets(reference: VolumeReference, network: SAMMed3D, prefix: str, prompts: tuple[str, ...]) -> None:
    """One click, then all of them with the first answer fed back; the newest alone; and without a mask."""
    embedding = network.encode(reference.input(f"{prefix}input_i8"))
    reference.assert_met(f"{prefix}embedding", embedding)
    if f"{prefix}dense_pe" in reference:
        reference.assert_met(f"{prefix}dense_pe", network.prompt_encoder.image_positions())
    for name in prompts:
        case = f"{prefix}{name}"
        points, labels = reference.tensor(f"{case}_points"), reference.tensor(f"{case}_labels")
        first, iou = network.predict(embedding, points[:, :1], labels[:, :1], network.empty_mask())
        reference.assert_met(f"{case}_click1_lowres", first)
        reference.assert_met(f"{case}_click1_iou", iou)
        if len(points[0]) > 1:
            assert_second_click_meets(reference, network, case, embedding, first)
        if f"{case}_nomask_multi_iou" in reference:
            several, iou = network.predict(embedding, points, labels, None, multimask=True)
            reference.assert_met(f"{case}_nomask_multi_lowres", several)
            reference.assert_met(f"{case}_nomask_multi_iou", iou)


def assert_second_click_meets(reference, network, case, embedding, first) -> None:
    points, labels = reference.tensor(f"{case}_points"), reference.tensor(f"{case}_labels")
    second, iou = network.predict(embedding, points, labels, first)
    reference.assert_met(f"{case}_click2_lowres", second)
    reference.assert_met(f"{case}_click2_iou", iou)
    fine = network.upscaled(second)
    reference.assert_met(f"{case}_click2_hr", fine)
    reference.assert_mask_met(f"{case}_click2_mask_packed", fine)
    newest, iou = network.predict(embedding, points[:, -1:], labels[:, -1:], first)
    reference.assert_met(f"{case}_click2_newest_only_lowres", newest)
    reference.assert_met(f"{case}_click2_newest_only_iou", iou)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_small_network_answers_as_the_official_one(folder):
    reference = VolumeReference(folder, "sam_med3d_tiny")
    assert_meets(reference, tiny_network(folder, "t64", 64, 3), "t64_", ("one", "two", "three"))
    assert not {name for name in reference.unused if name.startswith("t64")}


@needs_all_references
def test_a_small_network_of_the_published_image_size_answers_as_the_official_one():
    reference = VolumeReference(ELSEWHERE, "sam_med3d_tiny")
    assert_meets(reference, tiny_network(ELSEWHERE, "t128", 128, 2), "t128_", ("two",))
    assert not {name for name in reference.unused if name.startswith("t128")}


@needs_all_references
def test_the_published_size_answers_as_the_official_one():
    with torch.device("meta"):
        network = SAMMed3D().eval()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "sam_med3d_vit_b_ori_keys.json"), assign=True)
    reference = VolumeReference(ELSEWHERE, "sam_med3d_full")
    assert_meets(reference, network, "", ("two",))
    assert reference.unused == set()


def random_attention(window: int) -> WindowAttention3D:
    torch.manual_seed(0)
    attention = WindowAttention3D(width=8, heads=2, window=window)
    for table in (attention.rel_pos_d, attention.rel_pos_h, attention.rel_pos_w):
        table.normal_()
    return attention


def attended_one_by_one(attention: WindowAttention3D, tokens: torch.Tensor) -> torch.Tensor:
    """Attention within one filled window of (n, n, n, 8) tokens, straight from its formula."""
    n = attention.window
    query, key, value = attention.qkv(tokens).view(n, n, n, 3, 2, 4).unbind(3)  # each (n, n, n, heads, c)
    d, h, w = attention.rel_pos_d, attention.rel_pos_h, attention.rel_pos_w
    answer = torch.empty(n, n, n, 2, 4)
    for x, y, z, head in itertools.product(range(n), range(n), range(n), range(2)):
        q = query[..., head, :]
        scores = torch.empty(n, n, n)
        for i, j, k in itertools.product(range(n), repeat=3):
            position = q[x, y, z] @ d[x - k + n - 1] + q[x, y, i] @ h[y - k + n - 1] + q[x, y, j] @ w[j - k + n - 1]
            scores[i, j, k] = q[x, y, z] @ key[i, j, k, head] / 2 + position
        weights = scores.flatten().softmax(dim=0)
        answer[x, y, z, head] = weights @ value[..., head, :].reshape(-1, 4)
    return attention.proj(answer.flatten(3))


def test_a_grid_of_several_windows_attends_within_each_of_them_and_to_what_fills_it():
    attention = random_attention(window=3)
    tokens = torch.randn(1, 4, 3, 2, 8)
    filled = torch.zeros(6, 3, 3, 8)
    filled[:4, :, :2] = tokens[0]
    expected = torch.cat([attended_one_by_one(attention, filled[:3]), attended_one_by_one(attention, filled[3:])])
    torch.testing.assert_close(attention(tokens)[0], expected[:4, :, :2], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(1)
    return SAMMed3D(image_size=32, depth=1, **TINY).eval()


def test_several_sets_of_prompts_on_one_image_are_answered_as_one_by_one(small):
    embedding = small.encode(torch.randn(1, 1, 32, 32, 32))
    points, labels = torch.rand(3, 2, 3) * 32, torch.tensor([[1, 0], [1, 1], [0, 1]])
    for mask in (None, small.empty_mask()):
        together, iou = small.predict(embedding, points, labels, mask)
        for n in range(3):
            alone, iou_alone = small.predict(embedding, points[n : n + 1], labels[n : n + 1], mask)
            torch.testing.assert_close(together[n : n + 1], alone)
            torch.testing.assert_close(iou[n : n + 1], iou_alone)


def test_a_point_of_padding_is_the_same_wherever_it_lies(small):
    embedding = small.encode(torch.randn(1, 1, 32, 32, 32))
    answers = [
        small.predict(embedding, torch.tensor([[[4.0, 5, 6], place]]), torch.tensor([[1, -1]]), None)[0]
        for place in ([0.0, 0, 0], [31.0, 2, 9])
    ]
    torch.testing.assert_close(*answers)


def test_reduced_precision_stays_near_full_precision(small):
    image, points, labels = torch.randn(1, 1, 32, 32, 32), torch.tensor([[[9.0, 3, 30]]]), torch.tensor([[1]])
    full, _ = small.predict(small.encode(image), points, labels, small.empty_mask())
    reduced = SAMMed3D(image_size=32, depth=1, **TINY).eval()
    reduced.load_state_dict(small.state_dict())
    reduced.bfloat16()
    logits, _ = reduced.predict(reduced.encode(image.bfloat16()), points, labels, reduced.empty_mask())
    assert logits.dtype == torch.bfloat16
    assert np.corrcoef(logits.float().flatten(), full.flatten())[0, 1] > 0.99


def test_points_and_labels_must_fit_together(small):
    with pytest.raises(PromptError, match=r"got \(1, 2, 3\) and \(1, 1\)"):
        small.predict(torch.zeros(1, 48, 2, 2, 2), torch.zeros(1, 2, 3), torch.ones(1, 1), None)
