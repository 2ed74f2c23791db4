"""`promptseg models`: which predictors there are, what they take, under which terms, and which one to take."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from PromptSegLib.command.arguments import Parser
from PromptSegLib.command.console import print_json, print_table
from PromptSegLib.command.which_model import add_options, is_asked, print_advice
from PromptSegLib.errors import UnknownPredictorError
from PromptSegLib.predictors.base import PROMPT_FEATURES, Capabilities
from PromptSegLib.predictors.registry import capabilities_of, own_models, predictor_names
from PromptSegLib.structures.names import find_structure, search
from PromptSegLib.weights.instructions import megabytes
from PromptSegLib.weights.store import WeightsStore


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("models", help="list the models: prompts, weights, licenses; or a model's classes")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="list the structures that it knows by name")
    parser.add_argument("--search", default="", metavar="WORDS", help="with MODEL: those that these words may mean")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if is_asked(arguments):
        return print_advice(arguments)
    mine = arguments.model is not None and arguments.model in own_models()
    if mine and not arguments.json and not arguments.search:
        print(own_models().get(arguments.model).card)
        return 0
    if arguments.model is not None:
        return _list_classes(capabilities_of(arguments.model), arguments.search, arguments.json)
    records, broken = [], []
    for name in predictor_names():
        try:
            records.append(_record(name))
        except UnknownPredictorError as error:
            broken.append({"name": name, "broken": str(error)})
    if arguments.json:
        print_json([*records, *broken])
        return 0
    head = ("NAME", "DIMENSIONS", "PROMPTS", "WEIGHTS", "LICENSE OF CODE", "OF WEIGHTS")
    print_table(head, [_row(record) for record in records])
    for record in broken:
        print(f"{record['name']} cannot be used: {record['broken']}")
    return 0


def _list_classes(capabilities: Capabilities, words: str, as_json: bool) -> int:
    """Print the structures that a model knows by name, and which task each belongs to."""
    tasks = {name: task for task, names in capabilities.tasks.items() for name in names}
    records = [_class_record(name, tasks.get(name, "")) for name in search(words, capabilities.classes)]
    if as_json:
        print_json(records)
    elif not records:
        what = f"that {words!r} may mean" if words and capabilities.classes else "with names of its own"
        print(f"{capabilities.name} knows no structures {what}")
    else:
        keys = [key for key in records[0] if any(record[key] for record in records)]
        print_table([key.upper() for key in keys], [tuple(record[key] for key in keys) for record in records])
    return 0


def _class_record(name: str, task: str) -> dict[str, str]:
    structure = find_structure(name)
    return {
        "name": name,
        "task": task,
        "totalsegmentator": structure.totalsegmentator if structure else "",
        "snomed": f"{structure.code} {structure.meaning}".strip() if structure else "",
        "synonyms": ", ".join(structure.synonyms) if structure else "",
    }


def _record(name: str) -> dict[str, Any]:
    capabilities = capabilities_of(name)
    return {
        "name": name,
        "is": capabilities.name,
        "title": capabilities.title,
        "summary": capabilities.summary,
        "dimensions": sorted(capabilities.dimensions),
        "prompts": [feature for feature in PROMPT_FEATURES if feature in capabilities.prompts],
        "classes": len(capabilities.classes),
        "channels": list(capabilities.channels),
        "weights": _weights(capabilities),
        "devices": list(capabilities.devices),
        "code_license": capabilities.code_license,
        "weights_license": capabilities.weights_license,
        "citation": capabilities.citation,
        "experimental": capabilities.experimental,
    }


def _weights(capabilities: Capabilities) -> list[dict[str, Any]]:
    """What is known of each set of weights: "ready", "incomplete" or "missing", and its size in bytes or None."""
    store = WeightsStore()
    return [
        {"name": name, "state": store.status(name).state, "bytes": store.checkpoint(name).likely_bytes}
        for name in capabilities.weights
    ]


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    name = record["name"] if record["name"] == record["is"] else f"{record['name']} ({record['is']})"
    return (
        name + (" *" if record["experimental"] else ""),
        ", ".join(f"{dimension}D" for dimension in record["dimensions"]),
        _short(record["prompts"]),
        ", ".join(map(_described, record["weights"])) or "none needed",
        record["code_license"],
        record["weights_license"] or "-",
    )


def _described(weight: dict[str, Any]) -> str:
    size = megabytes(weight["bytes"]) if weight["bytes"] else "size unknown"
    return f"{weight['name']} {weight['state']}, {size}"


def _short(features: Iterable[str]) -> str:
    """Name prompts that are taken with both signs once: point+, point- become point±."""
    signs: dict[str, str] = {}
    for feature in features:
        kind = feature.rstrip("+-")
        signs[kind] = signs.get(kind, "") + feature[len(kind) :]
    return ", ".join(kind + sign.replace("+-", "±") for kind, sign in signs.items())
