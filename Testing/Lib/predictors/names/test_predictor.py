"""Structures by their names: STU-Net, UniSeg and autoPET, from the image to the masks."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import BallPredictor
from key_made_weights import shapes_and_aliases
from recording import RecordingObserver
from references import KEPT_HERE
from scipy import ndimage
from tiny_class_networks import BrightIs, TinyAutoPet, TinyStuNet, TinyUniSeg, biased_to, key_made_network

from PromptSegLib.errors import PromptError, VolumeError, WeightsError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.geometry import affine_from_parts
from PromptSegLib.predictors.autopet.predictor import AutoPet2022
from PromptSegLib.predictors.names import model as class_model
from PromptSegLib.predictors.registry import capabilities_of, create_predictor
from PromptSegLib.predictors.stu_net.predictor import PLAN, TOTALSEGMENTATOR_NAMES, StuNetB, StuNetH, StuNetL, StuNetS
from PromptSegLib.predictors.uniseg.predictor import UniSegPredictor
from PromptSegLib.predictors.uniseg.tasks import TASKS
from PromptSegLib.prompts import Box, ClassPrompt, Point
from PromptSegLib.session.session import Session
from PromptSegLib.structures.names import find_structure
from PromptSegLib.volume import Volume
from PromptSegLib.weights.catalogue import load_catalogue
from PromptSegLib.weights.store import WeightsStore

NAMES = ("stu-net-s", "stu-net-b", "stu-net-l", "stu-net-h", "uniseg", "autopet-2022")
LIVER = 1 + PLAN.classes.index("liver")
CUBIC = np.diag([1.5, 1.5, 1.5, 1.0])


def noise(shape=(12, 13, 14), seed=0):
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def channels(*names, affine=CUBIC):
    return {name: Volume(noise(seed=n), affine) for n, name in enumerate(names)}


def blocks(shape=(22, 30, 26)):
    """Two bright blocks on dark ground, one larger."""
    values = np.ones(shape, np.float32)
    values[3:9, 4:14, 5:15] = 200
    values[14:19, 16:26, 12:22] = 200
    return values


def bright(**options):
    return TinyStuNet(BrightIs(LIVER, 105), device="cpu", **options)


# What the outputs mean


def test_the_order_of_stu_nets_classes_is_the_official_one():
    assert len(TOTALSEGMENTATOR_NAMES) == len(set(PLAN.classes)) == 104
    officially = {1: "adrenal_gland_left", 22: "heart_atrium_left", 40: "liver", 50: "rib_left_10", 53: "rib_left_2"}
    officially |= {43: "lung_middle_lobe_right", 77: "spleen", 80: "urinary_bladder", 94: "vertebrae_T10"}
    officially |= {104: "vertebrae_T9"}
    assert {number: TOTALSEGMENTATOR_NAMES[number - 1] for number in officially} == officially


def test_every_class_of_every_model_is_in_the_table_under_its_own_name():
    for name in NAMES:
        for one in capabilities_of(name).classes:
            assert find_structure(one).name == one


@pytest.mark.parametrize("number", range(1, 105))
def test_a_name_gives_its_channel_of_stu_net(number):
    network = biased_to(key_made_network(TinyStuNet), number)
    session = Session(Volume(noise((9, 10, 11)), CUBIC), TinyStuNet(network, device="cpu"))
    other = TOTALSEGMENTATOR_NAMES[number % 104]
    asked, beside = session.add_classes([TOTALSEGMENTATOR_NAMES[number - 1], other])
    assert session.mask(asked).all()
    assert not session.mask(beside).any()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_name_gives_its_channel_of_unisegs_task(task):
    image = channels(*task.channels, affine=np.diag([*task.spacing_kji_mm[::-1], 1.0]))
    for channel, name in enumerate(task.classes, start=1):
        network = biased_to(key_made_network(TinyUniSeg), channel)
        seen = []
        network.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(given))
        session = Session(image, TinyUniSeg(network, device="cpu"))
        keys = dict(zip(task.classes, session.add_classes(task.classes), strict=True))
        assert {one for one, key in keys.items() if session.mask(key).all()} == {name}
        assert {one for one, key in keys.items() if not session.mask(key).any()} == set(task.classes) - {name}
        assert {given[1] for given in seen} == {TASKS.index(task)}
        assert seen[0][0].shape[1] == len(task.channels)


@pytest.mark.parametrize("channel", [0, 1])
def test_a_name_gives_its_channel_of_autopet(channel):
    network = biased_to(key_made_network(TinyAutoPet), channel)
    session = Session(channels("ct", "pet"), TinyAutoPet(network, device="cpu"))
    [key] = session.add_classes(["tumour"])
    assert key == "whole-body tumour"
    assert session.mask(key).all() == session.mask(key).any() == (channel == 1)


def test_outputs_beyond_a_tasks_classes_mean_nothing():
    network = biased_to(key_made_network(TinyUniSeg), 3)
    session = Session(Volume(noise(), np.diag([1.5, 1.5, 3.0, 1.0])), TinyUniSeg(network, device="cpu"))
    [key] = session.add_classes(["spleen"])
    assert not session.mask(key).any()


def test_structures_of_several_tasks_take_a_run_each():
    network = biased_to(key_made_network(TinyUniSeg), 1)
    session = Session(Volume(noise(), np.diag([1.5, 1.5, 3.0, 1.0])), TinyUniSeg(network, device="cpu"))
    keys = session.add_classes(["spleen", "pancreas", "liver tumour"])
    assert [bool(session.mask(key).all()) for key in keys] == [True, True, False]


def test_the_channels_reach_uniseg_and_autopet_in_their_order_and_normalised():
    seen = {}
    for kind, classes in ((TinyUniSeg, 4), (TinyAutoPet, 2)):
        network = BrightIs(1, classes)
        Session(channels("pet", "ct"), kind(network, device="cpu")).add_classes(["whole-body tumour"])
        seen[kind] = network.seen[0][0, :, 4:-4, 4:-4, 4:-4]
    ct, pet = seen[TinyUniSeg]
    assert 0 <= ct.min() < ct.max() <= 1
    assert pet.min() < -1 < 1 < pet.max()
    pet, ct = seen[TinyAutoPet]
    assert pet.min() < -1 < 1 < pet.max()
    assert ct.mean() == pytest.approx((100 - 107.73) / 286.34, abs=0.05)


# Where they are


ORIENTATIONS = {
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "PIR": np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]),
    "oblique": np.linalg.qr(np.eye(3) + 0.2 * np.random.default_rng(1).normal(size=(3, 3)))[0],
}


@pytest.mark.parametrize("directions", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_structures_are_found_where_they_lie_however_the_image_is_oriented(directions):
    values = blocks()
    image = Volume(values, affine_from_parts((1.5, 1.5, 1.5), directions, (-7.0, 20.0, 3.0)))
    session = Session(image, bright())
    [liver] = session.add_classes(["liver"])
    np.testing.assert_array_equal(session.mask(liver), values > 100)


class RightHalf(torch.nn.Module):
    """Says liver where the last array axis is in the upper half of the tile."""

    def forward(self, tile):
        logits = tile.new_zeros((1, 105, *tile.shape[2:]))
        logits[:, LIVER, ..., tile.shape[-1] // 2 :] = 20
        return logits


@pytest.mark.parametrize("directions", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_the_network_sees_the_patient_from_left_to_right_however_the_image_is_oriented(directions):
    image = Volume(noise((16, 16, 16)), affine_from_parts((1.5, 1.5, 1.5), directions, (0.0, 0.0, 0.0)))
    session = Session(image, TinyStuNet(RightHalf(), device="cpu"))
    [liver] = session.add_classes(["liver"])
    index = np.stack(np.indices((16, 16, 16))[::-1], axis=-1).reshape(-1, 3)
    right_mm = image.grid.to_ras(index)[:, 0].reshape(16, 16, 16)
    mask = session.mask(liver)
    assert mask.mean() == 0.5
    assert right_mm[mask].mean() > right_mm[~mask].mean() + 8


def test_anisotropic_images_give_masks_on_their_own_grid():
    values = np.ones((10, 40, 36), np.float32)
    values[3:7, 10:30, 8:28] = 200
    session = Session(Volume(values, np.diag([0.9, 0.8, 4.0, 1.0])), bright())
    [liver] = session.add_classes(["liver"])
    mask, truth = session.mask(liver), values > 100
    # What is above the mean begins a little outside of a block that is mostly below it.
    assert not (truth & ~mask).any()
    assert not (mask & ~ndimage.binary_dilation(truth, np.ones((1, 3, 3)))).any()


def test_zeros_around_the_image_are_cropped_and_stay_empty():
    values = np.pad(blocks(), 6)
    network = BrightIs(LIVER, 105)
    session = Session(Volume(values, CUBIC), TinyStuNet(network, device="cpu"))
    [liver] = session.add_classes(["liver"])
    np.testing.assert_array_equal(session.mask(liver), values > 100)
    alone = BrightIs(LIVER, 105)
    Session(Volume(blocks(), CUBIC), TinyStuNet(alone, device="cpu")).add_classes(["liver"])
    assert len(network.seen) == len(alone.seen)
    torch.testing.assert_close(network.seen[0], alone.seen[0])


def test_a_click_takes_the_part_under_it_and_moves_no_tile():
    values = blocks()
    network = BrightIs(LIVER, 105)
    session = Session(Volume(values, CUBIC), TinyStuNet(network, device="cpu"))
    [liver] = session.add_classes(["liver"])
    tiles = len(network.seen)
    click = Point(session.image.grid.to_ras((17, 20, 16)))
    session.add(click)
    expected = values > 100
    expected[:12] = False
    np.testing.assert_array_equal(session.mask(liver), expected)
    session.remove(click)
    np.testing.assert_array_equal(session.mask(liver), values > 100)
    assert len(network.seen) == tiles


def test_a_box_is_answered_by_the_tiles_that_see_it():
    values = blocks((30, 50, 50))
    network = BrightIs(LIVER, 105)
    session = Session(Volume(values, CUBIC), TinyStuNet(network, device="cpu"))
    box = Box.from_indices(session.image.grid, (4, 3, 2), (16, 15, 7))
    session.add_classes(["liver"], where=box)
    expected = values > 100
    expected[8:] = False
    np.testing.assert_array_equal(session.mask("liver"), expected)
    inside = len(network.seen)
    session.add_classes(["liver"])
    np.testing.assert_array_equal(session.mask("liver"), values > 100)
    assert inside < (len(network.seen) - inside) / 2


def test_what_was_not_found_is_said():
    session = Session(Volume(blocks(), CUBIC), bright())
    session.add_classes(["spleen"])
    assert session.prediction.note == "no spleen was found"
    session.add_classes(["liver"], where=Point(session.image.grid.to_ras((0, 0, 0))))
    assert session.prediction.note == "no liver was found under the click"


def test_an_image_smaller_than_the_tile_is_answered():
    values = np.ones((5, 6, 7), np.float32)
    values[1:4, 2:5, 2:5] = 200
    session = Session(Volume(values, CUBIC), bright())
    session.add_classes(["liver"])
    np.testing.assert_array_equal(session.mask("liver"), values > 100)


def test_voxels_that_are_no_numbers_harm_no_others():
    values = blocks()
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    session = Session(Volume(values, CUBIC), bright())
    session.add_classes(["liver"])
    np.testing.assert_array_equal(session.mask("liver"), blocks() > 100)


def test_mirroring_takes_the_mean_of_eight_views():
    networks = BrightIs(LIVER, 105), BrightIs(LIVER, 105)
    for network, mirror in zip(networks, (False, True), strict=True):
        session = Session(Volume(noise(), CUBIC), TinyStuNet(network, device="cpu", mirror=mirror))
        session.add_classes(["liver"])
    assert len(networks[1].seen) == 8 * len(networks[0].seen)


@pytest.mark.parametrize("kept_bytes", [class_model.KEPT_BYTES, 0])
def test_a_class_asked_alone_is_the_one_among_all_but_for_a_few_voxels_at_seams(kept_bytes, monkeypatch):
    monkeypatch.setattr(class_model, "KEPT_BYTES", kept_bytes)
    network = key_made_network(TinyStuNet)
    session = Session(Volume(noise((24, 28, 22)), CUBIC), TinyStuNet(network, device="cpu"))
    session.add_classes(PLAN.classes)
    largest = max(session.targets, key=lambda key: session.mask(key).sum())
    among_all = session.mask(largest)
    assert 0.01 < among_all.mean() < 0.9
    alone = Session(session.image, TinyStuNet(network, device="cpu"))
    alone.add_classes([largest])
    found = alone.mask(largest)
    assert not (found & ~among_all).any()
    # Of such weights the outputs differ by little, so that others are the strongest in every tile.
    assert found.sum() > 0.9 * among_all.sum()
    assert (found == among_all).all() or not kept_bytes


# In a session


def test_progress_is_told_and_a_run_can_be_cancelled():
    gate, seen = threading.Event(), []

    class Slow(BrightIs):
        def forward(self, tile, task=0):
            seen.append(tile)
            gate.wait(5.0)
            return super().forward(tile)

    executor, observer = ThreadExecutor(), RecordingObserver()
    session = Session(
        Volume(blocks((40, 40, 40)), CUBIC),
        TinyStuNet(Slow(LIVER, 105), device="cpu"),
        executor=executor,
        observer=observer,
    )
    session.add_classes(["liver", "spleen"])
    for _ in range(500):
        if seen:
            break
        session.poll(0.01)
    session.cancel()
    gate.set()
    assert session.wait(5.0)
    executor.close()
    assert len(seen) == 1
    assert not session.mask("liver").any()


def test_a_click_model_refines_what_the_name_found():
    session = Session(Volume(blocks(), CUBIC), bright())
    session.add_classes(["liver", "spleen"])
    named = session.mask("liver")
    session.use(BallPredictor())
    session.select("liver")
    session.add(Point(session.image.grid.to_ras((2, 2, 2))))
    assert (session.mask("liver") != named).any()
    session.undo()
    np.testing.assert_array_equal(session.mask("liver"), named)


@pytest.mark.parametrize("prompt", [Point((15.0, 15.0, 9.0)), Box((15.0, 15.0, 9.0), (9.0, 9.0, 9.0))])
def test_a_place_without_a_name_is_refused(prompt):
    session = Session(Volume(blocks(), CUBIC), bright())
    with pytest.raises(PromptError, match="the name of a structure for segment, got none: 'stu-net-b' needs one"):
        session.add(prompt)
    assert session.prompts() == ()


def test_an_unknown_class_is_refused_with_the_nearest():
    session = Session(Volume(blocks(), CUBIC), bright())
    with pytest.raises(PromptError, match="got 'kidney'; did you mean left kidney, right kidney"):
        session.add(ClassPrompt("kidney"))
    with pytest.raises(PromptError, match=r"got 'livr'; did you mean liver\?"):
        session.add_classes(["livr"])


def test_missing_channels_are_refused_with_the_names_and_nothing_is_changed():
    session = Session(channels("ct"), TinyUniSeg(key_made_network(TinyUniSeg), device="cpu"))
    with pytest.raises(
        VolumeError, match=r"expected the channels ct, pet for 'uniseg' to find whole-body tumour, got ct: pet missing"
    ):
        session.add_classes(["whole-body tumour"])
    with pytest.raises(VolumeError, match=r"t1, t1ce, t2, flair .* got ct"):
        session.add_classes(["brain edema"])
    assert session.targets == ("segment",)
    with pytest.raises(VolumeError, match=r"ct, pet for 'autopet-2022', got ct: pet missing"):
        session.use(TinyAutoPet(key_made_network(TinyAutoPet), device="cpu"))


def test_one_of_several_images_is_taken_by_its_name_alone():
    session = Session(channels("a", "b"), bright())
    with pytest.raises(VolumeError, match=r"expected the channels ct .* got a, b: ct missing"):
        session.add_classes(["liver"])


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (Volume(noise((1, 20, 20)), CUBIC), "a 3D image for 'stu-net-b'"),
        (Volume(np.zeros((8, 8, 8, 3), np.uint8), CUBIC), "grey values for 'stu-net-b'"),
    ],
)
def test_images_of_another_kind_are_refused(volume, message):
    with pytest.raises(VolumeError, match=message):
        Session(volume, bright()).add_classes(["liver"])


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights_say_how_to_get_them(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=name):
        create_predictor(name)


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_those_of_the_weights_catalogue(name):
    capabilities, checkpoint = capabilities_of(name), load_catalogue()[name]
    assert capabilities.weights == (name,)
    assert capabilities.weights_license == checkpoint.weights_license
    assert capabilities.code_license == checkpoint.code_license
    assert capabilities.experimental == (name == "autopet-2022")
    assert set(capabilities.channels) == ({"ct", "pet"} if name == "autopet-2022" else set())


OFFICIAL_KEYS = {
    StuNetS: "stu_net_small",
    StuNetB: "stu_net_base",
    StuNetL: "stu_net_large",
    StuNetH: "stu_net_huge",
    UniSegPredictor: "uniseg_full",
}


@pytest.mark.parametrize("kind", OFFICIAL_KEYS)
def test_checkpoints_of_the_published_sizes_are_read_strictly_and_take_no_memory_twice(kind):
    shapes, _ = shapes_and_aliases(KEPT_HERE / f"{OFFICIAL_KEYS[kind]}_keys.json")
    official = {key: torch.empty(shape, device="meta") for key, (shape, _) in shapes.items()}

    class Store(WeightsStore):
        def status(self, name):
            return replace(super().status(name), state="ready")

        def state_dict(self, name, *others):
            assert name == kind.capabilities.name
            return official

    network = kind(weights=Store()).published()
    assert all(parameter is not None and parameter.is_meta for parameter in network.parameters())
    missing = next(iter(official))
    del official[missing]
    with pytest.raises(WeightsError, match=f"1 missing: {missing}"):
        kind(weights=Store()).published()


@pytest.mark.parametrize("kind", [UniSegPredictor, AutoPet2022])
def test_the_published_tiles_suit_the_networks(kind):
    with torch.device("meta"):
        network = kind.build(None)
        for plan in kind.plans:
            image = torch.empty(1, len(plan.channels), *plan.tile)
            logits = kind.logits(None, plan, network, image)
            assert logits.shape[1] >= 1 + len(plan.classes)
            assert logits.shape[2:] == plan.tile
