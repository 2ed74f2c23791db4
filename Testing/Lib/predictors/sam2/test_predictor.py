"""SAM 2.1 answers on slices, and remembers from slice to slice, as the official implementation does on frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from key_made_weights import shapes_and_aliases
from moving_disk import CASES, disk, frame
from references import KEPT_HERE, TOLERANCE, Reference
from tiny_networks import TINY_SAM2, tiny_sam2, tiny_sam2_state_dict

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.predictors.sam2.model import Sam2Model
from PromptSegLib.predictors.sam2.network import SIZES, from_published, sam2_video
from PromptSegLib.predictors.sam2.predictor import MedSam2, Sam2Tiny
from PromptSegLib.predictors.sam2.transforms import Sam2Frame
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.session.session import Session
from PromptSegLib.view import View
from PromptSegLib.volume import Volume
from PromptSegLib.weights.store import WeightsStore


@pytest.fixture(scope="module")
def network():
    return tiny_sam2()


@pytest.fixture(scope="module")
def model(network):
    return Sam2Model(network, "cpu")


@pytest.fixture(scope="module")
def embeddings(model):
    """Return those of 20 frames, fewer of which would not fill the memory."""
    return [model.embed([frame(t)], CancelToken())[0] for t in range(20)]


@pytest.fixture(scope="module")
def reference():
    return Reference(KEPT_HERE, "sam2_tiny")


@pytest.mark.parametrize("size", SIZES)
def test_the_published_keys_load_strictly(size):
    shapes, _ = shapes_and_aliases(KEPT_HERE / f"sam2.1_{size}_keys.json")
    state_dict = {key: torch.empty(shape, device="meta") for key, (shape, _) in shapes.items()}
    with torch.device("meta"):
        video = sam2_video(size)
    video.load_state_dict(from_published(state_dict), strict=True, assign=True)


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_a_prompted_image_gives_the_official_logits(case, network, reference):
    image = frame(0)
    square = Sam2Frame(image.shape[:2], network.image_size)
    embedding = network.encode(square.image(image))
    coarse = network.features(embedding)[-1] + network.video.no_memory_embedding  # (h * w, 1, C)
    assert_near(reference["embedding_s"], coarse.permute(1, 2, 0).reshape(1, 256, 16, 16)[:, ::16])
    points, box = CASES[case]
    prompts = {}
    if points:
        positions = torch.tensor(points[0], dtype=torch.float64)
        prompts = {"points": square.points(positions).float()[None], "labels": torch.tensor([points[1]])}
    if box:
        prompts["boxes"] = square.boxes(torch.tensor([box], dtype=torch.float64)).float()
    low_res, iou = network.decode(embedding, **prompts, multimask=case == "point1")
    best = int(iou[0].argmax())
    low_res = low_res[:, best : best + 1]
    assert_near(reference[f"{case}_iou"], iou[0, best : best + 1])
    assert_near(reference[f"{case}_logits_s2"], square.logits(low_res)[0, 0, ::2, ::2])
    low_res, iou = network.decode(embedding, **prompts, mask=low_res, multimask=False)
    assert_near(reference[f"{case}_refined_iou"], iou[0])
    assert_near(reference[f"{case}_refined_logits_s2"], square.logits(low_res)[0, 0, ::2, ::2])


@pytest.mark.parametrize("given", ["one", "two"])
def test_a_structure_is_remembered_as_the_official_video_predictor_does(given, model, embeddings, reference):
    follower = model.follower()
    for t in (0, 19) if given == "two" else (0,):
        follower.show(t, embeddings[t], disk(t))
    square = Sam2Frame((90, 120), 256)
    for t in range(1, 18):
        answer = follower.find(t, embeddings[t], (90, 120))
        if t in (1, 7, 17):
            logits = square.logits(torch.from_numpy(answer.logits)[None, None])[0, 0]
            # What is remembered is rounded to 8 bits of mantissa, there as here.
            assert_near(reference[f"follow_{given}_{t}_logits_s2"], logits[::2, ::2], atol=2e-2)
            np.testing.assert_array_equal(answer.mask, logits.numpy() > 0)
            expected = torch.from_numpy(reference[f"follow_{given}_{t}_object"]).sigmoid()
            assert answer.score == pytest.approx(float(expected), abs=1e-3)


def assert_near(expected, actual, atol=TOLERANCE):
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=atol)


def test_weights_as_published_are_taken_from_the_store_and_carry_a_segment_on(tmp_path, monkeypatch, network):
    folder = tmp_path / "medsam2"
    folder.mkdir()
    torch.save({"model": tiny_sam2_state_dict()}, folder / "MedSAM2_latest.pt")

    class TinyMedSam2(MedSam2):
        configuration = TINY_SAM2

    store = WeightsStore(tmp_path / "store", offline_folder=tmp_path)
    monkeypatch.setattr("torch.nn.init.kaiming_uniform_", lambda *_, **__: pytest.fail("weights are drawn in vain"))
    masks = []
    for predictor in (
        TinyMedSam2(device="cpu", weights=store, cache=EmbeddingCache()),
        TinyMedSam2(network, device="cpu", cache=EmbeddingCache()),
    ):
        session = Session(Volume(np.stack([frame(t) for t in range(3)])), predictor)
        session.set_mask(np.stack([disk(t) & (t == 0) for t in range(3)]))
        first = session.mask_kji
        session.propagate(view=View((59.5, 44.5, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (120.0, 90.0)))
        assert session.prediction.note.startswith("forward to")
        assert session.prediction.score is None or session.mask_kji[1].any()
        masks.append(session.mask_kji)
        session.undo()
        np.testing.assert_array_equal(session.mask_kji, first)
    np.testing.assert_array_equal(*masks)


def test_without_weights_it_says_how_to_get_them(tmp_path):
    with pytest.raises(WeightsError, match=r"dl\.fbaipublicfiles\.com.*sam2\.1_hiera_tiny\.pt"):
        Sam2Tiny(weights=WeightsStore(tmp_path))


def test_encoding_stops_between_blocks_when_cancelled(model, network):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        model.embed([frame(0)], cancel)
    assert not network.video.vision_encoder.backbone.blocks[0]._forward_pre_hooks


def test_they_are_listed_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path))
    for name in ("sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large", "medsam2"):
        with pytest.raises(WeightsError):
            create_predictor(name)
