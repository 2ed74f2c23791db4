"""SAM-Med3D answers clicks in a volume as its official implementation does, within a session."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from key_made_weights import state_dict_from_keys
from recording import RecordingObserver
from references import ELSEWHERE, FOLDERS, needs_all_references
from sam_med3d_script import prepare_region, region_about, region_to_image, resample_isotropic
from tiny_networks import (
    TinySamMed3D,
    TinySamMed3DCvpr,
    save_tiny_med3d,
    tiny_med3d,
)
from volume_references import VolumeReference

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, VolumeError, WeightsError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.geometry import flip_axes
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.registry import capabilities_of, create_predictor
from PromptSegLib.predictors.sam_med3d import model as sam_med3d_model
from PromptSegLib.predictors.sam_med3d.model import SamMed3DModel
from PromptSegLib.predictors.sam_med3d.network import SAMMed3D
from PromptSegLib.predictors.sam_med3d.predictor import SamMed3D, SamMed3DCvpr
from PromptSegLib.predictors.torch_device import OUT_OF_MEMORY_NOTE
from PromptSegLib.prompts import Box, Point, Scribble
from PromptSegLib.session.session import Session
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume
from PromptSegLib.weights.catalogue import load_catalogue
from PromptSegLib.weights.store import WeightsStore

NAMES = ("sam-med3d", "sam-med3d-cvpr")


def noisy_volume(dtype=np.int16, spacing=(1.5, 1.5, 1.5), shape_kji=(60, 70, 80)):
    rng = np.random.default_rng(3)
    array = rng.normal(100, 200, shape_kji)
    array[20:40, 20:45, 30:60] += 400
    return Volume(array.astype(dtype), np.diag([*spacing, 1.0]))


def point(volume, ijk, positive=True):
    return Point(tuple(volume.grid.to_ras(ijk)), positive)


def small(**changes):
    return SamMed3D(tiny_med3d(), device="cpu", **changes)


def tiles(session):
    return session.prediction.feedback.tiles


@pytest.fixture
def counted():
    """A predictor of one window, and a list that gets longer with each window it encodes."""
    network, encoded = tiny_med3d(), []
    tokens = network.image_encoder.tokens
    network.image_encoder.tokens = lambda image: encoded.append(image) or tokens(image)
    return SamMed3D(network, device="cpu", most_grown=0), encoded


# As the official implementation


class TimedToken(CancelToken):
    """Notes the time of this process at each check."""

    def __init__(self):
        super().__init__()
        self.times_s = []

    def check(self):
        self.times_s.append(time.process_time())
        super().check()


def assert_model_meets(model, reference, prefix, name, monkeypatch, token=None):
    """Ask for one click, then for all with the first answer to refine."""
    monkeypatch.setattr(sam_med3d_model, "standardise", lambda window: window)  # the arrays' inputs are not
    window = reference.input(f"{prefix}input_i8")[0, 0].numpy()
    embedding = model.embed(window, token or CancelToken())
    reference.assert_met(f"{prefix}embedding", embedding)
    case = f"{prefix}{name}"
    points, labels = reference[f"{case}_points"][0], reference[f"{case}_labels"][0].tolist()
    first, score = model.answer(embedding, points[:1], labels[:1], None)
    reference.assert_met(f"{case}_click1_lowres", first[None, None])
    assert score == pytest.approx(float(np.clip(reference[f"{case}_click1_iou"], 0, 1).item()), abs=1e-4)
    second, _ = model.answer(embedding, points, labels, first)
    reference.assert_met(f"{case}_click2_lowres", second[None, None])
    fine = model.fine_probabilities(np.pad(second, 1, mode="edge"))
    reference.assert_met(f"{case}_click2_hr", np.log(fine / (1 - fine))[None, None], tolerance=1e-3)
    logits = torch.from_numpy(fine) - 0.5
    reference.assert_mask_met(f"{case}_click2_mask_packed", logits)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", ["two", "three"])
def test_a_window_is_answered_as_by_the_official_network(folder, name, monkeypatch):
    assert_model_meets(
        SamMed3DModel(tiny_med3d(), device="cpu"), VolumeReference(folder, "sam_med3d_tiny"), "t64_", name, monkeypatch
    )


@needs_all_references
def test_a_window_of_the_published_size_is_answered_as_by_the_official_network(monkeypatch):
    with torch.device("meta"):
        network = SAMMed3D()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "sam_med3d_vit_b_ori_keys.json"), assign=True)
    reference = VolumeReference(ELSEWHERE, "sam_med3d_full")
    token = TimedToken()
    assert_model_meets(SamMed3DModel(network, device="cpu"), reference, "", "two", monkeypatch, token)
    assert max(np.diff(token.times_s)) < 0.5  # so soon it stops, on one core, when it is cancelled


def official_answer(volume, click_ijk):
    """Return what the official steps give over the whole volume: resample, crop, ask by one click, and back.

    Logits; the mask of each voxel by the nearest one of the window, as they do it, and by linear interpolation.
    """
    network = tiny_med3d()
    isotropic, grid = resample_isotropic(volume.array, volume.grid)
    canonical = AlignedSampling.in_ras_order(grid).grid
    voxel = flip_axes(canonical.nearest_kji(volume.grid.to_ras(click_ijk)))
    region = region_about(grid, voxel, voxel + 1, network.image_size)
    with torch.inference_mode():
        embedding = network.encode(torch.from_numpy(prepare_region(isotropic, region))[None, None])
        clicks = torch.full((1, 1, 3), network.image_size / 2)
        logits, _ = network.predict(embedding, clicks, torch.tensor([[1]]), network.empty_mask())
        probabilities = network.upscaled(logits)[0, 0].sigmoid().numpy()
    mask = (probabilities > 0.5).astype(np.uint8)
    nearest = region_to_image(mask, region.grid, volume.grid) > 0
    linear = region_to_image(probabilities, region.grid, volume.grid, labels=False) > 0.5
    return logits[0, 0].numpy(), nearest, linear


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (0.7, 0.7, 2.0), (1.1, 0.9, 3.0)])
def test_a_click_in_a_volume_is_answered_as_by_the_official_script(dtype, spacing):
    volume, click = noisy_volume(dtype, spacing), (40, 33, 30)
    logits, nearest, linear = official_answer(volume, click)
    session = Session(volume, small(most_grown=0))
    session.add(point(volume, click))
    [tile] = tiles(session)
    np.testing.assert_allclose(tile.logits, logits, atol=1e-4)
    if spacing == (1.5, 1.5, 1.5):
        np.testing.assert_array_equal(session.mask_kji, nearest)
    assert (session.mask_kji ^ linear).sum() < 1e-4 * linear.sum()
    assert linear.any()


def test_the_challenge_s_network_is_shown_bytes_in_the_order_of_their_files():
    volume = noisy_volume()
    network, seen = tiny_med3d(), []
    tokens = network.image_encoder.tokens
    network.image_encoder.tokens = lambda image: seen.append(image) or tokens(image)
    session = Session(volume, SamMed3DCvpr(network, device="cpu", most_grown=0), window=Window(-100.0, 500.0))
    session.add(point(volume, (40, 35, 30)))
    shown = np.trunc(255 * np.clip((volume.array.astype(np.float64) + 100) / 600, 0, 1))
    window = shown[:62, 3:67, 8:72]  # of 64 voxels, from 2 below the image on
    window = np.concatenate([np.zeros((2, 64, 64)), window, np.zeros((2, 64, 64))])[:64]
    foreground = window[window > 0]
    expected = (window - foreground.mean()) / foreground.std(ddof=1)
    # The array (k, j, i) of a file in LPS order, of which this one in RAS order is the mirror image in i and j.
    np.testing.assert_allclose(seen[0][0, 0], expected[:, ::-1, ::-1], atol=1e-3)


class Echo(torch.nn.Module):
    """A network that answers with the image that it was shown."""

    image_size = 64

    @property
    def image_encoder(self):
        return self

    def tokens(self, image):
        return image

    def steps(self):
        return iter(())

    def embedding(self, tokens):
        return tokens

    def empty_mask(self):
        return torch.zeros(1, 1, 16, 16, 16)

    def predict(self, embedding, points, labels, mask):
        x, y, z = (int(n) for n in points[0, 0])
        assert embedding[0, 0, x, y, z] == embedding.max()
        return torch.nn.functional.avg_pool3d(embedding, 4), torch.ones(1, 1)


def test_the_challenge_s_network_answers_for_the_voxels_that_it_was_shown():
    array = np.full((40, 50, 60), 10, np.uint8)
    array[20:24, 30:34, 12:16] = 200
    array[22, 31, 13] = 255
    volume = Volume(array, np.diag([1.5, -1.5, 1.5, 1.0]))
    session = Session(volume, SamMed3DCvpr(Echo(), device="cpu", most_grown=0))
    session.add(point(volume, (13, 31, 22)))
    found = np.argwhere(session.mask_kji)
    assert np.abs(found.mean(axis=0) - (21.5, 31.5, 13.5)).max() < 2


def test_black_and_white_come_from_the_image_when_nobody_gave_a_window():
    session = Session(noisy_volume(np.uint8), SamMed3DCvpr(tiny_med3d(), device="cpu", most_grown=0))
    session.add(point(session.image.reference, (40, 35, 30)))
    assert session.mask_kji.any()


# Encode once, prompt often


def test_the_next_click_in_a_window_runs_only_the_decoder(counted):
    predictor, encoded = counted
    volume = noisy_volume()
    session = Session(volume, predictor)
    session.add(point(volume, (40, 33, 30)))
    before = session.mask_kji
    session.add(point(volume, (44, 30, 28), positive=False))
    assert len(encoded) == 1
    assert (session.mask_kji != before).any()
    session.undo()
    np.testing.assert_array_equal(session.mask_kji, before)
    session.add(point(volume, (30, 33, 30)))
    assert len(encoded) == 1


def test_all_clicks_are_given_and_the_last_logits_refined(counted):
    predictor, _ = counted
    volume, asked = noisy_volume(), []
    network = predictor._network
    predict = network.predict
    network.predict = lambda *arguments: asked.append(arguments) or predict(*arguments)
    session = Session(volume, predictor)
    session.add(point(volume, (40, 33, 30)))
    [first] = tiles(session)
    session.add(point(volume, (44, 30, 28), positive=False))
    (_, _, _, nothing), (_, points, labels, logits) = asked
    assert not nothing.any()
    assert points.tolist() == [[[32, 32, 32], [36, 29, 30]]]
    assert labels.tolist() == [[1, 0]]
    np.testing.assert_array_equal(logits[0, 0], first.logits)


def test_a_box_is_a_click_in_its_middle():
    volume, masks = noisy_volume(), []
    for prompt in (Box.from_indices(volume.grid, (30, 20, 20), (50, 46, 40)), point(volume, (40, 33, 30))):
        session = Session(volume, small(most_grown=0))
        session.add(prompt)
        masks.append(session.mask_kji)
    np.testing.assert_array_equal(*masks)
    assert not SamMed3D.capabilities.takes(Box((0, 0, 0), (5, 5, 5), positive=False))


def test_prompts_of_another_model_are_left_out_and_counted():
    volume = noisy_volume()
    session = Session(volume, "classical", auto=False)
    session.add(Scribble(((40.0, 40.0, 40.0), (50.0, 40.0, 40.0))))
    session.add(point(volume, (40, 33, 30)))
    session.use(small(most_grown=0))
    session.predict()
    assert session.prediction.note.endswith("left out, as SAM-Med3D turbo does not take them: 1 prompts")
    assert session.mask_kji.any()


# What is refused


def test_colour_is_refused():
    session = Session(Volume(np.zeros((9, 9, 9, 3), np.uint8)), small(), auto=False)
    session.add(Point((4.0, 4.0, 4.0)))
    with pytest.raises(VolumeError, match="one value a voxel for 'sam-med3d'"):
        session.predict()


def test_a_single_slice_is_refused():
    with pytest.raises(VolumeError, match="expected a 3D image for 'sam-med3d'"):
        Session(Volume(np.zeros((1, 9, 9), np.uint8)), small())


# Cancelling, and what comes meanwhile


def test_encoding_stops_within_half_a_block():
    network, token, done = tiny_med3d(), CancelToken(), []
    for block in network.image_encoder.blocks:
        block.attn.register_forward_hook(lambda *_: done.append(1) or token.cancel())
    model = SamMed3DModel(network, device="cpu")
    with pytest.raises(Cancelled):
        model.embed(np.ones((64, 64, 64), np.float32), token)
    assert len(done) == 1


def test_cancelling_between_windows_keeps_those_that_have_come():
    class Impatient(RecordingObserver):
        def masks_changed(self, boxes):
            super().masks_changed(boxes)
            if len(self.boxes) == 2:
                session.cancel()

    volume = noisy_volume(shape_kji=(90, 150, 150))
    observer = Impatient()
    session = Session(volume, small(), observer=observer)
    session.add(point(volume, (75, 75, 45)))
    assert not session.busy
    assert len(observer.boxes) == 2
    assert session.mask_kji.any()
    assert len(tiles(session)) == 2
    session.add(point(volume, (60, 70, 40)))
    assert session.prompts()[-1] in session.prediction.feedback.prompts
    assert session.undo() == "add point+"
    assert session.undo() == "add point+"
    assert not session.mask_kji.any()


def test_a_second_click_during_a_running_one_is_not_lost():
    volume, gate = noisy_volume(), threading.Event()
    network = tiny_med3d()
    tokens = network.image_encoder.tokens
    reached = threading.Event()

    def slow(image):
        reached.set()
        assert gate.wait(10)
        return tokens(image)

    network.image_encoder.tokens = slow
    clicks = [point(volume, (40, 33, 30)), point(volume, (44, 30, 28), positive=False)]
    session = Session(volume, SamMed3D(network, device="cpu", most_grown=0), executor=ThreadExecutor())
    session.add(clicks[0])
    assert reached.wait(10)
    session.add(clicks[1])
    gate.set()
    assert session.wait(30)
    at_once = Session(volume, small(most_grown=0), auto=False)
    for click in clicks:
        at_once.add(click)
    at_once.predict()
    np.testing.assert_array_equal(session.mask_kji, at_once.mask_kji)
    assert session.mask_kji.any()
    session.close()


# Memory


def test_when_the_gpu_s_memory_runs_out_the_cpu_goes_on_and_says_so():
    network, volume = tiny_med3d(), noisy_volume()
    tokens = network.image_encoder.tokens

    def hungry(image):
        if image.is_meta:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return tokens(image)

    network.image_encoder.tokens = hungry
    predictor = SamMed3D(network, device="cpu", most_grown=0)
    session = Session(volume, predictor)
    place = predictor.loaded()._device
    place.device, place._is_there = torch.device("meta"), True  # a GPU that is not here
    session.add(point(volume, (40, 33, 30)))
    assert OUT_OF_MEMORY_NOTE in session.prediction.note
    assert session.prediction.device == "cpu"
    expected = Session(volume, small(most_grown=0))
    expected.add(point(volume, (40, 33, 30)))
    np.testing.assert_array_equal(session.mask_kji, expected.mask_kji)
    session.add(point(volume, (44, 30, 28), positive=False))
    assert session.undo() == "add point-"
    np.testing.assert_array_equal(session.mask_kji, expected.mask_kji)


LARGE_VOLUME = """
import numpy as np
from tiny_networks import tiny_med3d
from PromptSegLib.evaluation.memory import peak_memory_mib
from PromptSegLib.predictors.sam_med3d.predictor import SamMed3D
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

array = np.empty((600, 512, 512), dtype=np.int16)
array[...] = np.arange(512) % 97
volume = Volume(array, np.diag([-0.7, -0.7, 1.0, 1.0]))
session = Session(np.zeros((9, 9, 9), np.int16), SamMed3D(tiny_med3d(), device="cpu"))
session.add(Point((4.0, 4.0, 4.0)))
before = peak_memory_mib()
session = Session(volume, SamMed3D(tiny_med3d(), device="cpu", most_grown=4))
session.add(Point(tuple(volume.grid.to_ras((250, 260, 300)))))
session.add(Point(tuple(volume.grid.to_ras((240, 250, 310))), positive=False))
print(before, peak_memory_mib(), array.nbytes / 2**20, session.mask_kji.any())
"""


def test_a_large_ct_is_segmented_without_a_copy_of_it():
    path = os.pathsep.join(part for part in sys.path if part)
    ran = subprocess.run(
        [sys.executable, "-c", LARGE_VOLUME], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    *figures, is_found = ran.stdout.split()
    before, peak, volume = map(float, figures)
    assert is_found == "True"
    print(f"512x512x600 int16 of {volume:.0f} MiB: peak resident memory {peak:.0f} MiB, {peak - before:.0f} by clicks")
    # A copy as float32 would take twice the volume.
    assert peak - before < 0.7 * volume


# Weights


CORNERS = {f"prompt_encoder.point_embeddings.{n}.weight": torch.ones(1, 48) for n in (2, 3)}


@pytest.mark.parametrize(("kind", "more"), [(TinySamMed3D, {}), (TinySamMed3DCvpr, {}), (TinySamMed3DCvpr, CORNERS)])
def test_a_checkpoint_from_the_store_answers_as_its_network(kind, more, tmp_path):
    catalogue = save_tiny_med3d(tmp_path / "offline", kind.capabilities.weights[0], **more)
    store = WeightsStore(tmp_path / "own", offline_folder=tmp_path / "offline", catalogue=catalogue)
    volume, masks = noisy_volume(), []
    for given in ({"weights": store}, {"network": tiny_med3d()}):
        session = Session(volume, kind(**given, device="cpu", most_grown=0))
        session.add(point(volume, (40, 33, 30)))
        masks.append(session.mask_kji)
    np.testing.assert_array_equal(*masks)
    assert masks[0].any()


def test_a_checkpoint_of_another_network_is_refused_with_the_differences(tmp_path):
    catalogue = save_tiny_med3d(tmp_path, **CORNERS)
    store = WeightsStore(tmp_path / "own", offline_folder=tmp_path, catalogue=catalogue)
    volume = noisy_volume()
    session = Session(volume, TinySamMed3D(weights=store, device="cpu"), auto=False)
    session.add(point(volume, (40, 33, 30)))
    with pytest.raises(WeightsError, match=r"2 unexpected: prompt_encoder\.point_embeddings\.2\.weight"):
        session.predict()


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights_say_how_to_get_them(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    with pytest.raises(WeightsError, match=r"are not here\.[\s\S]*promptseg weights import"):
        create_predictor(name)


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_those_of_the_weights_catalogue(name):
    capabilities = capabilities_of(name)
    checkpoint = load_catalogue()[capabilities.weights[0]]
    assert capabilities.weights_license == checkpoint.weights_license
    assert capabilities.code_license == checkpoint.code_license
    assert capabilities.citation == checkpoint.citation
