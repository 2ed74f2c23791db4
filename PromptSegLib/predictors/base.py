"""The seam between a session and the systems behind it: what a predictor is asked, and what it answers.

A predictor keeps no history: everything it may use about a target comes in a `TargetState`, and everything that it
wants to see again goes out in `Prediction.feedback`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from PromptSegLib.bitmask import BitMask, Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.certainty import Certainty
from PromptSegLib.prompts import Box, Prompt
from PromptSegLib.span import Span
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image
from PromptSegLib.weights.catalogue import load_catalogue

PROMPT_FEATURES = (
    "point+",
    "point-",
    "box2d+",
    "box2d-",
    "box3d+",
    "box3d-",
    "scribble+",
    "scribble-",
    "lasso+",
    "lasso-",
    "mask",
    "class",
    "text",
)


def feature_of(prompt: Prompt) -> str:
    """Return which of `PROMPT_FEATURES` a predictor must have to take `prompt`."""
    kind = prompt.kind
    if isinstance(prompt, Box):
        kind += "2d" if prompt.is_planar else "3d"
    return kind + prompt.sign


@dataclass(frozen=True)
class Capabilities:
    """What a predictor can do, and under which terms; known without loading it.

    name: what `create_predictor` and the command line call it. title, summary: what people read.
    dimensions: {2}, {3} or both. prompts: out of `PROMPT_FEATURES`.
    channels: names of the channels it needs; empty when any single one will do, or it depends. channels_of: those
    that a class needs, where classes differ.
    classes: names it knows. tasks: names of those that are asked for together, by what they are called together.
    weights: entries of the weights catalogue that it needs.
    devices: where it can run, best first.
    corrects: whether a click on a mask that came from elsewhere changes only what it is about, by the predictor's own
    way. Of the answers of others, what does not hang together with the click is left out, see
    `PromptSegLib.predictors.locality`.
    """

    name: str
    title: str
    summary: str
    dimensions: frozenset[int]
    prompts: frozenset[str]
    code_license: str
    weights_license: str = ""
    weights: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    channels_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    devices: tuple[str, ...] = ("cpu",)
    citation: str = ""
    experimental: bool = False
    corrects: bool = False

    def __post_init__(self) -> None:
        if unknown := self.prompts - set(PROMPT_FEATURES):
            raise ValueError(f"expected prompts out of {', '.join(PROMPT_FEATURES)}, got {', '.join(sorted(unknown))}")

    @classmethod
    def published(cls, *weights: str, name: str = "", **others: Any) -> Capabilities:
        """Return those of a predictor with published weights: the catalogue tells its licenses and what to cite.

        weights: entries of the catalogue, the main one first. name: the main one's, when it is left out. others: the
        other fields.
        """
        entry = load_catalogue()[weights[0]]
        return cls(
            name=name or weights[0],
            weights=weights,
            code_license=entry.code_license,
            weights_license=entry.weights_license,
            citation=entry.citation,
            **others,
        )

    def takes(self, prompt: Prompt) -> bool:
        return feature_of(prompt) in self.prompts

    @property
    def takes_names(self) -> bool:
        """Whether it finds a structure by its name."""
        return not self.prompts.isdisjoint(("class", "text"))


@dataclass(frozen=True, eq=False)
class TargetState:
    """All that is known about one target when a prediction starts.

    prompts: in the order they were given; without any, `view` is just to be encoded ahead. mask: what is there now,
    None when nothing is; a snapshot, read only. feedback: what this predictor returned with exactly that mask, else
    None. window: intensities that matter, None when nobody said. view: the view the newest prompt came from, None
    outside of one. views: those of earlier prompts, as far as they came from one. span: how far to carry the mask
    from the slices prompted to the others, None for not at all; see `predictors.slices.propagation`. others: prompts
    of the other targets that are to be answered in the same run; empty but for predictors of names. mask_is_given:
    whether the mask, or some of it, came from elsewhere (a file, a hand, another predictor) and was not drawn by this
    predictor for these prompts: the newest prompt then corrects it. redraw: whether the user wants the whole drawn anew
    all the same.
    """

    target: str
    prompts: tuple[Prompt, ...]
    mask: BitMask | None = None
    feedback: Any = None
    window: Window | None = None
    view: View | None = None
    views: Mapping[Prompt, View] = field(default_factory=dict)
    span: Span | None = None
    others: Mapping[str, tuple[Prompt, ...]] = field(default_factory=dict)
    mask_is_given: bool = False
    redraw: bool = False

    @property
    def asked(self) -> dict[str, tuple[Prompt, ...]]:
        """The prompts of all targets to be answered, by target."""
        return {self.target: self.prompts, **self.others}


@dataclass(frozen=True, eq=False)
class Prediction:
    """An answer: a patch for each target it speaks of.

    score: the quality that the predictor expects, 0 to 1, None when it does not say. timings_ms: by stage.
    note: what the user should know, such as a fall-back to the CPU. feedback: handed back with the next state.
    device: where it was made, such as "cuda:0"; may be left empty by predictors that know one device only.
    replaces: whether a patch is all there is of its target: what its mask had outside of it goes.
    certainty: how sure it is of the voxels in and around its first patch, None when it does not say.
    """

    patches: Mapping[str, Patch]
    score: float | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    feedback: Any = None
    device: str = ""
    replaces: bool = False
    certainty: Certainty | None = None


class Predictor(Protocol):
    """A system that turns prompts into masks. Methods run on the executor's thread, one call at a time."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do: the same as its class's, or its own where a class serves several models."""
        ...

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> Any:
        """Do once for `image` what need not be done again for each prompt, and return it.

        Raises:
            Cancelled: somebody asked for that.
            VolumeError: the image does not suit the system.
            WeightsError: they are missing.
        """
        ...

    def predict(
        self, encoding: Any, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer `state`: one prediction, or several as they come, each to be laid over the one before.

        Raises:
            Cancelled: somebody asked for that.
        """
        ...


@runtime_checkable
class EncodesAhead(Protocol):
    """A predictor that can use idle time to make the next prompt's answer come sooner."""

    def encode_ahead(
        self, encoding: Any, view: View, window: Window | None, cancel: CancelToken, progress: Progress
    ) -> None:
        """Encode what is seen in `view` and beside it, the nearest first.

        Raises:
            Cancelled: soon after somebody asked for it: a prompt waits for that.
        """
        ...
