"""Which one? The models for an image, the prompt in hand and this computer: by what one gives, those that suit first.

The rules are data, `advice.toml`; what a model takes at all follows from its capabilities.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PromptSegLib.panel.image_kind import ImageKind
from PromptSegLib.predictors import registry
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.devices import cuda_devices, devices_here

RULES_PATH = Path(__file__).with_name("advice.toml")

PROMPTS = {
    "click": frozenset({"point+"}),
    "box": frozenset({"box2d+", "box3d+"}),
    "box2d": frozenset({"box2d+"}),
    "box3d": frozenset({"box3d+"}),
    "scribble": frozenset({"scribble+"}),
    "lasso": frozenset({"lasso+"}),
    "name": frozenset({"class"}),
    "text": frozenset({"text"}),
}
"""What one may have in hand, and which prompts of a predictor are that."""

GROUPS = {"clicks": "Clicks, boxes, scribbles", "names": "Names", "text": "Free text", "own": "Your own"}
"""The groups by what one gives, and their titles."""

_RULES_OF = {"box2d": "box", "box3d": "box", "lasso": "scribble"}
"""Which prompt's rules hold for those that have none of their own."""

_PLURAL = {
    "click": "clicks",
    "box": "boxes",
    "box2d": "boxes on a slice",
    "box3d": "boxes in 3D",
    "scribble": "scribbles",
    "lasso": "lassos",
    "name": "names",
    "text": "names",
}

_GROUPS_FOR = {"name": ("names", "text"), "text": ("text", "names")}
_LAST = 10_000


@dataclass(frozen=True)
class Rule:
    """What is known of `models` where the rest fits; None, or nothing, fits all. See `advice.toml`."""

    models: tuple[str, ...]
    source: str
    because: str = ""
    against: str = ""
    images: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    is_volume: bool | None = None
    is_colour: bool | None = None
    has_gpu: bool | None = None
    spacing_mm: tuple[float, float] | None = None
    scores: Mapping[str, str] = field(default_factory=dict, hash=False)

    def fits(self, kind: ImageKind, prompt: str, has_gpu: bool) -> bool:
        images = self.images or tuple(self.scores)
        return (
            (not images or kind.kind in images)
            and (not self.prompts or prompt in self.prompts)
            and self.is_volume in (None, kind.is_volume)
            and self.is_colour in (None, kind.is_colour)
            and self.has_gpu in (None, has_gpu)
            and (self.spacing_mm is None or self._is_about(kind.spacing_mm, self.spacing_mm))
        )

    @staticmethod
    def _is_about(edges_mm: tuple[float, float], wanted_mm: tuple[float, float]) -> bool:
        return wanted_mm[0] <= edges_mm[0] and edges_mm[1] <= wanted_mm[1]


@dataclass(frozen=True)
class Advice:
    """What to say of one model.

    because: why, or why not; nothing where nobody measured it. suits: whether it suits image, prompt and computer.
    lacks: what has to be fetched or installed first, nothing when it can be used at once.
    """

    name: str
    title: str
    because: str
    suits: bool
    lacks: str = ""

    @property
    def line(self) -> str:
        """The model and why, in one line."""
        missing = f" ({self.lacks})" if self.lacks else ""
        return f"{self.title}{missing}{': ' if self.because else ''}{self.because}"


@dataclass(frozen=True)
class Group:
    """Models by what one gives: `key` out of `GROUPS`.

    advised: the best that suits and can be used at once; without such a one the best that suits; None when none does.
    better: what would suit better, once what it lacks is here; None when nothing would. others: the rest, those that
    suit first.
    """

    key: str
    advised: Advice | None
    better: Advice | None
    others: tuple[Advice, ...]

    @property
    def title(self) -> str:
        return GROUPS[self.key]


def advise(
    kind: ImageKind,
    prompt: str = "",
    *,
    has_gpu: bool,
    lacks: Callable[[str], str] = lambda name: "",
    predictors: Mapping[str, Capabilities] | None = None,
) -> list[Group]:
    """Return the groups of models for an image, that of the prompt in hand first; those without models are left out.

    Args:
        kind: what the image is.
        prompt: what is in hand, out of `PROMPTS`; nothing for not yet chosen.
        has_gpu: whether there is one to run on.
        lacks: what a model lacks to be used at once, by its name.
        predictors: those there are, by name; all by default.
    """
    found = registry.usable_predictors() if predictors is None else predictors
    members: dict[str, list[str]] = {key: [] for key in GROUPS}
    for name, capabilities in found.items():
        for key in _groups_of(name, capabilities):
            members[key].append(name)
    order = sorted(members, key=lambda key: _rank_of_group(key, prompt))
    groups = []
    for key in order:
        own_prompt = prompt if prompt and _is_for(key, prompt) else _USUAL[key]
        judged = [_judged(name, found[name], kind, own_prompt, has_gpu, lacks(name)) for name in members[key]]
        if judged:
            groups.append(_group(key, [advice for _, advice in sorted(judged, key=lambda one: one[0])]))
    return groups


def best(groups: Iterable[Group], prompt: str = "") -> Advice | None:
    """Return the one model to take, of the groups that the prompt in hand speaks to; None when none suits."""
    for group in groups:
        if _is_for(group.key, prompt) and group.advised is not None:
            return group.advised
    return None


def has_gpu(device: str) -> bool:
    """Tell whether `device` is a GPU; "auto" is one where this computer has one, with torch or still without it."""
    if device != "auto":
        return device.startswith(("cuda", "mps"))
    return len(devices_here()) > len(("auto", "cpu")) or cuda_devices() > 0


@cache
def rules(path: Path = RULES_PATH) -> tuple[Rule, ...]:
    """Return the rules, in their order."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(_rule(entry) for entry in table["rule"])


def _rule(entry: Mapping[str, Any]) -> Rule:
    plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in entry.items()}
    return Rule(**{**plain, "scores": MappingProxyType(entry.get("scores", {}))})


_USUAL = {"clicks": "click", "names": "name", "text": "text", "own": ""}
"""What a group is asked with when something else, or nothing, is in hand."""


def _is_for(key: str, prompt: str) -> bool:
    return not prompt or key == "own" or key in _GROUPS_FOR.get(prompt, ("clicks",))


def _rank_of_group(key: str, prompt: str) -> int:
    first = _GROUPS_FOR.get(prompt, ("clicks",) if prompt else ())
    return first.index(key) if key in first else len(first) + list(GROUPS).index(key)


def _groups_of(name: str, capabilities: Capabilities) -> list[str]:
    if name not in registry.BUILT_IN:
        return ["own"]
    keys = ["clicks"] if "point-" in capabilities.prompts or not capabilities.takes_names else []
    if "text" in capabilities.prompts:
        return [*keys, "text"]
    return [*keys, "names"] if "class" in capabilities.prompts else keys


def _judged(
    name: str, capabilities: Capabilities, kind: ImageKind, prompt: str, has_gpu: bool, lacks: str
) -> tuple[tuple[bool, int, str], Advice]:
    """Return where a model stands in its group, and what to say of it."""
    against, because, rank = _cannot(capabilities, kind, prompt), "", _LAST
    if not against:
        for place, rule in enumerate(rules()):
            if name in rule.models and rule.fits(kind, _RULES_OF.get(prompt, prompt), has_gpu):
                against, because = rule.against, rule.because.format(score=rule.scores.get(kind.kind, ""))
                rank = place * 100 + rule.models.index(name)
                break
    advice = Advice(name, capabilities.title, against or because, not against, lacks)
    return (bool(against), rank, name), advice


def _cannot(capabilities: Capabilities, kind: ImageKind, prompt: str) -> str:
    """Return why a model cannot be asked this at all, by what it says of itself; nothing when it can."""
    if prompt and PROMPTS[prompt].isdisjoint(capabilities.prompts) and not _takes_words(capabilities, prompt):
        return f"takes no {_PLURAL[prompt]}"
    if not kind.is_volume and 2 not in capabilities.dimensions:
        return "wants a volume, not one slice"
    if len(capabilities.channels) > 1 and not set(capabilities.channels) <= set(kind.channels):
        return f"wants {' and '.join(channel.upper() for channel in capabilities.channels)} together"
    return ""


def _takes_words(capabilities: Capabilities, prompt: str) -> bool:
    return prompt in ("name", "text") and capabilities.takes_names


def _group(key: str, judged: list[Advice]) -> Group:
    suiting = [advice for advice in judged if advice.suits]
    usable = [advice for advice in suiting if not advice.lacks]
    advised = next(iter(usable or suiting), None)
    better = suiting[0] if suiting and suiting[0] is not advised else None
    rest = [advice for advice in judged if advice is not advised and advice is not better]
    return Group(key, advised, better, tuple(sorted(rest, key=lambda advice: not advice.suits)))
