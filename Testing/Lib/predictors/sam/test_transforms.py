from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.sam.transforms import LongestSideFrame, StretchedFrame, nearest_indices

SIZES = [(180, 300), (300, 220), (64, 64), (2000, 1), (1, 1)]
FRAMES = [partial(LongestSideFrame, side=256), partial(StretchedFrame, side=256)]


def disk(image_hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.indices(image_hw)
    within = (x - centre_xy[0]) ** 2 + (y - centre_xy[1]) ** 2 <= radius**2
    return np.repeat(np.where(within, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("image_hw", SIZES)
@pytest.mark.parametrize("frame_of", FRAMES)
def test_image_and_logits_have_the_sizes_that_the_frame_says(image_hw, frame_of):
    frame = frame_of(image_hw)
    image = frame.image(np.zeros((*image_hw, 3), np.uint8))
    assert image.shape == (1, 3, 256, 256)
    assert image.dtype == torch.float32
    logits = frame.logits(torch.full((2, 3, 64, 64), 1.5))
    assert logits.shape == (2, 3, *image_hw)
    assert torch.allclose(logits, torch.tensor(1.5))


@pytest.mark.parametrize("image_hw", [(180, 300), (300, 220), (500, 333), (100, 256)])
@pytest.mark.parametrize("frame_of", FRAMES)
def test_a_disk_is_where_its_centre_and_box_say(image_hw, frame_of):
    frame = frame_of(image_hw)
    centre, radius = (0.4 * image_hw[1], 0.6 * image_hw[0]), 0.2 * min(image_hw)
    bright = frame.image(disk(image_hw, centre, radius))[0, 0] > 0
    y, x = torch.nonzero(bright, as_tuple=True)
    expected_xy = frame.points(torch.tensor(centre))
    # Coordinates are scaled about the centre of the first pixel, the image about its corner: a pixel or two apart.
    assert abs(x.double().mean() - expected_xy[0]) < 1.5
    assert abs(y.double().mean() - expected_xy[1]) < 1.5
    box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
    expected = torch.stack([x.min(), y.min(), x.max(), y.max()]).double()
    assert torch.allclose(frame.boxes(torch.tensor(box)), expected, rtol=0, atol=3)


@pytest.mark.parametrize("frame_of", FRAMES)
def test_logits_of_a_disk_come_back_upon_it(frame_of):
    image_hw, centre, radius = (300, 220), (90, 200), 60
    mask = disk(image_hw, centre, radius)[..., 0] > 0
    frame = frame_of(image_hw)
    bright = (frame.image(disk(image_hw, centre, radius))[:, :1] > 0).float() - 0.5
    low_res = torch.nn.functional.avg_pool2d(bright, 4)
    found = (frame.logits(low_res)[0, 0] > 0).numpy()
    assert (found & mask).sum() / (found | mask).sum() > 0.97


def test_what_the_longest_side_leaves_free_is_zero():
    image = LongestSideFrame((100, 200), 256).image(np.full((100, 200, 3), 200, np.uint8))
    assert (image[:, :, 128:] == 0).all()
    assert (image[:, :, :128] != 0).all()


def test_a_read_only_image_is_taken():
    image = np.broadcast_to(np.uint8(7), (256, 256, 3))
    for frame in (LongestSideFrame((256, 256), 256), StretchedFrame((256, 256))):
        assert frame.image(image).shape == (1, 3, 256, 256)


def test_colours_are_normalised_one_by_one():
    image = np.broadcast_to(np.array([255, 0, 128], np.uint8), (4, 4, 3)).copy()
    expected = [(255 - 123.675) / 58.395, -116.28 / 57.12, (128 - 103.53) / 57.375]
    for frame in (LongestSideFrame((4, 4), 4), StretchedFrame((4, 4), 4)):
        np.testing.assert_allclose(frame.image(image)[0, :, 2, 2], expected, rtol=1e-6)


def test_nearest_pixels_are_those_at_or_before():
    assert nearest_indices(5, 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert nearest_indices(10, 4).tolist() == [0, 2, 5, 7]


def test_a_rounded_step_may_miss_a_pixel_as_in_opencv():
    exact = np.arange(256) * 186 // 256
    assert np.flatnonzero(nearest_indices(186, 256) != exact).tolist() == [128]


@pytest.mark.parametrize("frame", [LongestSideFrame((4, 6), 256), StretchedFrame((4, 6))])
@pytest.mark.parametrize("image", [np.zeros((6, 4, 3), np.uint8), np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3))])
def test_another_image_than_the_frame_s_is_refused(frame, image):
    with pytest.raises(VolumeError, match=r"uint8 image \(4, 6, 3\), got"):
        frame.image(image)


@pytest.mark.parametrize("image_hw", [(180, 300), (300, 220), (64, 64), (100, 256)])
@pytest.mark.parametrize("frame_of", FRAMES)
def test_a_mask_goes_to_the_network_s_size_and_back(image_hw, frame_of):
    frame = frame_of(image_hw)
    mask = disk(image_hw, (0.4 * image_hw[1], 0.6 * image_hw[0]), 0.3 * min(image_hw))[..., 0] > 0
    low_res = frame.low_res(torch.from_numpy(mask).float()[None, None], (64, 64))
    assert low_res.shape == (1, 1, 64, 64)
    back = (frame.logits(2 * low_res - 1)[0, 0] > 0).numpy()
    assert (back & mask).sum() / (back | mask).sum() > 0.95
