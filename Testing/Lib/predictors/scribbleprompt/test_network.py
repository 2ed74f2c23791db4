"""ScribblePrompt's UNet, from an image and its prompts to logits."""

from __future__ import annotations

import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import ELSEWHERE, FOLDERS, Reference, needs_all_references

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet
from PromptSegLib.predictors.scribbleprompt.transforms import ScribblePromptFrame, prompt_channels


@torch.inference_mode()
def assert_meets(reference: Reference, network: ScribblePromptUNet) -> None:
    previous = None
    for case in ("clicks", "box", "scribble", "all_prev"):
        channels = prompt_channels(
            reference.tensor("image"),
            reference.tensor(f"{case}_point_coords"),
            reference.tensor(f"{case}_point_labels"),
            reference.tensor(f"{case}_box"),
            reference.tensor(f"{case}_scribbles"),
            previous if case == "all_prev" else None,
        )
        reference.assert_met(f"{case}_network_input", channels[:, 1:4])
        logits = network(channels)
        reference.assert_met(f"{case}_logits", logits)
        previous = logits if case == "clicks" else previous
    assert reference.unused == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_small_network_answers_as_the_official_one(folder):
    network = ScribblePromptUNet(width=12).eval()
    network.load_state_dict(state_dict_from_keys(folder / "scribbleprompt_tiny_keys.json"))
    assert_meets(Reference(folder, "scribbleprompt_tiny"), network)


@needs_all_references
def test_the_published_size_answers_as_the_official_one():
    network = ScribblePromptUNet().eval()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "scribbleprompt_unet_keys.json"))
    assert_meets(Reference(ELSEWHERE, "scribbleprompt_full"), network)


@pytest.mark.parametrize("folder", FOLDERS)
def test_image_and_prompts_are_rescaled_as_officially(folder):
    reference = Reference(folder, "scribbleprompt_rescale")
    image = reference.tensor("image")
    frame = ScribblePromptFrame(image.shape[2:])
    reference.assert_met("rescaled_img", frame.maps(image))
    reference.assert_met("rescaled_scribbles", frame.maps(reference.tensor("scribbles")))
    reference.assert_met("rescaled_point_coords", frame.points(reference.tensor("point_coords")))
    reference.assert_met("rescaled_box", frame.boxes(reference.tensor("box")))
    assert (reference["rescaled_point_labels"] == reference["point_labels"]).all()
    assert reference.unused == set()


@torch.inference_mode()
@pytest.mark.parametrize("size", [(16, 16), (128, 96), (37, 50)])
def test_an_image_of_any_size_runs(size):
    torch.manual_seed(0)
    network = ScribblePromptUNet(width=4).eval()
    images = torch.rand(2, 1, *size)
    logits = network(prompt_channels(images))
    assert logits.shape == (2, 1, *size)
    torch.testing.assert_close(network(prompt_channels(images[1:])), logits[1:])


@torch.inference_mode()
def test_it_runs_in_bfloat16():
    torch.manual_seed(0)
    network = ScribblePromptUNet(width=8).eval()
    channels = prompt_channels(torch.rand(1, 1, 64, 64), boxes=torch.tensor([[[5, 5, 40, 30]]]))
    expected = network(channels)
    logits = network.to(torch.bfloat16)(channels.to(torch.bfloat16))
    assert (logits.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_box_is_filled_from_corners_in_any_order():
    image = torch.zeros(1, 1, 8, 9)
    expected = torch.zeros(8, 9)
    expected[2:5, 3:7] = 1
    for box in ([3, 2, 7, 5], [7, 5, 3, 2], [3, 5, 7, 2]):
        assert (prompt_channels(image, boxes=torch.tensor([[box]]))[0, 1] == expected).all()


def test_a_click_on_a_scribble_stays_within_one():
    scribbles = torch.full((1, 2, 4, 4), 0.5)
    channels = prompt_channels(
        torch.zeros(1, 1, 4, 4), torch.tensor([[[3, 1], [3, 1]]]), torch.tensor([[1, 1]]), scribbles=scribbles
    )
    assert channels[0, 2, 1, 3] == 1
    assert channels[0, 2].sum() == 1 + 15 * 0.5
    assert (channels[0, 3] == 0.5).all()
    assert (scribbles == 0.5).all()


def test_a_padding_point_leaves_no_trace():
    channels = prompt_channels(torch.zeros(1, 1, 4, 4), torch.tensor([[[-9, 99]]]), torch.tensor([[-1]]))
    assert not channels.any()


def test_a_click_outside_the_image_names_its_bounds():
    with pytest.raises(PromptError, match="0 to 8 and 0 to 7"):
        prompt_channels(torch.zeros(1, 1, 8, 9), torch.tensor([[[9, 0]]]), torch.tensor([[1]]))


def test_points_need_labels():
    with pytest.raises(PromptError, match="need labels"):
        prompt_channels(torch.zeros(1, 1, 8, 9), torch.tensor([[[1, 0]]]))


def test_logits_come_back_in_the_size_of_the_image():
    frame = ScribblePromptFrame((200, 150))
    assert frame.logits(torch.full((1, 1, 128, 128), 3.0)).shape == (1, 1, 200, 150)
