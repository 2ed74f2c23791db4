"""Which predictors there are."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from fakes import BallPredictor

from PromptSegLib.errors import UnknownPredictorError, UnsupportedPromptError
from PromptSegLib.predictors import registry
from PromptSegLib.predictors.base import PROMPT_FEATURES, Capabilities, feature_of
from PromptSegLib.predictors.registry import capabilities_of, check_takes, create_predictor, predictor_names
from PromptSegLib.prompts import Box, ClassPrompt, Lasso, MaskPrompt, Point, Scribble, TextPrompt, VoxelScribble
from PromptSegLib.weights.catalogue import load_catalogue

SQUARE = ((0, 0, 0), (10, 0, 0), (10, 10, 0), (0, 10, 0))


@pytest.fixture
def two_balls(monkeypatch):
    ball = "fakes:BallPredictor"
    balls = {"default": ball, "ball": ball, "grow": "fakes:GrowingBallPredictor"}
    monkeypatch.setattr(registry, "BUILT_IN", balls)


@pytest.mark.usefixtures("two_balls")
def test_names_come_with_the_default_first_and_make_predictors():
    assert predictor_names() == ("default", "ball", "grow")
    assert type(create_predictor("default")) is BallPredictor
    assert create_predictor("ball") is not create_predictor("ball")
    assert capabilities_of("default") is BallPredictor.capabilities


@pytest.mark.usefixtures("two_balls")
def test_an_unknown_name_is_refused_listing_the_names_and_the_nearest():
    with pytest.raises(UnknownPredictorError, match=r"one of default, ball, grow, got 'bal'; did you mean 'ball'\?"):
        create_predictor("bal")
    with pytest.raises(KeyError):
        capabilities_of("something else")


def test_a_class_elsewhere_is_made_by_its_import_path():
    assert type(create_predictor("fakes:BallPredictor")) is BallPredictor
    assert capabilities_of("fakes:BallPredictor").name == "ball"


@pytest.mark.parametrize("path", ["nowhere:Predictor", "fakes:Nothing", "fakes:", ":Ball", "a:b:c"])
def test_an_import_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(UnknownPredictorError, match=f"a predictor as module:Class, got '{path}'"):
        create_predictor(path)


@pytest.mark.parametrize(
    ("prompt", "feature"),
    [
        (Point((0, 0, 0)), "point+"),
        (Point((0, 0, 0), False), "point-"),
        (Box((0, 0, 0), (1, 2, 0)), "box2d+"),
        (Box((0, 0, 0), (1, 2, 3), positive=False), "box3d-"),
        (Scribble(SQUARE), "scribble+"),
        (VoxelScribble(SQUARE, False), "scribble-"),
        (Lasso(SQUARE, False), "lasso-"),
        (MaskPrompt([[[1]]], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "mask"),
        (ClassPrompt("liver"), "class"),
        (TextPrompt("the liver"), "text"),
    ],
)
def test_every_prompt_has_a_feature_that_predictors_declare(prompt, feature):
    assert feature_of(prompt) == feature
    assert feature in PROMPT_FEATURES


@pytest.mark.usefixtures("two_balls")
def test_a_prompt_that_is_not_taken_is_refused_naming_the_predictors_that_take_it():
    points_only = Capabilities("points", "Points", "", frozenset({3}), frozenset({"point+", "point-"}), "MIT")
    check_takes(points_only, Point((0, 0, 0)))
    with pytest.raises(
        UnsupportedPromptError, match=r"expected point\+, point- for 'points', got lasso\+.*ball, grow would"
    ):
        check_takes(points_only, Lasso(SQUARE))
    with pytest.raises(UnsupportedPromptError, match=r"got text: .*no predictor here does"):
        check_takes(points_only, TextPrompt("liver"))


def test_capabilities_of_unknown_prompts_are_refused():
    with pytest.raises(ValueError, match="got circle"):
        Capabilities("a", "A", "", frozenset({3}), frozenset({"circle"}), "MIT")


def test_every_class_with_published_weights_is_found_by_way_of_its_entry_in_the_catalogue():
    for name, checkpoint in load_catalogue().items():
        for predictor in checkpoint.predictors:
            capabilities = capabilities_of(predictor)
            assert (capabilities.name, capabilities.weights[0]) == (predictor, name)


def test_no_predictor_s_class_is_forgotten():
    places = set(registry.BUILT_IN.values())
    files = sorted(Path(registry.__file__).parent.glob("*/*.py"))
    for path in [file for file in files if "    capabilities = " in file.read_text(encoding="utf-8")]:
        module = importlib.import_module(f"PromptSegLib.predictors.{path.parent.name}.{path.stem}")
        for name, found in vars(module).items():
            own = getattr(found, "__module__", "") == module.__name__ and isinstance(found, type)
            if own and isinstance(getattr(found, "capabilities", None), Capabilities):
                assert f"{module.__name__}:{name}" in places
