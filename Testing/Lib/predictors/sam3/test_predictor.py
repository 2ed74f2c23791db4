"""SAM 3's tracker answers on slices, and remembers from slice to slice, as transformers' own classes do on frames.

sam3_tiny.npz holds what `Sam3TrackerProcessor` and `Sam3TrackerModel` of transformers 5.23 made of the first frame, the
model without the feature map that it leaves out (`scale_factors` 4, 2, 1): see `predictors.sam3.network`.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from moving_disk import CASES, disk, frame
from references import KEPT_HERE, TOLERANCE, Reference
from tiny_sam3 import BACKBONE, SIDE, TinySam3, tiny_sam3, tiny_sam3_state_dict

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError
from PromptSegLib.predictors.registry import capabilities_of, create_predictor
from PromptSegLib.predictors.sam3.model import Sam3Model
from PromptSegLib.predictors.sam3.predictor import Sam3Predictor
from PromptSegLib.predictors.sam3.transforms import Sam3Frame
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.prompts import Box, Point
from PromptSegLib.session.session import Session
from PromptSegLib.view import View
from PromptSegLib.volume import Volume
from PromptSegLib.weights.catalogue import load_catalogue
from PromptSegLib.weights.store import WeightsStore


@pytest.fixture(scope="module")
def network():
    return tiny_sam3()


@pytest.fixture(scope="module")
def model(network):
    return Sam3Model(network, "cpu")


@pytest.fixture(scope="module")
def reference():
    return Reference(KEPT_HERE, "sam3_tiny")


def assert_near(expected, actual, atol=TOLERANCE):
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=atol)


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_a_prompted_image_gives_the_logits_of_transformers_processor_and_model(case, network, reference):
    image = frame(0)
    square = Sam3Frame(image.shape[:2], network.image_size)
    pixels = square.image(image)
    assert_near(reference["pixel_values_s2"], pixels[..., ::2, ::2], atol=1e-6)
    embedding = network.encode(pixels)
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


@torch.inference_mode()
def test_transformers_model_for_images_answers_alike(network):
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    backbone = {"model_type": "sam3_vit_model", "image_size": SIDE} | BACKBONE
    sizes = [[scale * SIDE // 14] * 2 for scale in (4, 2, 1)]
    vision = {"model_type": "sam3_vision_model", "backbone_config": backbone, "backbone_feature_sizes": sizes}
    config = Sam3TrackerConfig(
        vision_config=vision | {"scale_factors": [4.0, 2.0, 1.0]}, prompt_encoder_config={"image_size": SIDE}
    )
    theirs = Sam3TrackerModel(config).eval()
    ours = network.video.state_dict()
    theirs.load_state_dict({key: ours[key] for key in theirs.state_dict()})
    pixels = Sam3Frame((90, 120), SIDE).image(frame(3))
    points, labels = torch.tensor([[[30.0, 40.0], [70.0, 20.0]]]), torch.tensor([[1, 0]])
    expected = theirs(pixel_values=pixels, input_points=points[None], input_labels=labels[None], multimask_output=True)
    low_res, iou = network.decode(network.encode(pixels), points, labels)
    assert_near(expected.pred_masks[0].numpy(), low_res)
    assert_near(expected.iou_scores[0].numpy(), iou)


@pytest.mark.parametrize("given", [(0,), (0, 11)], ids=["one", "two"])
@torch.inference_mode()
def test_a_structure_is_remembered_as_transformers_video_model_does(given, network, model):
    """Ten frames, so that the memory of six is full and the frames between two given masks are among them."""
    from transformers import Sam3TrackerVideoInferenceSession

    square = Sam3Frame((90, 120), SIDE)
    video = torch.cat([square.image(frame(t)) for t in range(12)])
    session = Sam3TrackerVideoInferenceSession(video=video, video_height=90, video_width=120, dtype=torch.float32)
    for t in given:
        session.add_mask_inputs(session.obj_id_to_idx(1), t, square.mask(torch.from_numpy(disk(t))))
        session.obj_with_new_inputs = [1]
        network.video(inference_session=session, frame_idx=t)
    expected = {
        answer.frame_idx: answer
        for answer in network.video.propagate_in_video_iterator(session, start_frame_idx=0, max_frame_num_to_track=9)
    }
    embeddings = [model.embed([frame(t)], CancelToken())[0] for t in range(12)]
    follower = model.follower()
    for t in given:
        follower.show(t, embeddings[t], disk(t))
    for t in range(1, 10):
        answer = follower.find(t, embeddings[t], (90, 120))
        # What is remembered is rounded to 8 bits of mantissa, there as here.
        assert_near(expected[t].pred_masks[0, 0].numpy(), torch.from_numpy(answer.logits), atol=2e-2)
        score = float(expected[t].object_score_logits.sigmoid().squeeze())
        assert answer.score == pytest.approx(score, abs=1e-3)
        logits = square.logits(torch.from_numpy(answer.logits)[None, None])[0, 0]
        np.testing.assert_array_equal(answer.mask, logits.numpy() > 0)


def saved(folder, name="sam3.pt"):
    """Write a small sam3.pt; return its path and the catalogue, which takes it for the published one."""
    torch.save(tiny_sam3_state_dict(), folder / name)
    catalogue = load_catalogue()
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    file = dataclasses.replace(catalogue["sam3"].file(), bytes=None, sha256=sha256)
    return folder / name, {**catalogue, "sam3": dataclasses.replace(catalogue["sam3"], files=(file,))}


def test_the_published_file_is_imported_after_consent_and_carries_a_segment_on(tmp_path, network):
    path, catalogue = saved(tmp_path)
    store = WeightsStore(tmp_path / "store", catalogue=catalogue)
    with pytest.raises(WeightsError, match="SAM License"):
        store.import_file("sam3", path)
    store.import_file("sam3", path, consent=True)
    masks = []
    for predictor in (
        TinySam3(device="cpu", weights=store, cache=EmbeddingCache()),
        TinySam3(device="cpu", checkpoint=path, cache=EmbeddingCache()),
        TinySam3(network, device="cpu", cache=EmbeddingCache()),
    ):
        session = Session(Volume(np.stack([frame(t) for t in range(3)])), predictor)
        session.set_mask(np.stack([disk(t) & (t == 0) for t in range(3)]))
        first = session.mask_kji
        session.propagate(view=View((59.5, 44.5, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (120.0, 90.0)))
        assert session.prediction.note.startswith("forward to")
        masks.append(session.mask_kji)
        session.undo()
        np.testing.assert_array_equal(session.mask_kji, first)
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])
    assert (tmp_path / "store" / "sam3").rglob("*.safetensors"), "what has no safetensors type was left out"


def test_clicks_boxes_and_masks_are_answered_on_a_slice(network):
    session = Session(Volume(np.stack([frame(t) for t in range(3)])), Sam3Predictor(network, device="cpu"))
    grid = session.image.grid
    session.add(Box.from_indices(grid, (30, 20, 1), (85, 70, 1)))
    box = session.mask_kji
    assert box[1].any()
    assert not box[[0, 2]].any()
    session.add(Point((50.0, 40.0, 1.0)))
    session.add(Point((10.0, 15.0, 1.0), positive=False))
    assert (session.mask_kji != box).any()
    assert 0 <= session.prediction.score <= 1


def test_another_file_is_taken_only_when_the_user_says_so(tmp_path, monkeypatch):
    path, _ = saved(tmp_path)
    store = WeightsStore(tmp_path / "store")
    with pytest.raises(WeightsError, match=r"3,?450,?062,?241"):
        store.import_file("sam3", path, consent=True)
    store.import_file("sam3", path, consent=True, trust=True)
    # Of the published size, weights that are drawn in vain take 1.8 GB.
    monkeypatch.setattr("torch.nn.init.kaiming_uniform_", lambda *_, **__: pytest.fail("weights are drawn"))
    assert TinySam3(device="cpu", weights=store).loaded().device == "cpu"


def test_without_weights_it_says_that_they_are_gated_and_how_to_import_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(WeightsError, match=r"agree to its license[\s\S]*promptseg weights import sam3 sam3\.pt"):
        create_predictor("sam3")
    assert capabilities_of("sam3").weights_license.startswith("SAM License")


def test_encoding_stops_between_blocks_when_cancelled(model, network):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        model.embed([frame(0)], cancel)
    assert not network.video.vision_encoder.backbone.layers[0]._forward_pre_hooks
