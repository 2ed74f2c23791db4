"""nnInteractive through its own package: every prompt reaches the right voxels, and no history leaves a trace.

The network is one in words, whose answers follow from what is drawn into its input: see `ClosedForm`.
"""

from __future__ import annotations

import functools
import itertools
import threading

import numpy as np
import pytest
import torch
from nninteractive_model import closed_form_predictor, save_model

from PromptSegLib.bitmask import BitMask
from PromptSegLib.cancel import CancelToken, no_progress
from PromptSegLib.errors import PredictionError, PromptError, VolumeError, WeightsError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.geometry import Extent, Grid, affine_from_parts, flip_axes
from PromptSegLib.imaging.co_registration import as_image
from PromptSegLib.predictors.nninteractive.predictor import NnInteractive
from PromptSegLib.predictors.nninteractive.prompts import MIDDLE_SLICE_NOTE
from PromptSegLib.predictors.registry import capabilities_of, create_predictor
from PromptSegLib.predictors.torch_device import OUT_OF_MEMORY_NOTE
from PromptSegLib.prompts import Box, Lasso, MaskPrompt, Point, Scribble
from PromptSegLib.session.mask_store import MemoryMaskStore
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume
from PromptSegLib.weights.catalogue import load_catalogue

SHAPE = (30, 36, 44)
TILTED = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
AXES = {
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "ILA": np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]),
    "oblique": TILTED,
    "oblique and flipped": TILTED @ np.diag([1.0, -1.0, -1.0]),
}


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ijk(grid, i, j, k):
    return tuple(grid.to_ras((i, j, k)).tolist())


def lasso_in_slice(grid, k, positive=True):
    corners = [(8.3, 6.2), (20.4, 8.1), (22.2, 20.3), (9.1, 18.4)]
    return Lasso([ijk(grid, i, j, k) for i, j in corners], positive)


def conversation(grid):
    """Return prompts of all kinds and both signs, around the middle of an image of SHAPE; each changes the mask."""
    return [
        Point(ijk(grid, 20, 18, 14)),
        Point(ijk(grid, 25, 19, 15), positive=False),
        Scribble([ijk(grid, 15, 12, 13), ijk(grid, 22, 20, 13)], 2.9),
        Box.from_indices(grid, (10, 8, 17), (26, 24, 17)),
        lasso_in_slice(grid, 12, positive=False),
        Scribble([ijk(grid, 22, 12, 16), ijk(grid, 22, 20, 16)], positive=False),
        Point(ijk(grid, 18, 22, 18)),
    ]


@pytest.fixture
def a_predictor(tmp_path):
    return functools.partial(closed_form_predictor, tmp_path)


@pytest.fixture
def a_session(a_predictor):
    return Session(noise(), a_predictor()[0])


def channels_of(predictor):
    return predictor._local.session.interactions.numpy().copy()


# Prompts and geometry


@pytest.mark.parametrize("axes", AXES)
def test_a_click_is_drawn_where_its_voxel_is(axes, a_predictor):
    """The brightest voxel is clicked: image and point come to the network in the same place."""
    predictor, network = a_predictor()
    array = noise()
    array[7, 29, 11] = 50
    grid = Grid(SHAPE, affine_from_parts((0.8, 1.1, 2.0), AXES[axes], (12, -40, 7)))
    session = Session(Volume(array, grid.ijk_to_ras), predictor)
    session.add(Point(ijk(grid, 11, 29, 7)))
    [seen] = network.inputs
    assert seen[0, 4].max() == 1
    assert int(seen[0, 4].argmax()) == int(seen[0, 0].argmax())
    assert session.mask_kji[7, 29, 11]


def turned(volume, axes, flips):
    """Return the same image, stored along other axes and backwards along `flips`; where each voxel lies stays."""
    turn = np.eye(4)[:, [*axes, 3]]
    for axis in flips:
        turn[:, 3] += turn[:, axis] * (flip_axes(volume.array.shape)[axes[axis]] - 1)
        turn[:, axis] *= -1
    array = volume.array.transpose(flip_axes([2 - a for a in axes]))
    return Volume(np.flip(array, [2 - axis for axis in flips]), volume.ijk_to_ras @ turn)


@pytest.mark.parametrize("directions", [np.eye(3), TILTED], ids=["straight", "oblique"])
def test_a_copy_stored_in_another_order_gives_the_same_voxels(directions, a_predictor):
    volume = Volume(noise(), affine_from_parts((1.0, 1.2, 1.7), directions, (5, 6, 7)))
    session = Session(volume, a_predictor()[0])
    said = conversation(volume.grid)
    for prompt in said:
        session.add(prompt)
    assert 100 < session.mask_kji.sum() < session.mask_kji.size / 2
    for axes, flips in [((1, 0, 2), (0,)), ((2, 0, 1), (1, 2)), ((0, 1, 2), (0, 1, 2))]:
        copy = turned(volume, axes, flips)
        other = Session(copy, a_predictor()[0])
        for prompt in said:
            other.add(prompt)
        expected = turned(Volume(session.mask_kji, volume.ijk_to_ras), axes, flips)
        assert expected.grid.matches(copy.grid)
        np.testing.assert_array_equal(other.mask_kji, expected.array)


CHANNELS = {"box": (1, 2), "lasso": (1, 2), "point": (3, 4), "scribble": (5, 6)}


@pytest.mark.parametrize("number", range(7))
def test_each_kind_of_prompt_is_drawn_into_the_channel_of_its_kind_and_sign(number, a_predictor):
    predictor, _ = a_predictor()
    session = Session(noise(), predictor)
    prompt = conversation(session.image.grid)[number]
    session.add(prompt)
    drawn = [channel for channel in range(1, 7) if channels_of(predictor)[channel].any()]
    assert drawn == [CHANNELS[prompt.kind][0 if prompt.positive else 1]]


def test_a_3d_box_is_given_as_its_middle_slice_across_the_largest_voxels_and_the_user_is_told(a_predictor):
    predictor, _ = a_predictor()
    grid = Grid(SHAPE, affine_from_parts((1, 1, 3), np.eye(3), (0, 0, 0)))
    session = Session(Volume(noise(), grid.ijk_to_ras), predictor)
    session.add(Box.from_indices(grid, (10, 8, 6), (30, 26, 20)))
    drawn = Extent.of_mask(channels_of(predictor)[1])
    assert (drawn.start_kji, drawn.stop_kji) == ((13, 8, 10), (14, 27, 31))
    assert session.prediction.note == MIDDLE_SLICE_NOTE
    session.add(Point(ijk(grid, 20, 16, 13)))
    assert session.prediction.note == ""


def test_a_checkpoint_that_takes_3d_boxes_gets_all_of_it(a_predictor):
    predictor, _ = a_predictor(info={"supported_interactions": {"bbox3d": True}, "interaction_decay": 0.9})
    session = Session(noise(), predictor)
    session.add(Box.from_indices(session.image.grid, (10, 8, 6), (30, 26, 20)))
    drawn = Extent.of_mask(channels_of(predictor)[1])
    assert (drawn.start_kji, drawn.stop_kji) == ((6, 8, 10), (21, 27, 31))
    assert session.prediction.note == ""


def test_a_planar_box_across_slices_marks_the_voxels_that_it_passes(a_predictor):
    predictor, _ = a_predictor()
    session = Session(noise(), predictor)
    tilt = np.array([[1, 0, 0], [0, np.cos(0.5), np.sin(0.5)], [0, -np.sin(0.5), np.cos(0.5)]])
    session.add(Box(ijk(session.image.grid, 20, 18, 14), (20, 20, 0), tuple(map(tuple, tilt))))
    drawn = channels_of(predictor)[1]
    assert Extent.of_mask(drawn).shape_kji[0] > 5
    assert 300 < (drawn != 0).sum() < 700
    assert session.mask_kji.any()


# The session's history


def test_the_history_may_go_back_and_forth_and_leaves_no_trace(a_predictor, a_session):
    """However a state was come to, the mask and what the network is shown next are those of the straight way."""
    predictor, _ = a_predictor()
    session = Session(noise(), predictor)
    said = conversation(session.image.grid)
    masks, channels = [session.mask_kji], []
    for prompt in said:
        session.add(prompt)
        masks.append(session.mask_kji)
        channels.append(channels_of(predictor))
    assert len({mask.tobytes() for mask in masks}) == len(masks)
    for back in (1, 2, len(said), 4, 1):
        for _ in range(back):
            session.undo()
        number = len(said) - back
        np.testing.assert_array_equal(session.mask_kji, masks[number])
        for prompt in said[number:]:
            session.add(prompt)
        np.testing.assert_array_equal(session.mask_kji, masks[-1])
        np.testing.assert_array_equal(channels_of(predictor), channels[-1])
    for _ in range(3):
        session.undo()
    for _ in range(3):
        session.redo()
    session.add(Point(ijk(session.image.grid, 12, 12, 12)))
    straight = a_session
    for prompt in (*said, Point(ijk(session.image.grid, 12, 12, 12))):
        straight.add(prompt)
    np.testing.assert_array_equal(session.mask_kji, straight.mask_kji)


def test_going_back_predicts_nothing_again(a_predictor):
    predictor, network = a_predictor()
    session = Session(noise(), predictor)
    said = conversation(session.image.grid)
    for prompt in said:
        session.add(prompt)
    for _ in range(4):
        session.undo()
    network.inputs.clear()
    session.add(said[3])
    assert len(network.inputs) == 1
    assert "replay" in session.prediction.timings_ms
    session.add(said[4])
    assert "replay" not in session.prediction.timings_ms


def test_targets_take_turns_without_a_trace_of_each_other(a_predictor):
    session = Session(noise(), a_predictor()[0])
    grid = session.image.grid
    first, second = conversation(grid)[:4], [Point(ijk(grid, 34, 28, 20)), Point(ijk(grid, 30, 28, 20), False)]
    one, other = session.target, session.add_target("other")
    for a, b in itertools.zip_longest(first, second):
        for target, prompt in ((one, a), (other, b)):
            if prompt is not None:
                session.select(target)
                session.add(prompt)
    for target, said in ((one, first), (other, second)):
        alone = Session(noise(), a_predictor()[0])
        for prompt in said:
            alone.add(prompt)
        np.testing.assert_array_equal(session.mask(target), alone.mask_kji)
        assert alone.mask_kji.any()


def test_only_the_box_that_changed_comes_back(a_session):
    a_session.add(Point(ijk(a_session.image.grid, 20, 18, 14)))
    before = a_session.mask_kji
    a_session.add(Point(ijk(a_session.image.grid, 27, 18, 14)))
    assert a_session.prediction.extent == Extent.of_mask(a_session.mask_kji != before)


def test_the_network_is_shown_the_mask_as_it_was_edited(a_predictor):
    predictor, network = a_predictor()
    session = Session(noise(), predictor)
    session.add(Point(ijk(session.image.grid, 20, 18, 14)))
    edited = session.mask_kji
    edited[:, :, 20:] = False
    edited[2:4, 2:4, 2:4] = True
    session.set_mask(edited)
    session.add(Point(ijk(session.image.grid, 16, 18, 14)))
    assert network.inputs[-1][0, 1].sum() == edited.sum()
    assert network.inputs[-1][0, 4].sum() > network.inputs[0][0, 4].sum()


class ClippingStore(MemoryMaskStore):
    """Keeps what is written out of the upper half, as a scene's masking would."""

    def write(self, key, patch):
        clipped = patch.mask_kji.copy()
        clipped[max(0, 15 - patch.extent.start_kji[0]) :] = False
        return super().write(key, type(patch)(patch.extent, clipped))


def test_what_was_not_written_down_is_not_taken_for_the_mask(a_predictor):
    predictor, network = a_predictor()
    session = Session(noise(), predictor, store=ClippingStore(SHAPE))
    session.add(Point(ijk(session.image.grid, 20, 18, 14)))
    assert session.mask_kji.any()
    session.add(Point(ijk(session.image.grid, 22, 18, 14)))
    assert network.inputs[-1][0, 1].sum() == BitMask(SHAPE).count() + _first_mask_below(network, 15)


def _first_mask_below(network, k):
    """Return how many voxels below slice `k` the first input made the network answer with."""
    logits = type(network).forward(network, network.inputs[0])
    network.inputs.pop()
    start = 32 - 14  # the window of 64 voxels is centred on the click
    return int((logits[0].argmax(0)[start : start + k]).sum())


def test_an_initial_mask_begins_anew_and_can_be_looked_over(a_predictor):
    predictor, network = a_predictor()
    session = Session(noise(), predictor)
    grid = session.image.grid
    session.add(Point(ijk(grid, 20, 18, 14)))
    ball = np.linalg.norm(np.indices(SHAPE) - np.reshape((14, 18, 30), (3, 1, 1, 1)), axis=0) < 7
    session.add(MaskPrompt(ball, grid.ijk_to_ras))
    np.testing.assert_array_equal(session.mask_kji, ball)
    session.add(Point(ijk(grid, 33, 18, 14), positive=False))
    assert network.inputs[-1][0, 1].sum() == ball.sum()
    assert network.inputs[-1][0, 4].sum() == 0
    alone = Session(noise(), a_predictor()[0])
    alone.add(MaskPrompt(ball, grid.ijk_to_ras))
    alone.predict()
    assert alone.mask_kji.any()


def test_prompts_are_answered_together_where_one_window_holds_them_and_one_by_one_where_not(a_predictor):
    predictor, network = a_predictor()
    session = Session(noise((20, 20, 220)), predictor, auto=False)
    grid = session.image.grid
    for i in (20, 30, 100, 190):
        session.add(Point(ijk(grid, i, 10, 10)))
    session.predict()
    assert [int((seen[0, 4] == seen[0, 4].max()).any()) for seen in network.inputs] == [1, 1, 1]
    assert all(session.mask_kji[10, 10, i] for i in (20, 30, 100, 190))
    session.auto = True
    session.remove(session.prompts()[1])
    assert [bool(session.mask_kji[10, 10, i]) for i in (20, 100, 190)] == [True] * 3


# What goes wrong, and what does not


def test_prompts_that_mean_nothing_are_refused_and_the_next_one_is_answered(a_session):
    grid = a_session.image.grid
    a_session.add(Point(ijk(grid, 20, 18, 14)))
    before, said = a_session.mask_kji, a_session.prompts()
    with pytest.raises(PromptError, match="inside the image"):
        a_session.add(Point((500, 0, 0)))
    with pytest.raises(PromptError, match="expected a box that holds the centre of a voxel"):
        a_session.add(Box(ijk(grid, 20.5, 18.5, 14.5), (0.2, 0.2, 0.2)))
    assert a_session.prompts() == said
    np.testing.assert_array_equal(a_session.mask_kji, before)
    a_session.add(Point(ijk(grid, 24, 18, 14)))
    assert a_session.mask_kji.sum() > before.sum()


class Stumbling(torch.nn.Module):
    """Wraps a network: raises `errors` first, one at each call."""

    def __init__(self, network, *errors):
        super().__init__()
        self.network = network
        self.errors = list(errors)

    def forward(self, x):
        if self.errors:
            raise self.errors.pop(0)
        return self.network(x)


def test_after_a_failure_the_next_prompt_is_answered_as_if_nothing_had_been(a_predictor, a_session):
    predictor, network = a_predictor()
    session = Session(noise(), predictor)
    said = conversation(session.image.grid)
    for prompt in said[:3]:
        session.add(prompt)
    predictor._local.session.network = Stumbling(network, ValueError("no luck"))
    with pytest.raises(PredictionError, match="no luck"):
        session.add(Point(ijk(session.image.grid, 5, 5, 5)))
    for prompt in said[3:]:
        session.add(prompt)
    for prompt in said:
        a_session.add(prompt)
    np.testing.assert_array_equal(session.mask_kji, a_session.mask_kji)


def test_a_gpu_whose_memory_runs_out_hands_over_to_the_cpu_and_says_so(a_predictor, a_session):
    predictor, network = a_predictor()
    session = Session(noise(), predictor)
    said = conversation(session.image.grid)
    session.add(said[0])
    predictor._local.device = torch.device("cuda")
    predictor._local.session.network = Stumbling(network, torch.OutOfMemoryError("CUDA out of memory"))
    session.add(said[1])
    assert session.prediction.note == OUT_OF_MEMORY_NOTE
    assert session.prediction.device == "cpu"
    for prompt in said[:2]:
        a_session.add(prompt)
    np.testing.assert_array_equal(session.mask_kji, a_session.mask_kji)


class Slow(torch.nn.Module):
    """Wraps a network: tells that it is at work, and goes on to the next layer when it may."""

    def __init__(self, network, stop):
        super().__init__()
        self.at_work, self.may_go_on = threading.Event(), threading.Event()
        self.last = torch.nn.Sequential(network)
        self.last.register_forward_pre_hook(stop)
        self.finished = 0

    def forward(self, x):
        self.at_work.set()
        assert self.may_go_on.wait(20)
        answer = self.last(x)
        self.finished += 1
        return answer


def test_a_second_click_stops_the_first_within_the_network_and_both_are_answered(a_predictor, a_session):
    predictor, network = a_predictor()
    session = Session(noise(), predictor, executor=ThreadExecutor())
    grid = session.image.grid
    session.add(Point(ijk(grid, 20, 18, 14)))
    assert session.wait(60)
    slow = predictor._local.session.network = Slow(network, predictor._local.stop)
    session.add(Point(ijk(grid, 30, 24, 20)))
    assert slow.at_work.wait(20)
    session.add(Point(ijk(grid, 22, 18, 14), positive=False))
    slow.may_go_on.set()
    assert session.wait(60)
    assert slow.finished == 1
    assert len(session.prompts()) == 3
    seen = network.inputs[-1][0]
    assert [float(seen[c].max()) for c in (4, 5)] == [pytest.approx(0.9, abs=1e-3), 1]
    assert int((seen[4] != 0).sum()) == 2 * int((seen[5] != 0).sum())
    session.close()


def test_a_changed_image_is_seen_and_the_prompts_hold(a_predictor):
    predictor, network = a_predictor()
    session = Session(noise(), predictor)
    session.add(Point(ijk(session.image.grid, 20, 18, 14)))
    session.image_changed(Volume(noise(seed=1)))
    session.add(Point(ijk(session.image.grid, 26, 18, 14)))
    assert not torch.equal(network.inputs[0][0, 0], network.inputs[-1][0, 0])
    assert int((network.inputs[-1][0, 4] != 0).sum()) > int((network.inputs[0][0, 4] != 0).sum())


def test_images_may_follow_each_other_at_once(a_predictor):
    predictor, _ = a_predictor()
    session = Session(noise(), predictor, executor=ThreadExecutor())
    for seed in range(3):
        predictor.encode(as_image(Volume(noise(seed=seed))), CancelToken(), no_progress)
    session.add(Point(ijk(session.image.grid, 20, 18, 14)))
    assert session.wait(100)
    assert session.mask_kji.any()
    session.close()


def test_one_predictor_serves_two_sessions_in_turn(a_predictor, a_session):
    predictor, _ = a_predictor()
    sessions = [Session(noise(), predictor), Session(noise((30, 30, 30), seed=2), predictor)]
    for prompt in conversation(sessions[0].image.grid)[:4]:
        for session in sessions:
            session.add(prompt)
        a_session.add(prompt)
    np.testing.assert_array_equal(sessions[0].mask_kji, a_session.mask_kji)
    assert sessions[1].mask_kji.any()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(SHAPE, np.int16), "whose voxels differ, got 0"),
        (np.pad(np.full((8, 8, 8), 7, np.int16), 4), "whose voxels differ, got 7"),
        (np.full(SHAPE, np.nan, np.float32), "at least one finite voxel"),
        (np.zeros((*SHAPE, 3), np.uint8), "one value in each voxel"),
    ],
)
def test_an_image_in_which_nothing_can_be_seen_is_refused(array, message, a_predictor):
    session = Session(array, a_predictor()[0])
    with pytest.raises(VolumeError, match=message):
        session.add(Point((5, 5, 5)))


@pytest.mark.parametrize("dtype", [">i2", "uint16", "float64", "bool"])
def test_every_type_of_voxel_is_taken_and_the_image_is_left_alone(dtype, a_predictor):
    array = (noise() * 10 + 50).astype(dtype) if dtype != "bool" else noise() > 0
    array.setflags(write=False)
    session = Session(array, a_predictor()[0])
    session.add(Point(ijk(session.image.grid, 20, 18, 14)))
    assert session.mask_kji.any()


def test_voxels_that_are_no_numbers_are_seen_as_the_lowest(a_predictor):
    predictor, network = a_predictor()
    array = noise()
    array[14, 18, 22] = np.nan
    session = Session(array, predictor)
    session.add(Point(ijk(session.image.grid, 20, 18, 14)))
    assert torch.isfinite(network.inputs[0]).all()


# Terms


def test_terms_are_those_of_the_weights_catalogue():
    checkpoint = load_catalogue()["nninteractive"]
    capabilities = capabilities_of("nninteractive")
    assert checkpoint.consent
    assert capabilities.weights == ("nninteractive",)
    assert capabilities.weights_license == checkpoint.weights_license == "CC BY-NC-SA 4.0"
    assert capabilities.code_license == checkpoint.code_license
    assert capabilities.citation == checkpoint.citation


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    with pytest.raises(WeightsError, match=r"are not here\.[\s\S]*promptseg weights import"):
        create_predictor("nninteractive")


def test_nothing_is_printed(tmp_path, capsys):
    predictor = NnInteractive(save_model(tmp_path / "model"), device="cpu", network=closed_form_predictor(tmp_path)[1])
    session = Session(noise(), predictor)
    session.add(Point(ijk(session.image.grid, 20, 18, 14)))
    assert capsys.readouterr() == ("", "")
