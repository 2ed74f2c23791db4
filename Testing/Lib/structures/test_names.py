"""The table of structures, and finding them by any of their names."""

from __future__ import annotations

from collections import Counter

import pytest

from PromptSegLib.errors import PromptError
from PromptSegLib.structures.names import KINDS, SIDES, all_structures, find_structure, name_among, search

ALL = tuple(all_structures().values())


@pytest.mark.parametrize("structure", ALL, ids=lambda structure: structure.name)
def test_every_row_is_complete(structure):
    assert structure.kind in KINDS
    assert structure.side in SIDES
    assert bool(structure.code) == bool(structure.meaning)
    assert structure.code == "" or structure.code.isdigit()
    assert structure.region == "" or structure.region in all_structures()
    assert all(0 <= channel <= 1 for channel in structure.colour)
    for name in structure.names:
        assert find_structure(name) is structure, name


def test_no_two_structures_share_a_totalsegmentator_name_or_a_code_with_its_side_and_region():
    assert max(Counter(one.totalsegmentator for one in ALL if one.totalsegmentator).values()) == 1
    anatomy = Counter((one.code, one.side, one.region) for one in ALL if one.kind == "anatomy")
    assert anatomy.most_common(1)[0][1] == 1


@pytest.mark.parametrize("written", ["left kidney", "kidney_left", "Left Kidney", "LEFT-KIDNEY", "kidney, left"])
def test_a_structure_is_found_however_its_name_is_written(written):
    assert find_structure(written).name == "left kidney"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Liver tumor", "liver tumour"),
        ("oesophagus", "esophagus"),
        ("IVC", "inferior vena cava"),
        ("vertebrae_T9", "T9 vertebra"),
    ],
)
def test_synonyms_and_spellings_are_known(written, meant):
    assert find_structure(written).name == meant


def test_a_name_that_says_nothing_finds_nothing():
    assert find_structure("segment") is None
    assert find_structure("") is None


@pytest.mark.parametrize(
    ("text", "first"),
    [("kid", "kidney"), ("left kid", "left kidney"), ("livr", "liver"), ("Leber", "liver"), ("rib 12", "left rib 12")],
)
def test_a_search_finds_what_is_half_written_or_misspelled(text, first):
    assert search(text)[0] == first


def test_a_search_for_nothing_lists_everything_and_one_for_nonsense_nothing():
    assert search("") == list(all_structures())
    assert search("xyzzy qqq") == []


def test_a_search_may_be_limited_to_what_a_model_knows():
    assert search("kidney", ("right kidney", "left kidney", "liver")) == ["right kidney", "left kidney"]


def test_names_of_a_model_are_found_by_their_synonyms():
    assert name_among("kidney_left", ("liver", "left kidney"), "m") == "left kidney"
    assert name_among("Left kidney", ("liver", "kidney_left"), "m") == "kidney_left"
    assert name_among("its own word", ("its own word",), "m") == "its own word"


@pytest.mark.parametrize(
    ("asked", "near"),
    [("livver", "did you mean liver?"), ("lungs", "did you mean left lung upper lobe?"), ("xyzzy", "got 'xyzzy'$")],
)
def test_an_unknown_name_is_refused_with_the_nearest(asked, near):
    with pytest.raises(PromptError, match=near):
        name_among(asked, ("liver", "spleen", "left lung upper lobe"), "m")
