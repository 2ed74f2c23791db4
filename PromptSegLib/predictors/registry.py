"""Which predictors there are: those of the library, those that other packages bring along, and the user's own models.

A new one of the library is a folder beside this file and an entry of the weights' catalogue, which names its class; one
without weights, a line in `BUILT_IN`. Another package declares its own as
entry points of the group "promptseg.predictors", name = "module:Class" of a predictor, or of an `Entry`. Whatever is
wrong with one of them is said where it is asked for, and is no harm to the others.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from PromptSegLib.errors import PredictionError, UnknownPredictorError, UnsupportedPromptError, WeightsError
from PromptSegLib.predictors.base import Capabilities, Predictor, feature_of
from PromptSegLib.predictors.devices import check_device_name
from PromptSegLib.predictors.naming import class_named
from PromptSegLib.predictors.own_models import OwnModels, found_at
from PromptSegLib.prompts import ClassPrompt, Prompt
from PromptSegLib.weights.catalogue import load_catalogue

GROUP = "promptseg.predictors"
"""The group of entry points by which other packages declare predictors."""

# Module : class. Modules import torch and the like inside of functions, so that listing them costs nothing.
BUILT_IN = {
    "default": "PromptSegLib.predictors.default.predictor:DefaultPredictor",
    "classical": "PromptSegLib.predictors.default.classical:ClassicalPredictor",
    **{
        name: f"PromptSegLib.predictors.{place}"
        for checkpoint in load_catalogue().values()
        for name, place in checkpoint.predictors.items()
    },
    "nninteractive-server": "PromptSegLib.predictors.nninteractive.server:NnInteractiveServer",
    "voxtell-server": "PromptSegLib.predictors.voxtell.server:VoxTellServer",
}
"""The library's own: those of the weights' catalogue, and those that need no weights here."""


@dataclass(frozen=True)
class Entry:
    """A predictor that can be made.

    capabilities: what it can do, known without importing torch. make: returns a new one; where it has an argument
    `device`, that is where it is to run, and others are its options.
    """

    capabilities: Capabilities
    make: Callable[..., Predictor]

    @property
    def takes_device(self) -> bool:
        """Whether it can be told where to run."""
        return "device" in self.options

    @property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """What it can be made with."""
        return inspect.signature(self.make).parameters


@dataclass(frozen=True)
class Recipe:
    """How a predictor is made, as `create_predictor` is told: the same is made of it in another process.

    options: what else it is made with. They may hold a key, so nothing shows them.
    """

    name: str
    device: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def make(self) -> Predictor:
        """Return a new predictor; raises as `create_predictor` does."""
        return create_predictor(self.name, self.device, **self.options)


_recipes: WeakKeyDictionary[Predictor, Recipe] = WeakKeyDictionary()


def recipe_of(predictor: Predictor) -> Recipe | None:
    """Return how a predictor was made; None for one that `create_predictor` did not make."""
    try:
        return _recipes.get(predictor)
    except TypeError:  # of another package, and cannot be referred to weakly
        return None


def predictor_names() -> tuple[str, ...]:
    """Return the names of all predictors, "default" first. `capabilities_of` says of a broken one what is wrong."""
    known = (*BUILT_IN, *(name for name in sorted(_installed()) if name not in BUILT_IN))
    return (*known, *(name for name in own_models().names() if name not in known))


def capabilities_of(name: str) -> Capabilities:
    """Return what the predictor `name` can do.

    Raises:
        UnknownPredictorError: there is none, or it is broken; says the reason.
    """
    return entry_of(name).capabilities


def usable_predictors() -> Mapping[str, Capabilities]:
    """Return what the predictors can do, by name, without those that are broken."""
    usable = {}
    for name in predictor_names():
        with suppress(UnknownPredictorError):
            usable[name] = capabilities_of(name)
    return usable


def create_predictor(name: str, device: str = "auto", **options: Any) -> Predictor:
    """Return a new predictor `name`, or of a class elsewhere, given as "package.module:Class".

    device: see `predictors.devices`; a predictor that knows the CPU alone runs there, whatever is asked for, and each
    prediction says where it was made. options: what else it is made with, such as the `server` of
    "nninteractive-server" or the `checkpoint` of one with weights.

    Raises:
        UnknownPredictorError: there is no such predictor, or it is broken.
        WeightsError: the weights are missing, damaged or do not fit.
        PredictionError: `device` is no device's name or the predictor has no such option.
        ConsentError: it would send the image away.
    """
    check_device_name(device)
    entry = entry_of(name)
    if unknown := [option for option in options if option not in entry.options]:
        raise PredictionError(f"expected options that {name!r} has, got {', '.join(unknown)}: it has no such option")
    made = entry.make(device=device, **options) if entry.takes_device else entry.make(**options)
    with suppress(TypeError):
        _recipes[made] = Recipe(name, device, options)
    return made


def check_takes(capabilities: Capabilities, prompt: Prompt) -> None:
    """Raise UnsupportedPromptError, naming the predictors that take it, when `prompt` is not among its prompts.

    Raises:
        PromptError: for a class that the predictor does not know, see `class_named`.
    """
    if capabilities.takes(prompt):
        if isinstance(prompt, ClassPrompt):
            class_named(capabilities, prompt.name)
        return
    takers = [name for name, others in usable_predictors().items() if others.takes(prompt)]
    would = f"; {', '.join(takers)} would" if takers else "; no predictor here does"
    raise UnsupportedPromptError(
        f"expected {', '.join(sorted(capabilities.prompts))} for {capabilities.name!r}, got {feature_of(prompt)}: "
        f"it does not take that{would}"
    )


def entry_of(name: str) -> Entry:
    """Return how the predictor `name` is made.

    It may also be a class elsewhere, given as "package.module:Class", or the path of a model: see `own_models`.

    Raises:
        UnknownPredictorError: there is none, or it is broken; says the reason.
        WeightsError: what lies at a path is no model.
        ConsentError: what lies there would run code, and nobody agreed to that.
    """
    if name in BUILT_IN:
        return _entry(_imported(BUILT_IN[name]))
    if is_path(name):
        return Entry(*found_at(Path(name)))
    if ":" in name:
        try:
            return _entry(_imported(name))
        except (ImportError, AttributeError, ValueError) as error:
            raise UnknownPredictorError(f"expected a predictor as module:Class, got {name!r}: {error}") from error
    if name in _installed():
        return _loaded(name, _installed()[name])
    if name in own_models():
        return _own(name)
    near = difflib.get_close_matches(name, predictor_names(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownPredictorError(f"expected one of {', '.join(predictor_names())}, got {name!r}{hint}")


def own_models() -> OwnModels:
    """Return the user's own models."""
    return OwnModels()


def is_path(name: str) -> bool:
    """Whether `name` is the path of a model and no name: it has a separator, or is there."""
    if name in BUILT_IN:
        return False
    return "/" in name or os.sep in name or (Path(name).exists() and name not in predictor_names())


def _own(name: str) -> Entry:
    try:
        model = own_models().get(name)
        return Entry(model.capabilities, model.make)
    except WeightsError as error:
        raise UnknownPredictorError(f"expected {name!r} of your own models to be whole: {error}") from error


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """Return what other packages declare, by name; of two of one name the first."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, point)
    return found


def _loaded(name: str, point: EntryPoint) -> Entry:
    """Return what an entry point stands for."""
    package = f"the package {point.dist.name}" if point.dist is not None else "another package"
    try:
        entry = _entry(point.load())
    except Exception as error:
        raise UnknownPredictorError(
            f"expected {name!r} of {package} to be a predictor, got {type(error).__name__}: {error}"
        ) from error
    if entry.capabilities.name != name:
        raise UnknownPredictorError(
            f"expected {name!r} of {package} to go by that name, got {entry.capabilities.name!r} in its capabilities"
        )
    return entry


def _entry(found: Any) -> Entry:
    """Return the entry for a predictor's class, or `found` itself when it is one.

    Raises:
        ValueError: for others.
    """
    if isinstance(found, Entry):
        return found
    capabilities = getattr(found, "capabilities", None)
    if not isinstance(capabilities, Capabilities) or not callable(found):
        raise ValueError(f"expected a class with capabilities, or an Entry, got {found!r}")
    return Entry(capabilities, found)


def _imported(location: str) -> Any:
    module, attribute = location.split(":")
    return getattr(importlib.import_module(module), attribute)
