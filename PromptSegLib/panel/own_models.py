"""The user's own models as the panel takes them in."""

from __future__ import annotations

from pathlib import Path

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.execution.background import Work
from PromptSegLib.predictors.registry import own_models, predictor_names

_INSIDE = {"plans.json": 1, "plans.pkl": 1, "torchscript.json": 1, "metadata.json": 2}


def is_own(name: str) -> bool:
    """Whether a model is one of the user's own."""
    return name in own_models()


def model_path(chosen: str) -> Path:
    """Return the folder that a file belongs to that says what a model is, or the file itself."""
    path = Path(chosen)
    for _ in range(_INSIDE.get(path.name, 0)):
        path = path.parent
    return path


def adding(path: Path, agreed: bool) -> Work:
    """Return the work of taking in a model; its result is the model's name."""

    def work(progress: Progress, cancel: CancelToken) -> str:
        progress(0.0, f"taking in {path.name}")
        return own_models().add(path, taken=predictor_names(), agreed=agreed, cancel=cancel).name

    return work
