"""Which checkpoints there are, from where and under which licenses: catalogue.toml, read and checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.layout import Layout

CATALOGUE_PATH = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True)
class WeightFile:
    """One file of a checkpoint, as catalogue.toml describes it.

    None is "unknown"; an optional one need not be there.
    """

    path: str
    page: str
    urls: tuple[str, ...] = ()
    bytes: int | None = None
    about_bytes: int | None = None
    sha256: str | None = None
    sha256_source: Literal["official", "third-party"] | None = None
    saved_as_published: bool = True
    optional: bool = False
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        pure = PurePosixPath(self.path)
        if not self.path or pure.is_absolute() or ".." in pure.parts or "\\" in self.path or ":" in self.path:
            raise WeightsError(f"a file's path must be relative and stay in its folder, not {self.path!r}")
        if (self.sha256 is None) != (self.sha256_source is None):
            raise WeightsError(f"{self.path}: sha256 and sha256_source come together or not at all")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise WeightsError(f"{self.path}: expected 64 lower-case hexadecimal digits, got {self.sha256!r}")

    @property
    def likely_bytes(self) -> int | None:
        """Size to tell people: exact where it is known, else the rough one."""
        return self.bytes if self.bytes is not None else self.about_bytes


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights: what it is, under which licenses, and its files (the first is the main one).

    predictors: the predictors whose weights these are, by their names, as "folder.module:Class"; none for a part of
    another's.
    """

    name: str
    title: str
    version: str
    predictors: Mapping[str, str]
    code: str
    code_license: str
    weights_license: str
    consent: bool
    citation: str
    needs: str
    files: tuple[WeightFile, ...]

    def __post_init__(self) -> None:
        if not self.files:
            raise WeightsError(f"{self.name}: a checkpoint has at least one file")

    @property
    def likely_bytes(self) -> int | None:
        """Sum of the files' sizes as far as they are known, None when the main one's is not."""
        if self.file().likely_bytes is None:
            return None
        return sum(file.likely_bytes or 0 for file in self.files)

    def file(self, path: str | None = None) -> WeightFile:
        """The file of that path; the main one without a path."""
        if path is None:
            return self.files[0]
        for file in self.files:
            if file.path == path:
                return file
        raise WeightsError(f"{self.name} has no file {path!r}, only {', '.join(f.path for f in self.files)}")


@cache
def load_catalogue(path: Path = CATALOGUE_PATH) -> Mapping[str, Checkpoint]:
    """Checkpoints by name, in the file's order.

    Raises:
        WeightsError: the file is no catalogue; says where.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is no catalogue of weights: {error}") from error
    return MappingProxyType({name: _checkpoint(name, table) for name, table in tables.items()})


def _checkpoint(name: str, table: dict[str, Any]) -> Checkpoint:
    """One table of the catalogue; every field is spelled out there, so that a forgotten one is noticed."""
    try:
        files = tuple(_file(entry) for entry in table.pop("files"))
        return Checkpoint(name=name, files=files, **table)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"catalogue of weights, {name}: {error}") from error


def _file(entry: dict[str, Any]) -> WeightFile:
    fields: dict[str, Any] = {key: None if value == "unknown" else value for key, value in entry.items()}
    fields["urls"] = tuple(fields["urls"])
    stated: dict[str, Any] = fields.pop("layout", {})
    layout: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stated.items()}
    return WeightFile(layout=Layout(**layout), **fields)
