"""Without torch the default model's network says the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from PromptSegLib.predictors.default.prompt_unet import PromptUNet
from PromptSegLib.predictors.default.prompt_unet_numpy import NumpyPromptUNet

SIDES = {2: (48, 80), 3: (16, 32, 48)}


@pytest.fixture(scope="module", params=[2, 3])
def both(request):
    """Return a network of random weights, norms and biases included, in torch and in numpy."""
    torch.manual_seed(request.param)
    network = PromptUNet(request.param, widths=(16, 24, 32, 40)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    weights = {key: value.half().numpy() for key, value in network.state_dict().items()}
    network.load_state_dict({key: torch.from_numpy(value).float() for key, value in weights.items()})
    return network, NumpyPromptUNet(request.param, network.widths, weights)


def maps(dims, has_prompts=True, has_box=False, has_previous=False):
    """Return image, positive, negative, box and previous mask, with prompts at the edges, too."""
    rng, shape = np.random.default_rng(dims), SIDES[dims]
    noise = ndimage.gaussian_filter(rng.random(shape), 2)
    image = (noise - noise.min()) / np.ptp(noise) * 1.2 - 0.1
    positive, negative, box, previous = np.zeros((4, *shape))
    if has_prompts:
        positive[tuple(n // 2 for n in shape)] = positive[(0,) * dims] = 1
        negative[tuple(n - 1 for n in shape)] = negative[tuple(n // 3 for n in shape)] = 1
    if has_box:
        box[(slice(5, 13),) * dims] = 1
    if has_previous:
        previous = np.clip(2 * image - 0.9, 0, 1)
    return [values.astype(np.float32) for values in (image, positive, negative, box, previous)]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"has_box": True},
        {"has_previous": True},
        {"has_box": True, "has_previous": True},
        {"has_prompts": False, "has_box": True},
        {"has_prompts": False},
    ],
    ids=lambda given: " ".join(given) or "prompts",
)
def test_numpy_and_torch_agree(both, given):
    network, without_torch = both
    asked = maps(network.dims, **given)
    with torch.inference_mode():
        expected = network.logits(*[torch.from_numpy(values)[None, None] for values in asked])[0, 0].numpy()
    found = without_torch.logits(*asked)
    assert found.dtype == np.float32
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_an_image_of_one_value_gives_numbers(both):
    network, without_torch = both
    asked = maps(network.dims, has_box=True)
    asked[0][:] = 0.5
    assert np.isfinite(without_torch.logits(*asked)).all()


def test_weights_that_are_missing_are_named():
    network = PromptUNet(2, widths=(16, 24))
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    del weights["head.bias"]
    with pytest.raises(KeyError, match="head"):
        NumpyPromptUNet(2, (16, 24), weights).logits(*[values[:16, :16] for values in maps(2)])
