"""What the panel writes: prompts as rows of a list, answers, models."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from PromptSegLib.errors import PredictionError, PromptError, UnsupportedPromptError
from PromptSegLib.geometry import FloatArray, Grid
from PromptSegLib.history import Answer
from PromptSegLib.predictors.base import Capabilities, feature_of
from PromptSegLib.prompts import Box, ClassPrompt, Prompt, TextPrompt

_TITLES = {"point": "Point", "box2d": "Box", "box3d": "3D box", "scribble": "Scribble", "lasso": "Lasso"}


_FLAT = 0.5  # voxels: what is no thicker lies in one slice
_ADVICE: dict[type[Exception], str] = {
    UnsupportedPromptError: "Take another tool, or another model.",
    PromptError: "The segment is as before.",
    PredictionError: "The segment is as before. Try once more, or take another model; details are in the log.",
}


class PromptRow(NamedTuple):
    """What a prompt is, its sign, the slice that it is on, and its middle in RAS, mm.

    slice: its number along k; with the axis' letter for a prompt that lies in a slice across i or j.
    """

    title: str
    sign: str
    slice: str
    position: str


def prompt_row(prompt: Prompt, grid: Grid) -> PromptRow:
    feature = feature_of(prompt)
    kind, sign = feature.rstrip("+-"), prompt.sign.replace("-", "−")  # noqa: RUF001 - a minus as wide as the plus
    title = _TITLES.get(kind, kind.capitalize())
    if isinstance(prompt, ClassPrompt | TextPrompt):
        return PromptRow(prompt.name if isinstance(prompt, ClassPrompt) else prompt.text, "", "", "")
    middle = middle_ras(prompt)
    if middle is None:
        return PromptRow(title, sign, "", "")
    return PromptRow(title, sign, _slice_text(prompt, grid), ", ".join(f"{v:.1f}" for v in middle))


def _slice_text(prompt: Prompt, grid: Grid) -> str:
    positions_ijk = grid.to_ijk(_positions_ras(prompt))
    flat = [axis for axis in range(3) if np.ptp(positions_ijk[:, axis]) < _FLAT]
    axis = flat[0] if len(flat) == 1 else 2
    number = f"{round(positions_ijk[:, axis].mean())}"
    return number if axis == 2 else f"{'ijk'[axis]} {number}"


def _positions_ras(prompt: Prompt) -> FloatArray:
    return prompt.corners_ras() if isinstance(prompt, Box) else prompt.positions_ras()


def middle_ras(prompt: Prompt) -> FloatArray | None:
    """Return the middle of `prompt` : (3,), mm, RAS; None for one without a place."""
    positions = _positions_ras(prompt)
    return positions.mean(axis=0) if len(positions) else None


def error_text(error: Exception) -> str:
    """Return what went wrong, and what to do about it; of what a predictor raised, the first line."""
    text = str(error)
    if isinstance(error, PredictionError):
        text = text.split("\n", 1)[0]
    advice = next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), "")
    return (
        f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) or not advice else '.'} {advice}".rstrip()
    )


def answer_text(answer: Answer) -> str:
    """Return expected quality, changed voxels, those far from a correcting prompt, the time in all and the device."""
    device = f" on {answer.device}" if answer.device else ""
    far = f", {answer.far_voxels} of them far from the prompt" if answer.far_voxels else ""
    parts = [f"{answer.changed_voxels} voxels changed{far}", f"{answer.timings_ms.get('total', 0):.0f} ms{device}"]
    if answer.score is not None:
        parts.insert(0, f"Expected quality {answer.score:.2f}")
    return ", ".join(parts) + (f". {answer.note}" if answer.note else ".")


def shortened(text: str, length: int) -> str:
    """Return `text`, with its end left out where it has more than `length` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def timings_text(answer: Answer) -> str:
    """Return the milliseconds of a prediction by stage, in one line."""
    stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in answer.timings_ms.items())
    return f"{answer.predictor}: {stages} ms"


def model_text(capabilities: Capabilities) -> str:
    """Return what a model takes, where it runs, and under which licenses."""
    kinds = []
    for feature in sorted(capabilities.prompts):
        title = _TITLES.get(feature.rstrip("+-"), feature.rstrip("+-"))
        kind = title[:1].lower() + title[1:]
        if kind not in kinds:
            kinds.append(kind)
    dimensions = " and ".join(f"{n}D" for n in sorted(capabilities.dimensions))
    licenses = [f"code {capabilities.code_license}"]
    if capabilities.weights_license:
        licenses.append(f"weights {capabilities.weights_license}")
    lines = [
        f"{capabilities.summary[:1].upper()}{capabilities.summary[1:]}. {dimensions}.",
        f"Takes: {', '.join(kinds)}. Runs on: {', '.join(capabilities.devices)}.",
        f"License: {', '.join(licenses)}.",
    ]
    if capabilities.experimental:
        lines.append("Experimental.")
    return " ".join(lines)
