"""What the structures are called that a predictor is asked for."""

from __future__ import annotations

import difflib

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.prompts import ClassPrompt, TextPrompt
from PromptSegLib.structures.names import name_among


def target_named(capabilities: Capabilities, prompt: ClassPrompt | TextPrompt) -> str:
    """Return what the target is called that a name asks for.

    Raises:
        PromptError: for a class that is not known.
    """
    return prompt.text if isinstance(prompt, TextPrompt) else class_named(capabilities, prompt.name)


def class_named(capabilities: Capabilities, name: str) -> str:
    """Return what the predictor calls the structure `name`.

    Raises:
        PromptError: it has none; says which is the nearest.
    """
    return name_among(name, capabilities.classes, capabilities.name) if capabilities.classes else name


def classes_of_task(capabilities: Capabilities, task: str) -> tuple[str, ...]:
    """Return the structures that a task of the predictor finds together.

    Raises:
        PromptError: it has no such task; says which are the nearest.
    """
    by_name = {name.casefold(): classes for name, classes in capabilities.tasks.items()}
    if (classes := by_name.get(" ".join(task.split()).casefold())) is not None:
        return classes
    if not by_name:
        raise PromptError(f"expected a predictor with tasks, got {capabilities.name!r}: it has none")
    near = difflib.get_close_matches(task.casefold(), by_name, n=3, cutoff=0.4)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise PromptError(f"expected one of the tasks {', '.join(capabilities.tasks)}, got {task!r}{hint}")
