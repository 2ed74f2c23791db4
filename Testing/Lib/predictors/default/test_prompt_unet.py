"""The default model's network sees its prompts, works in 2D and 3D, and survives being shipped in half precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.default.prompt_features import (
    BINS,
    FEATURES,
    NOT_KNOWN,
    _added,
    _multiplied,
    grown,
    neighboured,
    prompt_features,
)
from PromptSegLib.predictors.default.prompt_unet import (
    HAS_ONEDNN,
    Convolution3d,
    PromptUNet,
    depth_to_space,
    space_to_depth,
)
from PromptSegLib.weights.npz import read_npz
from PromptSegLib.weights.shipped import read_shipped, write_shipped

SIZES = {2: 32, 3: 16}


def maps(dims, batch=1):
    """Return an image of a bright square or cube on dark ground with noise, and four empty maps."""
    torch.manual_seed(0)
    size = SIZES[dims]
    image = 0.2 + 0.02 * torch.randn(batch, 1, *[size] * dims)
    image[(slice(None), slice(None), *[slice(size // 4, 3 * size // 4)] * dims)] += 0.5
    return image, [torch.zeros_like(image) for _ in range(4)]


def marked(empty, position):
    """Return a map with one voxel set, at (position, position[, position])."""
    marks = empty.clone()
    marks[(slice(None), slice(None), *[position] * (empty.dim() - 2))] = 1
    return marks


def a_network(dims):
    torch.manual_seed(1)
    return PromptUNet(dims, widths=(8, 16, 16)).eval()


@pytest.mark.parametrize("dims", [2, 3])
def test_logits_have_the_image_s_size(dims):
    image, empty = maps(dims, batch=2)
    assert a_network(dims).logits(image, *empty).shape == image.shape


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_the_usual_one(stride):
    torch.manual_seed(0)
    convolution, x = Convolution3d(8, 16, 3, stride, padding=1).eval(), torch.randn(1, 8, 6, 8, 10)
    usual = functional.conv3d(x, convolution.weight, convolution.bias, stride, padding=1)
    torch.testing.assert_close(convolution(x), usual, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not HAS_ONEDNN, reason="torch was built without oneDNN")
def test_no_grid_is_too_small_for_onednn():
    image, empty = maps(3)
    network = a_network(3)
    with torch.inference_mode(), torch.profiler.profile() as profile:
        network.logits(image, *empty)
    operations = {event.key for event in profile.key_averages()}
    assert "aten::mkldnn_convolution" in operations
    assert not any("slow_conv" in name for name in operations)


@pytest.mark.parametrize("dims", [2, 3])
def test_every_map_changes_the_answer(dims):
    image, empty = maps(dims)
    network = a_network(dims)
    plain = network.logits(image, *empty)
    for index in range(4):
        changed = [marked(map_, 5) if index == other else map_ for other, map_ in enumerate(empty)]
        assert (network.logits(image, *changed) - plain).abs().max() > 1e-4


@pytest.mark.parametrize("dims", [2, 3])
def test_a_click_finds_what_has_its_intensity(dims):
    image, (positive, negative, box, previous) = maps(dims)
    middle = SIZES[dims] // 2
    features = prompt_features(image, marked(positive, middle), marked(negative, 1), box, previous)[0]
    here, there = [(channel, *[middle + 2] * dims) for channel in (5, 6)], [(c, *[2] * dims) for c in (5, 6)]
    assert features[here[0]] > 0.8 > 0.2 > features[there[0]]
    assert features[here[1]] < 0.2 < 0.8 < features[there[1]]
    assert (features[7] == NOT_KNOWN).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_a_box_or_else_the_previous_mask_says_which_intensities_are_inside(dims):
    image, (positive, negative, box, previous) = maps(dims)
    size = SIZES[dims]
    box[(0, 0, *[slice(size // 4 - 2, 3 * size // 4 + 2)] * dims)] = 1
    middle, corner = (7, *[size // 2] * dims), (7, *[1] * dims)
    boxed = prompt_features(image, positive, negative, box, previous)[0]
    assert boxed[middle] > 0.9 > 0.5 > boxed[corner]
    masked = prompt_features(image, positive, negative, box, 1 - box)[0]
    assert masked[middle] < 0.1


def test_histograms_are_the_same_added_on_a_cpu_and_multiplied_on_a_gpu():
    generator = torch.Generator().manual_seed(0)
    position = torch.rand(3, 512, generator=generator) * (BINS - 1.01)
    weights = torch.rand(3, 4, 512, generator=generator)
    added = _added(position, weights)
    torch.testing.assert_close(_multiplied(position, weights), added, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(added.sum(2), weights.sum(2))


@pytest.mark.parametrize("dims", [2, 3])
def test_prompts_grow_to_the_balls_that_are_stated(dims):
    marks = marked(torch.zeros(1, 1, *[9] * dims), 4)
    distance = sum((axis - 4).square() for axis in torch.meshgrid(*[torch.arange(9.0)] * dims, indexing="ij")).sqrt()
    assert torch.equal(grown(marks)[0, 0], (distance <= 2.5).float())
    assert torch.equal(neighboured(marks)[0, 0], (distance <= 1).float())


@pytest.mark.parametrize("dims", [2, 3])
def test_contrast_and_brightness_do_not_matter_to_the_image_channel(dims):
    image, empty = maps(dims)
    darker = prompt_features(0.4 * image + 0.1, *empty)[:, 0]
    torch.testing.assert_close(darker, prompt_features(image, *empty)[:, 0], atol=0.02, rtol=0.01)


@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (2, 3, 4, 6, 8)])
def test_depth_to_space_is_the_inverse_of_space_to_depth(shape):
    x = torch.randn(shape)
    torch.testing.assert_close(depth_to_space(space_to_depth(x)), x)


@pytest.mark.parametrize("dims", [2, 3])
def test_shipped_weights_answer_as_the_trained_ones(dims, tmp_path):
    network, (image, empty) = a_network(dims), maps(dims)
    file = tmp_path / "weights.npz"
    configuration = {"dims": dims, "widths": network.widths, "sizes": [32]}
    write_shipped(file, configuration, {key: value.numpy() for key, value in network.state_dict().items()})
    read, arrays = read_shipped(file)
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    shipped = PromptUNet(read["dims"], read["widths"]).eval()
    shipped.load_state_dict({key: torch.from_numpy(array).float() for key, array in arrays.items()})
    positive = marked(empty[0], 9)
    wanted = network.logits(image, positive, *empty[1:])
    torch.testing.assert_close(shipped.logits(image, positive, *empty[1:]), wanted, atol=2e-2, rtol=0)


def test_the_same_weights_make_the_same_file(tmp_path):
    arrays = {"a": np.ones(3, dtype=np.float32)}
    for name in ("one.npz", "two.npz"):
        write_shipped(tmp_path / name, {"dims": 2, "widths": [8], "sizes": [32]}, arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_file_without_configuration_is_refused(tmp_path):
    np.savez(tmp_path / "plain.npz", a=np.ones(2))
    assert read_npz(tmp_path / "plain.npz").keys() == {"a"}
    with pytest.raises(WeightsError, match="configuration"):
        read_shipped(tmp_path / "plain.npz")
    with pytest.raises(WeightsError, match="no file"):
        read_shipped(tmp_path / "missing.npz")


def test_features_are_as_many_as_the_network_takes():
    image, empty = maps(2)
    assert prompt_features(image, *empty).shape[1] == FEATURES
