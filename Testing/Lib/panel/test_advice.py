"""Which model for which image: the rules, and what follows from them for the kinds that people have."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from PromptSegLib.panel.advice import PROMPTS, Rule, advise, best, has_gpu, rules
from PromptSegLib.panel.image_kind import KINDS, ImageKind
from PromptSegLib.panel.models import Models
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.registry import BUILT_IN, capabilities_of, usable_predictors
from PromptSegLib.volume import Volume
from PromptSegLib.weights.store import WeightsStore

ALL_THERE = {name: capabilities_of(name) for name in BUILT_IN}


def kind_of(kind, is_volume=True, channels=("image",)):
    return ImageKind(kind, True, is_volume, (1.0, 1.0), channels, is_colour=kind == "rgb")


# Image, prompt: with a GPU, without one; all weights and packages being here.
ADVISED = {
    ("ct", "click"): ("nninteractive", "default"),
    ("ct", "box"): ("nninteractive", "medsam2"),
    ("ct", "name"): ("stu-net-b", "stu-net-s"),
    ("ct", "text"): ("voxtell", "voxtell"),
    ("mri", "click"): ("nninteractive", "default"),
    ("mri", "box"): ("nninteractive", "medsam2"),
    ("mri", "name"): ("voxtell", "voxtell"),
    ("mri", "text"): ("voxtell", "voxtell"),
    ("us", "click"): ("nninteractive", "default"),
    ("us", "box"): ("nninteractive", "default"),
    ("us", "name"): ("sat-pro", "sat-nano"),
    ("us", "text"): ("sat-pro", "sat-nano"),
    ("microscopy", "click"): ("nninteractive", "default"),
    ("microscopy", "box"): ("nninteractive", "default"),
    ("microscopy", "name"): (None, None),
    ("microscopy", "text"): (None, None),
    ("rgb", "click"): ("sam2.1-base-plus", "sam2.1-tiny"),
    ("rgb", "box"): ("sam2.1-base-plus", "sam2.1-tiny"),
    ("rgb", "name"): ("sam3-text", None),
    ("rgb", "text"): ("sam3-text", None),
}
IN_ONE_SLICE = {
    ("us", "click"): ("sam-med2d", "sam-med2d"),
    ("us", "box"): ("medsam", "sam-med2d"),
    ("us", "scribble"): ("scribbleprompt", "scribbleprompt"),
    ("microscopy", "click"): ("sam-vit-b", "sam-vit-b"),
    ("rgb", "click"): ("sam2.1-base-plus", "sam2.1-tiny"),
    ("other", "click"): ("sam-med2d", "sam-med2d"),
    ("ct", "name"): (None, None),
}
CASES = [
    (kind_of(kind, is_volume), prompt, gpu, expected[0 if gpu else 1])
    for is_volume, table in ((True, ADVISED), (False, IN_ONE_SLICE))
    for (kind, prompt), expected in table.items()
    for gpu in (True, False)
]


@pytest.mark.parametrize(("kind", "prompt", "gpu", "expected"), CASES)
def test_what_is_advised_with_everything_here(kind, prompt, gpu, expected):
    advised = best(advise(kind, prompt, has_gpu=gpu, predictors=ALL_THERE), prompt)
    assert (advised.name if advised else None) == expected
    assert advised is None or advised.because


@pytest.mark.parametrize("kind", ["ct", "mri", "us", "microscopy", "rgb"])
@pytest.mark.parametrize("prompt", ["click", "box", "box3d", "scribble", "lasso"])
@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("is_volume", [True, False])
def test_a_bare_installation_is_advised_what_it_ships(kind, prompt, gpu, is_volume):
    groups = advise(
        kind_of(kind, is_volume),
        prompt,
        has_gpu=gpu,
        predictors=ALL_THERE,
        lacks=lambda name: "" if name in ("default", "classical") else "torch to install",
    )
    assert best(groups, prompt).name == "default"
    assert best(groups, prompt).lacks == ""
    assert groups[0].key == "clicks"


def test_what_would_be_better_is_named_with_what_it_lacks():
    lacks = {"default": "", "classical": ""}
    clicks = advise(
        kind_of("ct"), "click", has_gpu=True, predictors=ALL_THERE, lacks=lambda name: lacks.get(name, "411 MB to get")
    )[0]
    assert (clicks.advised.name, clicks.better.name) == ("default", "nninteractive")
    assert clicks.better.line.startswith("nnInteractive (411 MB to get): 3.44 of 4")


def test_a_box_in_3d_or_a_lasso_in_hand_is_not_advised_what_takes_none():
    """MedSAM2 has the best rule for boxes on a CPU, but is told them slice by slice."""
    on_cpu = {p: best(advise(kind_of("ct"), p, has_gpu=False, predictors=ALL_THERE), p).name for p in PROMPTS}
    assert (on_cpu["box2d"], on_cpu["box3d"]) == ("medsam2", "default")
    flat = kind_of("us", is_volume=False)
    by_hand = {p: best(advise(flat, p, has_gpu=False, predictors=ALL_THERE), p).name for p in ("scribble", "lasso")}
    assert by_hand == {"scribble": "scribbleprompt", "lasso": "default"}


def test_every_model_is_in_a_group_once_and_those_that_suit_come_first():
    for kind in KINDS:
        groups = advise(kind_of(kind), has_gpu=False, predictors=ALL_THERE)
        assert {group.key for group in groups} == {"clicks", "names", "text"}
        for group in groups:
            named = [each.name for each in (group.advised, group.better, *group.others) if each is not None]
            assert len(named) == len(set(named))
            suits = [each.suits for each in group.others]
            assert suits == sorted(suits, reverse=True)
        everywhere = {each.name for g in groups for each in (g.advised, g.better, *g.others) if each}
        assert everywhere == set(ALL_THERE)


def test_the_group_of_the_prompt_in_hand_comes_first():
    for prompt, first in {"click": "clicks", "box": "clicks", "name": "names", "text": "text", "": "clicks"}.items():
        assert advise(kind_of("ct"), prompt, has_gpu=False, predictors=ALL_THERE)[0].key == first


def test_what_a_model_cannot_do_at_all_follows_from_its_capabilities():
    def said(name, kind, prompt):
        groups = advise(kind, prompt, has_gpu=True, predictors={name: ALL_THERE[name]})
        return next((each.because, each.suits) for each in groups[0].others)

    assert said("medsam", kind_of("ct"), "click") == ("takes no clicks", False)
    assert said("sam-vit-b", kind_of("ct"), "scribble") == ("takes no scribbles", False)
    assert said("stu-net-b", kind_of("ct", is_volume=False), "name") == ("wants a volume, not one slice", False)
    assert said("autopet-2022", kind_of("ct"), "name") == ("wants CT and PET together", False)


def test_a_model_with_both_of_its_channels_suits():
    both = kind_of("ct", channels=("ct", "pet"))
    (names,) = advise(both, "name", has_gpu=True, predictors={"autopet-2022": ALL_THERE["autopet-2022"]})
    assert names.advised.name == "autopet-2022"
    (names,) = advise(
        kind_of("ct", channels=("ct", "t1")),
        "name",
        has_gpu=True,
        predictors={"autopet-2022": ALL_THERE["autopet-2022"]},
    )
    assert names.advised is None, "a session refuses it then"


def test_models_of_other_packages_are_the_users_own():
    own = Capabilities("mine", "Mine", "mine", frozenset({3}), frozenset({"point+", "point-"}), "MIT")
    groups = advise(kind_of("ct"), "click", has_gpu=False, predictors={**ALL_THERE, "mine": own})
    (group,) = [group for group in groups if group.key == "own"]
    assert group.advised.name == "mine"
    assert group.title == "Your own"
    assert best(groups, "click").name != "mine"
    flat = advise(kind_of("ct", is_volume=False), "click", has_gpu=False, predictors={"mine": own})
    assert flat[0].advised is None


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_volume", [True, False])
@pytest.mark.parametrize("gpu", [True, False])
def test_what_suits_takes_the_prompt_and_the_image(kind, is_volume, prompt, gpu):
    """What is in hand is a prompt of the model's own, and none that suits says that it takes no such image."""
    for group in advise(kind_of(kind, is_volume), prompt, has_gpu=gpu, predictors=ALL_THERE):
        asks_words = prompt in ("name", "text")
        is_asked = asks_words == (group.key in ("names", "text"))
        in_hand = {"class", "text"} if asks_words else PROMPTS[prompt]
        for advice in filter(None, (group.advised, group.better, *group.others)):
            takes = ALL_THERE[advice.name]
            if advice.suits:
                assert not is_asked or takes.prompts & in_hand
                assert is_volume or 2 in takes.dimensions
                assert len(takes.channels) <= 1


# The table


def test_every_rule_is_about_models_that_there_are_and_says_who_stated_it():
    for rule in rules():
        assert set(rule.models) <= set(BUILT_IN), rule
        assert bool(rule.because) != bool(rule.against), rule
        assert rule.source
        assert len(rule.because or rule.against) <= 100, rule
        assert set(rule.images) | set(rule.scores) <= set(KINDS)
        assert set(rule.prompts) <= set(PROMPTS)
        assert ("{score}" in rule.because) == bool(rule.scores)
        assert not (rule.scores and rule.images)


def test_every_rule_is_the_first_that_fits_somewhere():
    reached = set()
    kinds = [kind_of(kind, is_volume) for kind in KINDS for is_volume in (True, False)]
    for kind in [*kinds, *(dataclasses.replace(kind, spacing_mm=(0.3, 0.3)) for kind in kinds)]:
        for prompt, gpu, name in itertools.product(PROMPTS, (True, False), BUILT_IN):
            fitting = (rule for rule in rules() if name in rule.models and rule.fits(kind, prompt, gpu))
            reached.add(next(fitting, None))
    assert [rule for rule in rules() if rule not in reached] == []


def test_a_rule_about_voxels_fits_by_their_edges():
    rule = Rule(("default",), "somebody", because="it does", spacing_mm=(0.5, 5.0))
    assert rule.fits(kind_of("ct"), "click", False)
    assert not rule.fits(dataclasses.replace(kind_of("ct"), spacing_mm=(0.3, 1.0)), "click", False)
    assert not rule.fits(dataclasses.replace(kind_of("ct"), spacing_mm=(1.0, 6.0)), "click", False)


# What an image is


def coloured(*shape):
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


def volume(array, spacing=1.0):
    return Volume(np.asarray(array), np.diag([spacing, spacing, spacing, 1.0]))


@pytest.mark.parametrize(
    ("image", "known", "expected"),
    [
        (volume(np.full((4, 5, 6), -1000, np.int16)), {}, ("ct", False)),
        (volume(np.zeros((4, 5, 6), np.int16)), {}, ("mri", False)),
        (volume(np.zeros((4, 5, 6), np.int16)), {"name": "flair"}, ("mri", True)),
        (volume(np.zeros((4, 5, 6), np.int16)), {"dicom_modality": "PT"}, ("pet", True)),
        (volume(np.zeros((4, 5, 6), np.int16)), {"dicom_modality": "XX"}, ("mri", False)),
        (volume(np.zeros((1, 5, 6), np.uint8)), {}, ("other", False)),
        (volume(np.zeros((1, 5, 6), np.uint8)), {"said": "us"}, ("us", True)),
        (volume(np.zeros((5, 6, 1), np.uint8)), {}, ("other", False)),
        (volume(np.zeros((5, 1, 6), np.int16)), {}, ("mri", False)),
        (volume(coloured(1, 5, 6, 3)), {}, ("rgb", True)),
        (volume(coloured(9, 5, 6, 4)), {}, ("rgb", True)),
        (volume(np.zeros((1, 5, 6, 3), np.uint8)), {}, ("other", False)),
        (volume(np.full((1, 5, 6, 4), (0, 0, 0, 255), np.uint8)), {}, ("other", False)),
        (volume(np.zeros((1, 5, 6, 3), np.uint8)), {"dicom_modality": "US"}, ("us", True)),
        (volume(np.zeros((9, 5, 6), np.uint16), 0.001), {}, ("microscopy", False)),
        (volume(np.full((2, 2, 2), np.nan, np.float32)), {}, ("other", False)),
    ],
)
def test_what_an_image_is(image, known, expected):
    kind = ImageKind.of(image, **known)
    assert (kind.kind, kind.is_sure) == expected
    assert kind.is_volume == (1 not in image.array.shape[:3])
    assert kind.text.startswith("taken for") != kind.is_sure


def test_ultrasound_in_colour_is_both():
    """What sees no colour must not be advised for it, whatever the header calls it."""
    kind = ImageKind.of(volume(np.zeros((5, 5, 6, 3), np.uint8)), dicom_modality="US")
    assert best(advise(kind, "click", has_gpu=True, predictors=ALL_THERE), "click").name != "nninteractive"


# What is here


def test_a_device_says_whether_there_is_a_gpu(monkeypatch):
    assert has_gpu("cuda:1")
    assert has_gpu("mps")
    assert not has_gpu("cpu")
    monkeypatch.setattr("PromptSegLib.panel.advice.devices_here", lambda: ("auto", "cpu"))
    monkeypatch.setattr("PromptSegLib.panel.advice.cuda_devices", lambda: 1)
    assert has_gpu("auto"), "torch, which would use it, is yet to be installed"
    monkeypatch.setattr("PromptSegLib.panel.advice.cuda_devices", lambda: 0)
    assert not has_gpu("auto")
    monkeypatch.setattr("PromptSegLib.panel.advice.devices_here", lambda: ("auto", "mps", "cpu"))
    assert has_gpu("auto")


def test_what_a_model_lacks(monkeypatch, tmp_path):
    models = Models(WeightsStore(tmp_path))
    assert models.lacks("default") == ""
    assert models.lacks("sam2.1-tiny") == "156.0 MB to get"
    monkeypatch.setattr("PromptSegLib.panel.models.is_installed", lambda package: package != "transformers")
    assert models.lacks("sam2.1-tiny") == "transformers to install, 156.0 MB to get"
    assert models.lacks("sat-nano") == "transformers to install, weights to get"
    monkeypatch.setattr("PromptSegLib.panel.models.is_installed", lambda package: False)
    assert models.lacks("nninteractive") == "torch and nninteractive to install, 411.4 MB to get"
    assert set(usable_predictors()) >= set(BUILT_IN)
