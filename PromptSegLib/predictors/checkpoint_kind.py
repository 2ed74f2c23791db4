"""A checkpoint that the user fine-tuned of a known system's network, as a kind of model that users add."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.packages import is_installed
from PromptSegLib.predictors.base import Capabilities, Predictor
from PromptSegLib.predictors.own_models import Found
from PromptSegLib.predictors.registry import BUILT_IN, Entry, create_predictor, entry_of
from PromptSegLib.predictors.weighted import WeightedPredictor


def recognises(path: Path) -> bool:
    """Never: which system a checkpoint is of has to be said."""
    return False


def find(path: Path, options: Mapping[str, Any]) -> Found:
    """Check that the checkpoint is one of the system `options["like"]`: its keys and shapes."""
    entry = _entry(options)
    checkpoint = _file(path)
    if is_installed("torch"):
        made = create_predictor(str(options["like"]), "cpu", checkpoint=checkpoint)
        if isinstance(made, WeightedPredictor):
            made.published()
    can = entry.capabilities
    capabilities = replace(
        can, title=f"{checkpoint.stem} ({can.title})"[:60], weights=(), weights_license="none stated"
    )
    return Found(capabilities, checkpoint.parent, [checkpoint], {"like": str(options["like"])})


def make(path: Path, capabilities: Capabilities, options: Mapping[str, Any]) -> Any:
    entry, checkpoint = _entry(options), _file(path)

    def made(**chosen: Any) -> Predictor:
        predictor: Any = entry.make(checkpoint=checkpoint, **chosen)
        predictor.capabilities = capabilities
        found: Predictor = predictor
        return found

    others = [one for name, one in entry.options.items() if name not in ("checkpoint", "network", "weights")]
    made.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in others]
    )
    return made


def _entry(options: Mapping[str, Any]) -> Entry:
    like = options.get("like")
    if like not in BUILT_IN or "checkpoint" not in (entry := entry_of(str(like))).options:
        raise WeightsError(f"expected --like a model with one file of weights, such as sam-med2d, got {like!r}")
    if not entry.capabilities.weights:
        raise WeightsError(f"expected --like a model with one file of weights, such as sam-med2d, got {like!r}")
    return entry


def _file(path: Path) -> Path:
    """The checkpoint: `path` itself, or the only file in it."""
    files = [path] if path.is_file() else [one for one in sorted(path.glob("*")) if one.is_file()]
    if len(files) != 1:
        raise WeightsError(f"expected one file of weights, got {path} with {len(files)}")
    return files[0]
