"""Which predictors there are. A new one is a file beside this one, and a line here."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from PromptSegLib.errors import PredictionError, PromptError, UnknownPredictorError, UnsupportedPromptError
from PromptSegLib.predictors.base import Capabilities, Predictor, feature_of
from PromptSegLib.predictors.devices import check_device_name
from PromptSegLib.prompts import ClassPrompt, Prompt, TextPrompt
from PromptSegLib.structures.names import name_among

# Module : class. Modules import torch and the like inside of functions, so that listing them costs nothing.
_PREDICTORS = {
    "default": "PromptSegLib.predictors.default.predictor:DefaultPredictor",
    "classical": "PromptSegLib.predictors.classical.predictor:ClassicalPredictor",
    "sam-med2d": "PromptSegLib.predictors.sam.predictor:SamMed2D",
    "sam-med2d-no-adapter": "PromptSegLib.predictors.sam.predictor:SamMed2DNoAdapter",
    "ft-sam": "PromptSegLib.predictors.sam.predictor:FtSam",
    "sam-vit-b": "PromptSegLib.predictors.sam.predictor:SamVitB",
    "sam-vit-l": "PromptSegLib.predictors.sam.predictor:SamVitL",
    "sam-vit-h": "PromptSegLib.predictors.sam.predictor:SamVitH",
    "medsam": "PromptSegLib.predictors.sam.predictor:MedSam",
    "sam2.1-tiny": "PromptSegLib.predictors.sam2.predictor:Sam2Tiny",
    "sam2.1-small": "PromptSegLib.predictors.sam2.predictor:Sam2Small",
    "sam2.1-base-plus": "PromptSegLib.predictors.sam2.predictor:Sam2BasePlus",
    "sam2.1-large": "PromptSegLib.predictors.sam2.predictor:Sam2Large",
    "medsam2": "PromptSegLib.predictors.sam2.predictor:MedSam2",
    "sam-med3d": "PromptSegLib.predictors.sam_med3d.predictor:SamMed3D",
    "sam-med3d-cvpr": "PromptSegLib.predictors.sam_med3d.predictor:SamMed3DCvpr",
    "scribbleprompt": "PromptSegLib.predictors.scribbleprompt.predictor:ScribblePromptPredictor",
    "nninteractive": "PromptSegLib.predictors.nninteractive.predictor:NnInteractive",
    "nninteractive-server": "PromptSegLib.predictors.nninteractive.server:NnInteractiveServer",
    "sat-nano": "PromptSegLib.predictors.sat.predictor:SatNano",
    "sat-pro": "PromptSegLib.predictors.sat.predictor:SatPro",
    "stu-net-s": "PromptSegLib.predictors.stu_net.predictor:StuNetS",
    "stu-net-b": "PromptSegLib.predictors.stu_net.predictor:StuNetB",
    "stu-net-l": "PromptSegLib.predictors.stu_net.predictor:StuNetL",
    "stu-net-h": "PromptSegLib.predictors.stu_net.predictor:StuNetH",
    "uniseg": "PromptSegLib.predictors.uniseg.predictor:UniSegPredictor",
    "autopet-2022": "PromptSegLib.predictors.autopet.predictor:AutoPet2022",
    "vista3d": "PromptSegLib.predictors.vista3d.predictor:Vista3d",
}

# Other names for them.
_ALIASES: dict[str, str] = {}


def predictor_names() -> tuple[str, ...]:
    """Return the names of all predictors, "default" first."""
    return tuple(dict.fromkeys((*_ALIASES, *_PREDICTORS)))


def capabilities_of(name: str) -> Capabilities:
    """Return what the predictor `name` can do. Raises UnknownPredictorError."""
    return _class_of(name).capabilities


def create_predictor(name: str, device: str = "auto", **options: Any) -> Predictor:
    """Return a new predictor `name`, or of a class elsewhere, given as "package.module:Class".

    device: see `PromptSegLib.predictors.devices`; a predictor that knows the CPU alone runs there, whatever is asked for, and
    each prediction says where it was made. options: what else its class is made with, such as the `server` of
    "nninteractive-server".

    Raises UnknownPredictorError, WeightsError, PredictionError when `device` is no device's name or the predictor
    has no such option, and ConsentError when it would send the image away.
    """
    check_device_name(device)
    make: Callable[..., Predictor] = _class_of(name)
    if unknown := [option for option in options if option not in inspect.signature(make).parameters]:
        raise PredictionError(f"expected options that {name!r} has, got {', '.join(unknown)}: it has no such option")
    return make(device=device, **options) if takes_device(make) else make(**options)


def takes_device(make: Callable[..., Predictor]) -> bool:
    """Tell whether a predictor's class can be told where to run."""
    return "device" in inspect.signature(make).parameters


def check_takes(capabilities: Capabilities, prompt: Prompt) -> None:
    """Raise UnsupportedPromptError, naming the predictors that take it, when `prompt` is not among its prompts.

    Raises PromptError for a class that the predictor does not know, see `class_named`.
    """
    if capabilities.takes(prompt):
        if isinstance(prompt, ClassPrompt):
            class_named(capabilities, prompt.name)
        return
    takers = [name for name in _PREDICTORS if capabilities_of(name).takes(prompt)]
    others = f"; {', '.join(takers)} would" if takers else "; no predictor here does"
    raise UnsupportedPromptError(
        f"expected {', '.join(sorted(capabilities.prompts))} for {capabilities.name!r}, got {feature_of(prompt)}: "
        f"it does not take that{others}"
    )


def target_named(capabilities: Capabilities, prompt: ClassPrompt | TextPrompt) -> str:
    """Return what the target is called that a name asks for. Raises PromptError for a class that is not known."""
    return prompt.text if isinstance(prompt, TextPrompt) else class_named(capabilities, prompt.name)


def class_named(capabilities: Capabilities, name: str) -> str:
    """Return what the predictor calls the structure `name`. Raises PromptError, with the nearest, if it has none."""
    return name_among(name, capabilities.classes, capabilities.name) if capabilities.classes else name


def classes_of_task(capabilities: Capabilities, task: str) -> tuple[str, ...]:
    """Return the structures that a task of the predictor finds together.

    Raises PromptError, with the nearest, when it has no such task.
    """
    by_name = {name.casefold(): classes for name, classes in capabilities.tasks.items()}
    if (classes := by_name.get(" ".join(task.split()).casefold())) is not None:
        return classes
    if not by_name:
        raise PromptError(f"expected a predictor with tasks, got {capabilities.name!r}: it has none")
    near = difflib.get_close_matches(task.casefold(), by_name, n=3, cutoff=0.4)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise PromptError(f"expected one of the tasks {', '.join(capabilities.tasks)}, got {task!r}{hint}")


@cache
def _class_of(name: str) -> type[Predictor]:
    if ":" in name:
        try:
            return _imported(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UnknownPredictorError(f"expected a predictor as module:Class, got {name!r}: {error}") from error
    location = _PREDICTORS.get(_ALIASES.get(name, name))
    if location is None:
        near = difflib.get_close_matches(name, predictor_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownPredictorError(f"expected one of {', '.join(predictor_names())}, got {name!r}{hint}")
    return _imported(location)


def _imported(location: str) -> type[Predictor]:
    module, attribute = location.split(":")
    found: type[Predictor] = getattr(importlib.import_module(module), attribute)
    return found
