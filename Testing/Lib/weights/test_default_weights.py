"""The weights that are shipped are those that the model card speaks of, fit the network, and segment what is plain."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch

import PromptSegLib
from PromptSegLib.predictors.default.prompt_unet import PromptUNet
from PromptSegLib.weights.readers import check_state_dict
from PromptSegLib.weights.shipped import read_shipped, shipped_path

FOLDER = Path(PromptSegLib.__file__).parent / "weights" / "default"
CARD = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")


def network(dims):
    configuration, arrays = read_shipped(shipped_path(dims))
    made = PromptUNet(configuration["dims"], configuration["widths"]).eval()
    weights = {key: torch.from_numpy(array).float() for key, array in arrays.items()}
    check_state_dict({key: value.shape for key, value in made.state_dict().items()}, weights)
    made.load_state_dict(weights)
    return made, configuration


def noisy_ball(dims, size):
    """Return an image with a ball of a third of its side, brighter than the noisy ground, and the ball."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(*[torch.arange(size) - size / 2.0] * dims, indexing="ij")
    ball = (sum(axis.square() for axis in axes).sqrt() < size / 6).float()[None, None]
    noise = torch.randn(ball.shape, generator=generator)
    return (0.35 + 0.3 * ball + 0.08 * noise).clamp(0, 1), ball


@pytest.mark.parametrize("dims", [2, 3])
def test_the_model_card_states_the_hash_of_the_file(dims):
    path = shipped_path(dims)
    stated = re.search(rf"`{path.name}`\s*\|\s*`([0-9a-f]{{64}})`", CARD)
    assert stated, f"{path.name} in the table of the model card"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == stated[1]


def test_the_files_together_take_less_than_20_mb():
    assert sum(shipped_path(dims).stat().st_size for dims in (2, 3)) < 20e6


@pytest.mark.parametrize("dims", [2, 3])
def test_a_click_finds_a_ball_and_clicks_at_its_edge_keep_it(dims):
    made, configuration = network(dims)
    size = configuration["sizes"][-1]
    image, ball = noisy_ball(dims, size)
    none, positive = torch.zeros_like(image), torch.zeros_like(image)
    positive[(0, 0, *[size // 2] * dims)] = 1
    with torch.inference_mode():
        first = made.logits(image, positive, none, none, none).sigmoid()
        negative = none.clone()
        negative[(0, 0, *[size // 2] * (dims - 1), size // 2 + size // 4)] = 1
        second = made.logits(image, positive, negative, none, first)
    for answer in (first > 0.5, second > 0):
        # The 3D network, of a third of the grid's resolution, reached 0.89.
        assert 2 * (answer * ball).sum() / (answer.sum() + ball.sum()) > {2: 0.9, 3: 0.85}[dims]


@pytest.mark.parametrize("dims", [2, 3])
def test_a_box_finds_what_is_in_it_and_does_not_just_fill_it(dims):
    made, configuration = network(dims)
    size = configuration["sizes"][-1]
    image, ball = noisy_ball(dims, size)
    none, box = torch.zeros_like(image), torch.zeros_like(image)
    box[(0, 0, *[slice(size // 3 - 2, size - size // 3 + 2)] * dims)] = 1
    with torch.inference_mode():
        answer = made.logits(image, none, none, box, none) > 0
    assert 2 * (answer * ball).sum() / (answer.sum() + ball.sum()) > 0.9
