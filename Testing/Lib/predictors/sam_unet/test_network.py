from __future__ import annotations

import pytest
import torch

from PromptSegLib.predictors.sam.config import SamConfig
from PromptSegLib.predictors.sam_unet.network import SamUNet


@pytest.fixture(scope="module")
def network() -> SamUNet:
    torch.manual_seed(0)
    return SamUNet(
        50, SamConfig(image_size=64, width=24, depth=8, heads=2, window=3, global_blocks=(1, 3, 5, 7))
    ).eval()


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 64), (70, 33)])
def test_an_image_of_any_size_is_encoded_and_prompted(network, size):
    encoding = network.encode(torch.randn(1, 3, *size))
    height, width = (2 * -(-length // 32) for length in size)  # in patches of 16 pixels
    assert encoding.embedding.shape == (1, 256, height, width)
    assert encoding.features.shape == (1, 32, 4 * height, 4 * width)
    low_res = network.decode(encoding, boxes=torch.tensor([[3.0, 4, 20, 30], [0, 0, 60, 30]]))
    assert low_res.shape == (2, 1, 4 * height, 4 * width)
    assert low_res.isfinite().all()


@torch.inference_mode()
def test_many_prompts_on_one_image_are_each_prompt_by_itself(network):
    encoding = network.encode(torch.randn(1, 3, 64, 64))
    points, labels = torch.tensor([[[3.0, 4]], [[50, 60]]]), torch.tensor([[1], [0]])
    together = network.decode(encoding, points, labels)
    for index in range(2):
        alone = network.decode(encoding, points[index : index + 1], labels[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_it_runs_in_bfloat16(network):
    image, boxes = torch.randn(1, 3, 64, 64), torch.tensor([[3.0, 4, 20, 30]])
    expected = network.decode(network.encode(image), boxes=boxes)
    with torch.autocast("cpu", torch.bfloat16):
        low_res = network.decode(network.encode(image), boxes=boxes)
    assert (low_res.float() - expected).abs().mean() < 0.05 * expected.std()
