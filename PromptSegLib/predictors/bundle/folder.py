"""A MONAI bundle's folder: its metadata, its configuration for inference, its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.io.one_line import one_line
from PromptSegLib.predictors.names.label_names import structure_names

_MOST_BYTES = 4 << 20
_ENDINGS = (".json", ".yaml", ".yml")
_DEPTH = 2
_MOST_OUTPUTS = 4096


@dataclass(frozen=True)
class BundleFolder:
    """What is in it.

    root: the bundle's own folder. metadata, entries: of metadata.json and of the configuration for inference.
    configuration: the latter's file. weights: the checkpoint. channels: names of the input's channels. outputs: names
    of the output's channels by number, without the background.
    """

    root: Path
    metadata: Mapping[str, Any]
    entries: Mapping[str, Any]
    configuration: Path
    weights: Path
    channels: tuple[str, ...]
    outputs: Mapping[int, str]

    @property
    def files(self) -> list[Path]:
        """All that belongs to it: what MONAI's own way of running it may want is among them."""
        # Of files downloaded into a cache the needed ones may be links; others could lead to what is private.
        needed = {self.root / "configs" / "metadata.json", self.configuration, self.weights}
        return [
            path
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
            and (path in needed or not path.is_symlink())
            and ".git" not in path.relative_to(self.root).parts
        ]

    def text(self, *keys: str) -> str:
        """Return the first of these entries of the metadata that is a text."""
        found = (self.metadata.get(key) for key in keys)
        return next(
            (" ".join(one_line(value).split())[:300] for value in found if isinstance(value, str) and value.strip()), ""
        )


def bundle_root(folder: Path) -> Path | None:
    """Return the bundle's folder at or just below `folder`, or None."""
    return next(_roots(folder, _DEPTH), None)


def _roots(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "configs" / "metadata.json").is_file():
        yield folder
    elif depth and folder.is_dir():
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.is_symlink():
                yield from _roots(inner, depth - 1)


def read_bundle(folder: Path) -> BundleFolder:
    """Read what there is to know before anything is made of it.

    Raises:
        WeightsError: it is damaged, or says what cannot be.
    """
    root = bundle_root(folder)
    if root is None:
        raise WeightsError(f"expected configs/metadata.json of a MONAI bundle in {folder}, got none")
    metadata = _table(root / "configs" / "metadata.json")
    found = [root / "configs" / f"inference{ending}" for ending in _ENDINGS]
    configuration = next((path for path in found if path.is_file()), None)
    if configuration is None:
        raise WeightsError(f"expected configs/inference.json in the bundle {root.name}, got none")
    channels, outputs = _formats(metadata)
    return BundleFolder(root, metadata, _table(configuration), configuration, _weights(root), channels, outputs)


def _table(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES >> 20} MB")
        table = json.loads(text) if path.suffix == ".json" else _yaml(text)
    except ImportError as error:
        raise WeightsError(f"reading {path.name} needs the package PyYAML") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise WeightsError(f"{path}: expected entries by name, got {type(table).__name__}")
    return table


def _yaml(text: bytes) -> Any:
    """Read YAML without merges: each can hold the one before ten times, and all of them are written out."""
    import yaml

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<":
                raise ValueError("expected entries without merges '<<'")
        return yaml.safe_load(text)
    # Of a value that is not of its tag, such as `!!bool x`, PyYAML says only that a lookup failed.
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it is damaged: {error}") from error


def _formats(metadata: Mapping[str, Any]) -> tuple[tuple[str, ...], Mapping[int, str]]:
    """The input's and the output's channels that the metadata names."""
    try:
        data = metadata["network_data_format"]
        inputs, outputs = data["inputs"], data["outputs"]
        image = inputs.get("image") or next(iter(inputs.values()))
        pred = outputs.get("pred") or next(iter(outputs.values()))
        count = int(image.get("num_channels", 1))
        named = image.get("channel_def") or {}
        channels = [str(named.get(str(n), f"image_{n}")) for n in range(count)]
        found = {int(number): one_line(str(name)) for number, name in (pred.get("channel_def") or {}).items()}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration) as error:
        raise WeightsError(f"metadata.json: expected network_data_format with inputs and outputs: {error}") from error
    if (
        not found
        or min(found) < 0
        or max(found) > _MOST_OUTPUTS
        or not 1 <= count <= 64
        or not all(map(one_line, found.values()))
    ):
        raise WeightsError("metadata.json: expected channel_def of the output to name what the network finds")
    named = {n: name for n, name in sorted(found.items()) if name.casefold() != "background"}
    classes = dict(zip(named, structure_names(list(named.values())), strict=True))
    if len(set(classes.values())) < len(classes):
        classes = {n: f"{name} {n}" for n, name in classes.items()}
    return tuple(" ".join(name.split()).casefold().replace(" ", "_") for name in channels), classes


def _weights(root: Path) -> Path:
    known = [root / "models" / name for name in ("model.pt", "model.pth", "model.safetensors")]
    others = sorted(path for path in (root / "models").glob("*.p*t*") if path.suffix in (".pt", ".pth"))
    found = next((path for path in [*known, *others] if path.is_file()), None)
    if found is None:
        raise WeightsError(f"expected models/model.pt in the bundle {root.name}, got none")
    return found
