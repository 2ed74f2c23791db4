"""Structures that are asked for by name, each for a target of its own."""

from __future__ import annotations

from collections.abc import Sequence

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.naming import target_named
from PromptSegLib.predictors.registry import check_takes
from PromptSegLib.prompts import ClassPrompt, TextPrompt
from PromptSegLib.volume import Image


def asked_by_name(
    prompts: Sequence[ClassPrompt | TextPrompt], capabilities: Capabilities, image: Image
) -> dict[str, ClassPrompt | TextPrompt]:
    """Return `prompts` by the name that their target gets.

    Raises:
        PromptError: a name is not known to the predictor or is there twice, or there is none.
        UnsupportedPromptError: it takes no names.
        VolumeError: a channel is missing that one of them needs.
    """
    asked: dict[str, ClassPrompt | TextPrompt] = {}
    for prompt in prompts:
        check_takes(capabilities, prompt)
        name = target_named(capabilities, prompt)
        if (channels := capabilities.channels_of.get(name)) is not None:
            image.volumes(channels, f"{capabilities.name!r} to find {name}")
        if name in asked:
            raise PromptError(f"expected each structure once, got {name!r} twice")
        asked[name] = prompt if isinstance(prompt, TextPrompt) else ClassPrompt(name)
    if not asked:
        raise PromptError("expected at least one structure's name, got none")
    return asked
