"""A TorchScript with its description, as a kind of model that users add: a program, run only if the user agreed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.fields import Fields
from PromptSegLib.predictors.names.label_names import structure_names
from PromptSegLib.predictors.names.name_predictor import PROMPTS
from PromptSegLib.predictors.names.plan import ClipAndStandardise, Plan, ZScore
from PromptSegLib.predictors.own_models import Found
from PromptSegLib.predictors.torchscript.predictor import TorchScript

DESCRIPTION = "torchscript.json"
_ENDINGS = (".pt", ".ts", ".pth", ".jit")


def recognises(path: Path) -> bool:
    return _folder(path) is not None


def find(path: Path, options: Mapping[str, Any]) -> Found:
    """Read the description; the network itself is a program, which is not looked into."""
    root = _folder(path)
    if root is None:
        raise WeightsError(f"expected {DESCRIPTION} beside a TorchScript in {path}, got none")
    fields = Fields.of_file(root / DESCRIPTION)
    network, plan = _read(root, fields)
    capabilities = Capabilities(
        name="own",
        title=fields.text("title")[:60],
        summary=fields.text("summary", "a TorchScript of your own"),
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        code_license=fields.text("license", "none stated"),
        weights_license=fields.text("license", "none stated"),
        channels=plan.channels if len(plan.channels) > 1 else (),
        classes=plan.classes,
        channels_of=dict.fromkeys(plan.classes, plan.channels),
        devices=("cuda", "mps", "cpu"),
    )
    return Found(capabilities, root, [root / DESCRIPTION, network], {}, f"the program in {network.name}")


def make(path: Path, capabilities: Capabilities, options: Mapping[str, Any]) -> Any:
    root = _folder(path)
    if root is None or not options.get("agreed"):
        raise WeightsError(f"expected a TorchScript in {path} that may run")
    network, plan = _read(root, Fields.of_file(root / DESCRIPTION))
    return partial(_made, network, plan, capabilities)


def _made(
    network: Path, plan: Plan, capabilities: Capabilities, /, *, device: str = "auto", step: float = 0.5
) -> TorchScript:
    return TorchScript(network, plan, capabilities, device=device, step=step)


def _folder(path: Path) -> Path | None:
    """The folder with the description: `path`, the one that it is in, or one just below."""
    inner = sorted(one for one in path.iterdir() if one.is_dir()) if path.is_dir() else []
    places = [path, *inner] if path.is_dir() else [path.parent] if path.suffix in (*_ENDINGS, ".json") else []
    return next((place for place in places if (place / DESCRIPTION).is_file()), None)


def _read(root: Path, fields: Fields) -> tuple[Path, Plan]:
    name = fields.text("file")
    network = root / name
    if "/" in name or "\\" in name or not network.is_file():
        raise WeightsError(f"{fields.where}: expected 'file' to be a file beside it, got {name!r}")
    channels, classes = _texts(fields, "channels"), _texts(fields, "classes")
    x, y, z = fields.numbers("spacing_mm", 3, low=1e-3, high=1e4)
    a, b, c = fields.whole_numbers("patch", 3, low=1, high=1024)
    rules = fields.table("intensities")
    normalise: Any = ZScore()
    if "low" in rules.entries:
        names = ("low", "high", "mean", "std")
        numbers = {key: rules.number(key) for key in names}
        normalise = ClipAndStandardise(**numbers)
    plan = Plan(channels, (normalise,) * len(channels), (z, y, x), (c, b, a), tuple(structure_names(classes)))
    return network, plan


def _texts(fields: Fields, key: str) -> tuple[str, ...]:
    values = fields.sequence(key)
    if not values or len(values) > 4096 or not all(isinstance(one, str) and one.strip() for one in values):
        raise WeightsError(f"{fields.where}: expected {key!r} to be names")
    return tuple(" ".join(one.split()) for one in values)
