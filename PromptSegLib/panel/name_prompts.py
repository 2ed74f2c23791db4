"""Names that somebody chose or typed, as prompts."""

from __future__ import annotations

from collections.abc import Iterable

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.naming import class_named
from PromptSegLib.prompts import ClassPrompt, TextPrompt


def name_prompts(capabilities: Capabilities, names: Iterable[str]) -> list[ClassPrompt | TextPrompt]:
    """Return `names` as classes where the predictor knows them, otherwise as free text where it takes that.

    Raises:
        PromptError: it does not know one; says which names are the nearest.
    """
    return [_name_prompt(capabilities, name) for name in names]


def _name_prompt(capabilities: Capabilities, name: str) -> ClassPrompt | TextPrompt:
    takes_text = "text" in capabilities.prompts
    if "class" not in capabilities.prompts:
        return TextPrompt(name)
    try:
        return ClassPrompt(class_named(capabilities, name))
    except PromptError:
        if not takes_text:
            raise
        return TextPrompt(name)
