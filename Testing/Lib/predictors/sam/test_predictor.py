"""SAM's family answers prompts on slices as the official implementations do, from the image to the mask."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from references import KEPT_HERE, TOLERANCE, Reference
from tiny_networks import (
    TinyFtSam,
    TinySamMed2D,
    TinySamMed2DNoAdapter,
    full_size_med2d,
    save_tiny_med2d,
    tiny_med2d,
    tiny_sam,
)

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError
from PromptSegLib.predictors.registry import capabilities_of, create_predictor, predictor_names
from PromptSegLib.predictors.sam.predictor import MedSam, SamMed2D, SamVitB
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.prompts import Box, Point
from PromptSegLib.session.session import Session
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Volume
from PromptSegLib.weights.catalogue import load_catalogue
from PromptSegLib.weights.store import WeightsStore

FAMILY = ("sam-med2d", "sam-med2d-no-adapter", "ft-sam", "sam-vit-b", "sam-vit-l", "sam-vit-h", "medsam")
PICTURE = np.diag([-1.0, -1.0, 1.0, 1.0])  # pixels of a picture: x to the left, y to posterior
MED2D_CASES = {
    "point1": [(150, 70, True)],
    "points3": [(150, 70, True), (20, 30, False), (200.5, 90.25, True)],
    "box": [(100, 30, 220, 110)],
    "box_point": [(100, 30, 220, 110), (150, 70, True)],
}


def picture(array):
    """Return an RGB image (h, w, 3) as it comes from a file."""
    return Volume(array[None], PICTURE)


def click(grid, x, y, positive=True, k=0):
    return Point(tuple(grid.to_ras((x, y, k))), positive)


def prompt(grid, numbers):
    if len(numbers) == 3:
        return click(grid, *numbers)
    x0, y0, x1, y1 = numbers
    return Box.from_indices(grid, (x0, y0, 0), (x1, y1, 0))


def record_of(session):
    [record] = session.prediction.feedback.records.values()
    return record


def assert_same_where_clear(mask, logits):
    wrong = mask != (logits > 0)
    assert np.abs(logits[wrong]).max(initial=0) < TOLERANCE


def with_cache(kind, network, **changes):
    return kind(network, device="cpu", cache=EmbeddingCache(), **changes)


@pytest.fixture
def reference():
    return Reference(KEPT_HERE, "sam_med2d_tiny")


@pytest.mark.parametrize("case", MED2D_CASES)
def test_sam_med2d_answers_a_picture_as_the_official_predictor(case, reference):
    session = Session(picture(reference.image()), with_cache(SamMed2D, tiny_med2d()), auto=False)
    for numbers in MED2D_CASES[case]:
        session.add(prompt(session.image.grid, numbers))
    session.predict()
    [low_res] = record_of(session).logits
    reference.assert_met(f"{case}_lowres", torch.from_numpy(low_res[None]))
    if f"{case}_logits" in reference:
        assert_same_where_clear(session.mask_kji, reference[f"{case}_logits"])
    assert session.prediction.score == pytest.approx(float(np.clip(reference[f"{case}_iou"][0], 0, 1)), abs=1e-4)


def test_sam_med2d_is_given_probabilities_to_refine(reference):
    network = tiny_med2d()
    session = Session(picture(reference.image()), with_cache(SamMed2D, network))
    session.add(click(session.image.grid, 150, 70))
    [first] = record_of(session).logits
    given = []
    decode = network.decode
    network.decode = lambda *args, **kinds: given.append((args, kinds)) or decode(*args, **kinds)
    session.add(click(session.image.grid, 20, 30, positive=False))
    (_, points, labels, boxes, mask), kinds = given[0]
    np.testing.assert_allclose(mask[0, 0], 1 / (1 + np.exp(-first)), atol=1e-6)
    assert kinds["multimask"]
    assert labels.tolist() == [[1, 0]]
    assert boxes is None
    np.testing.assert_allclose(points[0], [[150 * 256 / 300, 70 * 256 / 180], [20 * 256 / 300, 30 * 256 / 180]])


def test_sam_takes_the_best_of_three_for_a_click_and_refines_by_logits():
    reference = Reference(KEPT_HERE, "sam_tiny")
    session = Session(picture(reference.image()), with_cache(SamVitB, tiny_sam()))
    [[x, y]] = reference["point1_point_coords"]
    session.add(click(session.image.grid, x, y))
    best = float(np.clip(reference["point1_multi_iou"].max(), 0, 1))
    assert session.prediction.score == pytest.approx(best, abs=1e-4)
    session.predict()
    [low_res] = record_of(session).logits
    reference.assert_met("point1_refined_lowres", torch.from_numpy(low_res[None]))
    clear = torch.from_numpy(np.where(session.mask_kji, 1.0, -1.0))
    different = (np.unpackbits(reference["point1_refined_mask"])[: clear.numel()].reshape(clear.shape) > 0) != (
        clear > 0
    ).numpy()
    assert different.mean() < 1e-4


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([(150, 70, True)], True),
        ([(150, 70, True), (20, 30, False)], False),
        ([(100, 30, 220, 110)], False),
        ([(100, 30, 220, 110), (150, 70, True)], False),
    ],
)
def test_sam_gives_three_masks_for_an_ambiguous_prompt_only(prompts, expected, reference):
    network = tiny_sam()
    asked = []
    decode = network.decode
    network.decode = lambda *args, **kinds: asked.append(kinds["multimask"]) or decode(*args, **kinds)
    session = Session(picture(reference.image()), with_cache(SamVitB, network), auto=False)
    for numbers in prompts:
        session.add(prompt(session.image.grid, numbers))
    session.predict()
    assert asked == [expected]


def test_medsam_sees_a_box_alone_from_0_to_1_and_one_mask(reference):
    network = tiny_sam()
    seen, asked = [], []
    tokens, decode = network.image_encoder.tokens, network.decode
    network.image_encoder.tokens = lambda image: seen.append(image) or tokens(image)
    network.decode = lambda *args, **kinds: asked.append((args, kinds)) or decode(*args, **kinds)
    session = Session(picture(reference.image()), with_cache(MedSam, network))
    assert not MedSam.capabilities.takes(click(session.image.grid, 150, 70))
    session.add(Box.from_indices(session.image.grid, (100, 30, 0), (220, 110, 0)))
    session.add(Box.from_indices(session.image.grid, (10, 3, 0), (22, 11, 0)))
    [image] = seen
    assert image.shape == (1, 3, 256, 256)
    assert (image.min(), image.max()) == (0, 1)
    (_, points, labels, boxes, mask), kinds = asked[0]
    assert points is None
    assert labels is None
    assert mask is None
    assert not kinds["multimask"]
    np.testing.assert_allclose(boxes, [[100 / 300 * 256, 30 / 180 * 256, 220 / 300 * 256, 110 / 180 * 256]], rtol=1e-6)
    assert len(asked) == 3
    assert session.prediction.score is None


def test_the_same_slice_in_a_volume_gives_the_same_mask_as_its_picture(reference):
    image = reference.image()
    volume = Volume(np.stack([image[::-1], image, image // 2]), np.diag([-0.7, -0.7, 3.0, 1.0]))
    cache = EmbeddingCache()
    alone = Session(picture(image), SamMed2D(tiny_med2d(), cache=cache))
    alone.add(click(alone.image.grid, 150, 70))
    inside = Session(volume, SamMed2D(tiny_med2d(), cache=cache))
    inside.add(click(inside.image.grid, 150, 70, k=1))
    np.testing.assert_array_equal(inside.mask_kji[1], alone.mask_kji[0])
    assert not inside.mask_kji[[0, 2]].any()
    assert cache.nbytes == 256 * 16 * 16 * 4


def test_ct_is_shown_in_the_window_that_was_given(reference):
    seen = []
    network = tiny_sam()
    tokens = network.image_encoder.tokens
    network.image_encoder.tokens = lambda image: seen.append(image) or tokens(image)
    hu = np.linspace(-1000, 2000, 40 * 60).reshape(1, 40, 60).astype(np.int16)
    session = Session(Volume(hu, PICTURE), with_cache(SamVitB, network), window=Window.from_level_and_width(40, 400))
    session.add(click(session.image.grid, 30, 20))
    [image] = seen
    black, white = (0 - 123.675) / 58.395, (255 - 123.675) / 58.395
    shown = image[0, 0, :170]
    assert shown.min() == pytest.approx(black)
    assert shown.max() == pytest.approx(white)
    assert ((shown > black + 0.01) & (shown < white - 0.01)).float().mean() == pytest.approx(400 / 3000, abs=0.05)


def test_an_oblique_slice_runs_the_complete_path(reference):
    rng = np.random.default_rng(5)
    volume = Volume(rng.normal(size=(40, 50, 60)).astype(np.float32), np.diag([1.0, 1.0, 1.5, 1.0]))
    session = Session(volume, with_cache(SamMed2D, tiny_med2d()))
    normal = np.array([0.0, 0.4, 1.0]) / np.hypot(0.4, 1)
    middle = (30.0, 25.0, 30.0)
    view = View(middle, (-1.0, 0.0, 0.0), tuple(np.cross(normal, (-1.0, 0.0, 0.0))), (60.0, 60.0))
    session.add(Point(middle), view)
    session.add(Point((30.0, 30.0, 28.0), positive=False), view)
    assert len(session.prediction.feedback.records) == 1
    assert session.mask_kji.any()


def test_embeddings_are_found_on_disk_by_the_next_process_but_not_with_other_weights(reference, tmp_path):
    def first_click(network):
        predictor = SamMed2D(network, device="cpu", cache=EmbeddingCache(tmp_path))
        tokens, encoded = network.image_encoder.tokens, []
        network.image_encoder.tokens = lambda image: encoded.append(image) or tokens(image)
        session = Session(picture(reference.image()), predictor)
        session.add(click(session.image.grid, 150, 70))
        return len(encoded), session.mask_kji

    (first, mask), (second, again) = first_click(tiny_med2d()), first_click(tiny_med2d())
    assert (first, second) == (1, 0)
    np.testing.assert_array_equal(mask, again)
    assert first_click(tiny_med2d(adapters=False))[0] == 1


def test_encoding_stops_within_a_slice():
    network = tiny_sam()
    predictor, token = with_cache(SamVitB, network), CancelToken()
    volume = Volume(np.zeros((3, 20, 20), dtype=np.uint8), PICTURE)
    session = Session(volume, predictor)
    encoding = predictor.encode(session.image, token, lambda *_: None)
    done = []
    for block in network.image_encoder.blocks:
        block.register_forward_hook(lambda *_: done.append(1) or token.cancel())
    with pytest.raises(Cancelled):
        predictor.encode_ahead(encoding, View((0, 0, 1), (-1, 0, 0), (0, 1, 0), (9, 9)), None, token)
    assert len(done) == 1


@pytest.mark.parametrize("name", FAMILY)
def test_missing_weights_say_how_to_get_them(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    with pytest.raises(WeightsError, match=r"are not here\.[\s\S]*promptseg weights import"):
        create_predictor(name)


@pytest.mark.parametrize("name", FAMILY)
def test_terms_are_those_of_the_weights_catalogue(name):
    capabilities = capabilities_of(name)
    assert name in predictor_names()
    checkpoint = load_catalogue()[capabilities.weights[0]]
    assert capabilities.weights_license == checkpoint.weights_license
    assert capabilities.code_license == checkpoint.code_license
    assert capabilities.citation == checkpoint.citation


@pytest.fixture
def a_store(tmp_path):
    """A store whose offline folder holds a checkpoint of a small SAM-Med2D."""
    save_tiny_med2d(tmp_path / "offline")
    return WeightsStore(tmp_path / "own", offline_folder=tmp_path / "offline")


@pytest.mark.parametrize("kind", [TinySamMed2D, TinySamMed2DNoAdapter])
def test_a_checkpoint_from_the_store_answers_as_its_network(kind, a_store, reference):
    adapters = kind is TinySamMed2D
    masks = []
    for predictor in (
        kind(weights=a_store, device="cpu", cache=EmbeddingCache()),
        with_cache(SamMed2D, tiny_med2d(adapters=adapters)),
    ):
        session = Session(picture(reference.image()), predictor)
        session.add(click(session.image.grid, 150, 70))
        masks.append(session.mask_kji)
    np.testing.assert_array_equal(*masks)
    assert masks[0].any()


def test_a_checkpoint_of_another_network_is_refused_with_the_differences(a_store, tmp_path, reference):
    (tmp_path / "offline" / "ft-sam").mkdir()
    (tmp_path / "offline" / "sam-med2d" / "sam-med2d_b.pth").rename(tmp_path / "offline" / "ft-sam" / "ft-sam_b.pth")
    session = Session(picture(reference.image()), TinyFtSam(weights=a_store, cache=EmbeddingCache()), auto=False)
    session.add(click(session.image.grid, 150, 70))
    with pytest.raises(WeightsError, match=r"unexpected: image_encoder\.blocks\.0\.Adapter"):
        session.predict()


def test_sam_med2d_in_its_real_size_segments_a_ct_slice_and_the_next_click_is_20_times_faster():
    network = full_size_med2d()
    hu = np.random.default_rng(0).normal(0, 300, (5, 160, 200)).astype(np.int16)
    volume = Volume(hu, np.diag([-0.8, -0.8, 5.0, 1.0]))
    session = Session(volume, with_cache(SamMed2D, network), window=Window(-160, 240))
    session.add(click(session.image.grid, 90, 80, k=2))
    first_ms = session.prediction.timings_ms["embed"]
    assert session.mask_kji[2].any()
    started = time.perf_counter()
    session.add(click(session.image.grid, 60, 40, positive=False, k=2))
    assert session.prediction.timings_ms["embed"] < first_ms / 20
    assert time.perf_counter() - started < first_ms / 1000
