"""SAT's text encoder gives the numbers of its official implementation."""

from __future__ import annotations

import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import KEPT_HERE
from volume_references import VolumeReference

from PromptSegLib.predictors.sat.text_network import TextEncoder, tokenize

VOCABULARY = {"[UNK]": 104, "[CLS]": 105, "[SEP]": 106, "left": 7, "kid": 8, "##ney": 9, ",": 10, "liver": 11}


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    network = TextEncoder(vocabulary=300, layers=2).eval()
    network.load_state_dict(state_dict_from_keys(KEPT_HERE / "sat_text_tiny_keys.json"))
    return network


def test_queries_are_those_of_the_official_one(encoder):
    reference = VolumeReference(KEPT_HERE, "sat_text_tiny")
    ids, mask = reference.tensor("input_ids"), reference.tensor("attention_mask")
    with torch.inference_mode():
        tokens = encoder.text_tower["biolord"](input_ids=ids, attention_mask=mask).last_hidden_state
        reference.assert_met("token_embeddings", tokens[..., :64])
        reference.assert_met("pooled", encoder.pool(ids, mask))
        reference.assert_met("query", encoder(ids, mask, reference.tensor("modality")))
    assert reference.unused == set()


def test_texts_become_lower_case_word_pieces_between_berts_marks():
    ids, mask = tokenize(["Left Kidney", "liver,spleen"], VOCABULARY)
    assert ids.tolist() == [[105, 7, 8, 9, 106], [105, 11, 10, 104, 106]]
    assert mask.all()


def test_shorter_texts_are_filled_up_with_the_first_id_and_masked():
    ids, mask = tokenize(["liver", "left kidney"], VOCABULARY)
    assert ids.tolist() == [[105, 11, 106, 0, 0], [105, 7, 8, 9, 106]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
