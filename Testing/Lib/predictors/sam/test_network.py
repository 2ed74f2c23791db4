"""What holds for any SAM network, whatever its weights."""

from __future__ import annotations

import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import KEPT_HERE
from torch.nn import functional

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.sam import layers as sam_layers
from PromptSegLib.predictors.sam.encoder import RelativeAttention, join_windows, split_windows
from PromptSegLib.predictors.sam.network import Sam, sam_med2d, sam_vit_b, without_adapters

TINY = {
    "image_size": 256,
    "width": 48,
    "depth": 4,
    "heads": 3,
    "window": 7,
    "global_blocks": (1, 3),
    "embedding": 64,
}
TINY_MED2D = {"width": 96, "depth": 4, "heads": 3, "global_blocks": (1, 3)}
POINTS = torch.tensor([[[100.0, 40], [30, 200]], [[5, 5], [250, 17]], [[77.5, 128], [0, 255]]])
LABELS = torch.tensor([[1, 0], [1, 1], [0, 1]])
BOXES = torch.tensor([[20.0, 30, 200, 90], [0, 0, 256, 256], [100, 100, 140.5, 180]])

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def network() -> Sam:
    network = sam_vit_b(**TINY).eval()
    network.load_state_dict(state_dict_from_keys(KEPT_HERE / "sam_tiny_keys.json"))
    return network


@pytest.fixture(scope="module")
def med2d() -> Sam:
    network = sam_med2d(**TINY_MED2D).eval()
    network.load_state_dict(state_dict_from_keys(KEPT_HERE / "sam_med2d_tiny_keys.json"))
    return network


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def assert_close(actual: torch.Tensor, expected: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(actual.float(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("size", [(256, 256), (16, 16), (100, 37), (300, 520)])
def test_an_image_of_any_size_is_encoded_and_prompted(network, med2d, size):
    grid = tuple(-(-length // 16) for length in size)
    for any_network, channels in ((network, 64), (med2d, 256)):
        embedding = any_network.encode(noise(1, 3, *size))
        assert embedding.shape == (1, channels, *grid)
        low_res, iou = any_network.decode(embedding, boxes=torch.tensor([[2.0, 3, 12, 14]]))
        assert low_res.shape == (1, 3, 4 * grid[0], 4 * grid[1])
        assert low_res.isfinite().all()
        assert iou.shape == (1, 3)


def test_an_image_is_filled_up_with_zeros_to_whole_patches(network):
    image = noise(1, 3, 250, 241)
    filled = functional.pad(image, (0, 15, 0, 6))
    assert_close(network.encode(image), network.encode(filled), atol=0)


def test_the_positions_of_a_larger_image_lie_between_those_learnt(network):
    encoder = network.image_encoder
    flat = torch.zeros(1, 3, 512, 256)  # twice as high: every second row of positions lies between two learnt ones
    learnt, stretched = encoder.pos_embed[0], encoder.tokens(flat)[0] - encoder.patch_embed["proj"].bias
    assert_close(stretched[1:-1:2], 0.75 * learnt[:-1] + 0.25 * learnt[1:])


@pytest.mark.parametrize("size", [(14, 14), (15, 9), (6, 20), (1, 1)])
def test_windows_are_filled_with_zeros_and_joined_without_them(size):
    tokens = noise(2, *size, 5)
    windows = split_windows(tokens, 7)
    rows, columns = -(-size[0] // 7), -(-size[1] // 7)
    assert windows.shape == (2 * rows * columns, 7, 7, 5)
    assert windows.count_nonzero() == tokens.numel()
    assert (join_windows(windows, tokens.shape) == tokens).all()
    assert (windows[0] == functional.pad(tokens, (0, 0, 0, 7, 0, 7))[0, :7, :7]).all()


@pytest.mark.parametrize("values_at_once", [1, 2**24])
def test_attention_adds_to_each_score_what_the_distance_of_the_tokens_says(monkeypatch, values_at_once):
    monkeypatch.setattr(sam_layers, "BIAS_VALUES_AT_ONCE", values_at_once)
    height, width, heads = 4, 3, 2
    attention = RelativeAttention(8, heads, grid=4)
    attention.rel_pos_h.copy_(noise(7, 4))
    attention.rel_pos_w = torch.nn.Parameter(noise(5, 4))
    tokens = noise(2, height, width, 8)
    query, key, value = attention.qkv(tokens).view(2, 12, 3, heads, 4).unbind(2)  # each (batch, token, head, c)
    scores = torch.einsum("bqhc,bkhc->bhqk", query, key) / 2
    for q in range(12):
        for k in range(12):
            down, right = q // width - k // width, q % width - k % width
            offset = attention.rel_pos_h[down + height - 1] + attention.rel_pos_w[right + width - 1]
            scores[:, :, q, k] += query[:, q] @ offset
    expected = torch.einsum("bhqk,bkhc->bqhc", scores.softmax(-1), value).reshape(2, height, width, 8)
    assert_close(attention(tokens), attention.proj(expected), atol=1e-6)


def test_adapters_dropped_are_adapters_never_had(med2d):
    bare = sam_med2d(**TINY_MED2D, adapters=False).eval()
    bare.load_state_dict(without_adapters(state_dict_from_keys(KEPT_HERE / "sam_med2d_tiny_keys.json")))
    image = noise(1, 3, 256, 256)
    dropped = med2d.encode(image, use_adapters=False)
    assert_close(dropped, bare.encode(image), atol=0)
    assert (dropped - med2d.encode(image)).abs().max() > 0.1


def test_a_batch_of_images_is_each_image_by_itself(med2d):
    images = noise(3, 3, 256, 256)
    embeddings = med2d.encode(images)
    low_res, iou = med2d.decode(embeddings, POINTS, LABELS, BOXES)
    for index in range(3):
        one = slice(index, index + 1)
        embedding = med2d.encode(images[one])
        assert_close(embeddings[one], embedding)
        one_low_res, one_iou = med2d.decode(embedding, POINTS[one], LABELS[one], BOXES[one])
        assert_close(low_res[one], one_low_res)
        assert_close(iou[one], one_iou)


@pytest.mark.parametrize("multimask", [True, False])
def test_many_prompts_on_one_image_are_each_prompt_by_itself(network, multimask):
    embedding = network.encode(noise(1, 3, 256, 256))
    masks = noise(3, 1, 64, 64)
    low_res, iou = network.decode(embedding, POINTS, LABELS, BOXES, masks, multimask=multimask)
    assert low_res.shape == (3, 3 if multimask else 1, 64, 64)
    for index in range(3):
        one = slice(index, index + 1)
        given = POINTS[one], LABELS[one], BOXES[one], masks[one]
        one_low_res, one_iou = network.decode(embedding, *given, multimask=multimask)
        assert_close(low_res[one], one_low_res)
        assert_close(iou[one], one_iou)


def test_forward_is_encode_and_decode(network):
    image = noise(1, 3, 256, 256)
    expected = network.decode(network.encode(image), boxes=BOXES)
    for whole, part in zip(network(image, boxes=BOXES), expected, strict=True):
        assert_close(whole, part, atol=0)


def test_a_mask_alone_prompts(network):
    embedding = network.encode(noise(1, 3, 256, 256))
    low_res, _ = network.decode(embedding, mask=noise(2, 1, 64, 64))
    assert low_res.shape == (2, 3, 64, 64)
    assert (low_res[0] - low_res[1]).abs().max() > 0.01


def test_it_does_not_matter_where_a_padding_point_lies(network):
    embedding = network.encode(noise(1, 3, 256, 256))
    labels = torch.tensor([[1, -1]])
    there, elsewhere = (
        network.decode(embedding, torch.tensor([[[100.0, 40], place]]), labels)[0] for place in ([0.0, 0], [99, 7])
    )
    bare, _ = network.decode(embedding, torch.tensor([[[100.0, 40]]]), torch.tensor([[1]]))
    assert_close(there, elsewhere, atol=0)
    assert (there - bare).abs().max() > 0.01


def test_in_bfloat16_masks_are_close(network):
    image = noise(1, 3, 256, 256)
    expected, expected_iou = network(image, points=POINTS, labels=LABELS, boxes=BOXES)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, mixed_iou = network(image, points=POINTS, labels=LABELS, boxes=BOXES)
    half = sam_vit_b(**TINY).eval().to(torch.bfloat16)
    half.load_state_dict(network.state_dict())
    low, low_iou = half(image, points=POINTS, labels=LABELS, boxes=BOXES)
    assert low.dtype == torch.bfloat16
    for masks, iou in ((mixed, mixed_iou), (low, low_iou)):
        assert (masks.float() - expected).abs().mean() < 0.03 * expected.std()
        assert ((masks > 0) == (expected > 0)).float().mean() > 0.98
        assert_close(iou, expected_iou, atol=0.05)


def test_neighbouring_pixels_stay_apart_in_half_precision(network):
    encoder = network.prompt_encoder
    points = torch.tensor([[[200.0, 100], [201, 100]]])
    labels = torch.ones(1, 2, dtype=torch.long)
    expected = encoder.sparse(points, labels, (64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(encoder.sparse(points, labels, (64, 64)), expected, atol=1e-6)


def test_weights_are_taken_over_without_a_copy(network):
    weights = network.state_dict()
    with torch.device("meta"):
        light = sam_vit_b(**TINY).eval()
    light.load_state_dict(weights, assign=True)
    assert light.image_encoder.pos_embed.data_ptr() == network.image_encoder.pos_embed.data_ptr()
    image = noise(1, 3, 256, 256)
    assert_close(light.encode(image), network.encode(image), atol=0)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"points": POINTS}, r"\(B, N, 2\) and \(B, N\), got \(3, 2, 2\) and None"),
        ({"points": POINTS[0], "labels": LABELS[0]}, r"got \(2, 2\) and \(2,\)"),
        ({"points": POINTS, "labels": LABELS[:, :1]}, r"got \(3, 2, 2\) and \(3, 1\)"),
        ({"boxes": BOXES[0]}, r"\(B, 4\), got \(4,\)"),
        ({"points": POINTS[:2], "labels": LABELS[:2], "boxes": BOXES}, "as many, got 2 and 3"),
        ({"mask": torch.zeros(1, 1, 256, 256)}, r"\(1, 64, 64\).*got \(1, 1, 256, 256\)"),
        ({"boxes": BOXES, "mask": torch.zeros(2, 1, 64, 64)}, "got 1, 3 and 2"),
    ],
)
def test_a_prompt_of_the_wrong_shape_is_named(network, prompts, message):
    with pytest.raises(PromptError, match=message):
        network.decode(torch.zeros(1, 64, 16, 16), **prompts)
