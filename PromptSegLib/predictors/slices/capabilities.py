"""What published models of slices can do: by default clicks, boxes and masks in 2D, on each device."""

from __future__ import annotations

from PromptSegLib.predictors.base import Capabilities

_PROMPTS = frozenset({"point+", "point-", "box2d+", "mask"})


def on_slices(
    weights: str, title: str, summary: str, *, prompts: frozenset[str] = _PROMPTS, name: str = ""
) -> Capabilities:
    """Return what a model of slices with the weights `weights` can do; see `Capabilities.published`."""
    return Capabilities.published(
        weights,
        name=name,
        title=title,
        summary=summary,
        dimensions=frozenset({2}),
        prompts=prompts,
        devices=("cuda", "mps", "cpu"),
    )
