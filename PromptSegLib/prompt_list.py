"""Prompts as rows of a list: what, where."""

from __future__ import annotations

from typing import NamedTuple

from PromptSegLib.geometry import FloatArray, Grid
from PromptSegLib.predictors.base import feature_of
from PromptSegLib.prompts import Box, ClassPrompt, Prompt, TextPrompt

_TITLES = {"point": "Point", "box2d": "Box", "box3d": "3D box", "scribble": "Scribble", "lasso": "Lasso"}


class PromptRow(NamedTuple):
    """What a prompt is, its slice (k), and its middle in RAS, mm."""

    title: str
    slice: str
    position: str


def prompt_row(prompt: Prompt, grid: Grid) -> PromptRow:
    feature = feature_of(prompt)
    kind, sign = feature.rstrip("+-"), prompt.sign.replace("-", "−")  # noqa: RUF001 - a minus as wide as the plus
    title = f"{_TITLES.get(kind, kind.capitalize())} {sign}".rstrip()
    if isinstance(prompt, ClassPrompt | TextPrompt):
        return PromptRow(prompt.name if isinstance(prompt, ClassPrompt) else prompt.text, "", "")
    middle = middle_ras(prompt)
    if middle is None:
        return PromptRow(title, "", "")
    return PromptRow(title, f"{round(grid.to_ijk(middle)[2])}", ", ".join(f"{v:.1f}" for v in middle))


def middle_ras(prompt: Prompt) -> FloatArray | None:
    """Return the middle of `prompt` : (3,), mm, RAS; None for one without a place."""
    positions = prompt.positions_ras()
    if isinstance(prompt, Box):
        positions = prompt.corners_ras()
    return positions.mean(axis=0) if len(positions) else None
