"""SAM 3's words on slices: what transformers' own model finds for a text, where a click or a box says to look."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from tiny_sam3 import SIDE, merges, save_merges, tiny_concepts, use_tiny_sam3

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, UnsupportedPromptError, WeightsError
from PromptSegLib.predictors.registry import capabilities_of, create_predictor
from PromptSegLib.predictors.sam3.concepts import NOTE, Sam3Concepts
from PromptSegLib.predictors.sam3.concepts_model import read_merges
from PromptSegLib.predictors.sam3.transforms import Sam3Frame
from PromptSegLib.prompts import Box, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

IMAGE = np.random.default_rng(0).normal(size=(4, 50, 60)).cumsum(axis=1).cumsum(axis=2)
IMAGE = ((IMAGE - IMAGE.min()) / np.ptp(IMAGE) * 255).astype(np.uint8)
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


@pytest.fixture(scope="module")
def model():
    return tiny_concepts()


@torch.inference_mode()
def test_a_text_gives_the_instances_of_transformers_model(model):
    """Its own postprocessing, in words: a score above a half, probabilities brought to the size of the picture."""
    picture = np.repeat(IMAGE[0][..., None], 3, axis=2)
    [found] = model.find(picture, ["kidney"], CancelToken())
    pieces = model._words(["kidney"], padding="max_length", max_length=32, return_tensors="pt")
    pixels = Sam3Frame((50, 60), SIDE).image(picture)
    answer = model._network(pixel_values=pixels, **{key: pieces[key] for key in ("input_ids", "attention_mask")})
    scores = answer.pred_logits[0].sigmoid() * answer.presence_logits[0].sigmoid()
    masks = answer.pred_masks[0][scores > 0.5].sigmoid()
    expected = torch.nn.functional.interpolate(masks[None], (50, 60), mode="bilinear")[0] > 0.5
    assert 0 < len(masks) < len(scores), "some instances count, others do not"
    np.testing.assert_array_equal(found.mask, expected.any(dim=0).numpy())
    assert 0 < found.mask.mean() < 1
    assert found.score == pytest.approx(float(scores.max()), abs=1e-4)


def test_words_become_clips_pieces(model):
    assert model._words.tokenize("The  LIVER") == ["the</w>", "liver</w>"]
    numbers = model._words("liver")["input_ids"]
    assert numbers[0] == 598
    assert numbers[-1] == 599
    assert len(numbers) == 3


def session(model):
    return Session(Volume(IMAGE, AFFINE), Sam3Concepts(model, device="cpu"))


def test_all_slices_are_looked_at_and_the_user_is_told_that_it_is_an_experiment(model):
    ours = session(model)
    ours.add_classes([TextPrompt("liver"), TextPrompt("kidney")])
    for text in ("liver", "kidney"):
        assert ours.mask(text).any(axis=(1, 2)).all()
    assert NOTE in ours.prediction.note
    assert capabilities_of("sam3-text").experimental
    assert "experimental" in capabilities_of("sam3-text").summary


def test_a_box_or_a_click_says_on_which_slices(model):
    ours = session(model)
    grid = ours.image.grid
    ours.add_classes([TextPrompt("liver")], Box.from_indices(grid, (0, 0, 1), (59, 49, 2)))
    mask = ours.mask_kji
    assert mask[1:3].any(axis=(1, 2)).all()
    assert not mask[[0, 3]].any()
    k, j, i = np.argwhere(mask)[0]
    clicked = session(model)
    clicked.add_classes([TextPrompt("liver")], Point(tuple(grid.to_ras((i, j, k)))))
    assert clicked.mask_kji[k, j, i]
    assert not np.delete(clicked.mask_kji, k, axis=0).any()


def test_what_is_not_there_is_said(model):
    ours = session(model)
    grid = ours.image.grid
    ours.add_classes([TextPrompt("liver")])
    k, j, i = np.argwhere(~ours.mask_kji)[0]
    ours.add_classes([TextPrompt("liver")], Point(tuple(grid.to_ras((i, j, k)))))
    assert "'liver' was not found there" in ours.prediction.note
    assert not ours.mask_kji.any()


def test_a_click_alone_is_refused_and_a_mask_is_not_carried_on(model):
    ours = session(model)
    ours.add_classes([TextPrompt("liver")])
    with pytest.raises(UnsupportedPromptError):
        ours.propagate()


def test_looking_stops_between_blocks_when_cancelled(model):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        model.find(np.zeros((20, 30, 3), np.uint8), ["liver"], cancel)


def test_words_come_from_either_published_file(tmp_path):
    save_merges(tmp_path / "merges.txt")
    text = (tmp_path / "merges.txt").read_bytes() + b"too many\n"
    (tmp_path / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(text))
    for name in ("merges.txt", "bpe_simple_vocab_16e6.txt.gz"):
        assert read_merges(tmp_path / name, 600) == merges()
    with pytest.raises(WeightsError, match="expected 48894 merges of word pieces, got 86"):
        read_merges(tmp_path / "merges.txt", 49408)


def test_weights_are_taken_from_the_store(tmp_path, monkeypatch, model):
    use_tiny_sam3(tmp_path, monkeypatch)
    ours = Session(Volume(IMAGE, AFFINE), create_predictor("sam3-text", "cpu"))
    ours.add_classes([TextPrompt("liver")])
    expected = session(model)
    expected.add_classes([TextPrompt("liver")])
    np.testing.assert_array_equal(ours.mask_kji, expected.mask_kji)
