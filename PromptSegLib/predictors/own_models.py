"""The user's own models: networks they trained, taken in from a folder, a zip or a file, and kept under a name.

Each has a folder of its own beside the weights: `model.json` says what it is, so that listing models loads nothing;
`files` holds copies of what it consists of. Nothing in those files is executed, unless the user agreed to it.
What a kind of model consists of is known by a module of the system, see `KINDS`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from PromptSegLib.archives import ArchiveError, unpack
from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import ConsentError, UnknownPredictorError, WeightsError
from PromptSegLib.io.one_line import one_line
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.weights.disk_errors import plain_errors
from PromptSegLib.weights.leftovers import is_abandoned
from PromptSegLib.weights.partfile import sha256_of
from PromptSegLib.weights.places import default_folder
from PromptSegLib.weights.records import write_text_atomically

KINDS = {
    "nnunet": "PromptSegLib.predictors.nnunet.kind",
    "nnunet-v1": "PromptSegLib.predictors.nnunet.kind_v1",
    "torchscript": "PromptSegLib.predictors.torchscript.kind",
    "bundle": "PromptSegLib.predictors.bundle.kind",
    "checkpoint": "PromptSegLib.predictors.checkpoint_kind",
}
"""Modules that know a kind of model, each as `Kind` says; the first that recognises what it is given takes it."""

DESCRIPTION, FILES = "model.json", "files"
_SCRATCH = ".adding-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_BYTES = 16 << 20
_FORMAT = 1


@dataclass(frozen=True)
class Found:
    """What a kind of model makes of a folder or a file.

    capabilities: under any name. root: the folder that `files` are copied from, with their paths within it.
    options: what it has to be read with again, as JSON. code: what in it would be executed, nothing where all of it
    is known.
    """

    capabilities: Capabilities
    root: Path
    files: Sequence[Path]
    options: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""


class Kind(Protocol):
    """What a module that knows a kind of model has."""

    def recognises(self, path: Path) -> bool:
        """Whether the folder or file looks like one."""
        ...

    def find(self, path: Path, options: Mapping[str, Any]) -> Found:
        """Check it and say what it is, without running anything.

        Raises:
            WeightsError: it is damaged, or says what cannot be.
        """
        ...

    def make(self, path: Path, capabilities: Capabilities, options: Mapping[str, Any]) -> Any:
        """Return what makes predictors of it, called with options such as `device`."""
        ...


@dataclass(frozen=True)
class OwnModel:
    """One of the user's models: what model.json says.

    origin: where it came from. sha256: over all its files. kind: out of `KINDS`. agreed: whether the user let the code
    in it run.
    """

    name: str
    kind: str
    capabilities: Capabilities
    origin: str
    sha256: str
    bytes: int
    options: Mapping[str, Any]
    agreed: bool
    folder: Path

    @property
    def make(self) -> Any:
        """What makes predictors of it."""
        options = {**self.options, "agreed": self.agreed}
        return kind_named(self.kind).make(self.folder / FILES, self.capabilities, options)

    @property
    def card(self) -> str:
        """What there is to tell about it, a line each."""
        can = self.capabilities
        shown = ", ".join(can.classes[:12]) + (f", … ({len(can.classes)} in all)" if len(can.classes) > 12 else "")
        channels = ", ".join(can.channels) or "one image"
        lines = [
            f"{can.title}: {can.summary}",
            f"Takes: {', '.join(sorted(can.prompts))}; image: {channels}",
            f"Finds: {shown}" if can.classes else "",
            f"From: {self.origin}",
            f"License of the weights: {can.weights_license or 'none stated'}",
            f"SHA-256: {' '.join(self.sha256[at : at + 16] for at in range(0, 64, 16))}",
            "Runs code of its own, to which you agreed." if self.agreed else "",
        ]
        return "\n".join(line for line in lines if line)


class OwnModels:
    """The folder of the user's own models.

    Args:
        folder: by default "models" beside the store of weights.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_folder().parent / "models"

    def names(self) -> tuple[str, ...]:
        """Return the names of all, sorted."""
        with suppress(OSError):
            found = (place.name for place in self.folder.iterdir() if (place / DESCRIPTION).is_file())
            return tuple(sorted(name for name in found if _NAME.fullmatch(name)))
        return ()

    def __contains__(self, name: str) -> bool:
        return bool(_NAME.fullmatch(name)) and (self.folder / name / DESCRIPTION).is_file()

    @plain_errors()
    def get(self, name: str) -> OwnModel:
        """Return the model of that name.

        Raises:
            UnknownPredictorError: there is none.
            WeightsError: its description is damaged.
        """
        if name not in self:
            known = ", ".join(self.names()) or "none"
            raise UnknownPredictorError(f"expected one of your own models ({known}), got {name!r}")
        return _described(self.folder / name)

    @plain_errors()
    def add(
        self,
        path: Path | str,
        name: str | None = None,
        *,
        taken: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        agreed: bool = False,
        cancel: CancelToken | None = None,
    ) -> OwnModel:
        """Take in a copy of the model at `path`; where it fails, nothing is left behind.

        Args:
            path: a folder, a zip or a file of a kind that is known, or what `export` wrote.
            name: by which it is called from now on; by default made of its title.
            taken: names of other models, which it cannot have.
            options: of its kind, such as {"configuration": "3d_lowres"} of nnU-Net.
            agreed: whether code in it may run.

        Raises:
            WeightsError: it is damaged, malicious, of no known kind, or its name is taken.
            ConsentError: it would run code, and `agreed` does not say that it may.
        """
        source = Path(path).expanduser().absolute()
        if name is not None:
            self._check_name(name, taken)
        with self._scratch() as scratch:
            place = opened(source, scratch / "unpacked", cancel)
            kind, found = recognised(place, options or {})
            if found.code and not agreed:
                raise ConsentError(f"{source.name} would run code of its own: {found.code}; agree to that first")
            staged = scratch / "model"
            sha256, size = _copied(found, staged / FILES, cancel)
            # The copy is read again: what it leaves out is missed here and now.
            again = _found(kind, staged / FILES, {**found.options, "agreed": agreed})
            chosen = name or self._free_name(_slug(again.capabilities.title), taken)
            capabilities = _shown(again.capabilities, chosen)
            origin = _origin(place) or str(source)
            model = OwnModel(chosen, kind, capabilities, origin, sha256, size, found.options, bool(found.code), staged)
            (staged / DESCRIPTION).write_text(json.dumps(_as_json(model), indent=1), encoding="utf-8")
            while not self._moved(staged, chosen):  # another process was quicker
                if name is not None:
                    self._check_name(name, taken)
                chosen = self._free_name(chosen, taken)
        return self.get(chosen)

    @plain_errors()
    def remove(self, name: str) -> int:
        """Remove a model and its files; return the bytes that are free again.

        Raises:
            UnknownPredictorError: there is none.
        """
        if name not in self:
            self.get(name)
        freed = sum(path.stat().st_size for path in (self.folder / name).rglob("*") if path.is_file())
        with self._scratch() as scratch:
            os.replace(self.folder / name, scratch / "removed")  # gone at once, however long it takes
        return freed

    @plain_errors()
    def rename(self, name: str, new: str, taken: Sequence[str] = ()) -> OwnModel:
        """Call a model otherwise.

        Raises:
            UnknownPredictorError: there is none.
            WeightsError: the new name is taken, or no name.
        """
        model = self.get(name)
        self._check_name(new, taken)
        renamed = replace(model, name=new, capabilities=replace(model.capabilities, name=new))
        write_text_atomically(model.folder / DESCRIPTION, json.dumps(_as_json(renamed), indent=1))
        if not self._moved(model.folder, new):
            self._check_name(new, taken)
        return self.get(new)

    @plain_errors()
    def export(self, name: str, target: Path | str) -> Path:
        """Write a model as one zip, which `add` takes in elsewhere; return its path.

        Raises:
            UnknownPredictorError: there is none.
            WeightsError: `target` is no zip.
        """
        model, target = self.get(name), Path(target).expanduser()
        if target.suffix.casefold() != ".zip":
            raise WeightsError(f"expected a file *.zip to export to, got {target.name}")
        part = target.with_name(f"{target.name}.part")
        try:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted(model.folder.rglob("*")):
                    if path.is_file():
                        archive.write(path, path.relative_to(model.folder).as_posix())
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def _check_name(self, name: str, taken: Sequence[str]) -> None:
        if not _NAME.fullmatch(name):
            raise WeightsError(f"expected a name of letters, digits, '.', '_' and '-', 64 at most, got {name!r}")
        if self._is_taken(name, taken):
            raise WeightsError(f"expected a name that is free, got {name!r}: there is such a model")

    def _free_name(self, wanted: str, taken: Sequence[str]) -> str:
        names = (wanted, *(f"{wanted[:60]}-{n}" for n in range(2, 1000)))
        return next(name for name in names if not self._is_taken(name, taken))

    def _is_taken(self, name: str, taken: Sequence[str]) -> bool:
        return name.casefold() in {other.casefold() for other in taken} or os.path.lexists(self.folder / name)

    def _moved(self, folder: Path, name: str) -> bool:
        """Give a whole folder its name at once; whether that was still free."""
        try:
            os.replace(folder, self.folder / name)
        except OSError:
            if os.path.lexists(self.folder / name):
                return False
            raise
        return True

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder of one's own beside the models, gone in the end whatever happens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"{_SCRATCH}*"):  # by runs that were killed
            if is_abandoned(left, left.name.removeprefix(_SCRATCH).partition("-")[0]):
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-", dir=self.folder) as scratch:
            yield Path(scratch)


def kind_named(kind: str) -> Kind:
    """Return the module that knows a kind of model.

    Raises:
        WeightsError: for another.
    """
    if kind not in KINDS:
        raise WeightsError(f"expected a kind of model out of {', '.join(KINDS)}, got {kind!r}")
    module: Any = importlib.import_module(KINDS[kind])
    found: Kind = module
    return found


def recognised(place: Path, options: Mapping[str, Any]) -> tuple[str, Found]:
    """Return of which kind the model at `place` is, and what it is.

    Raises:
        WeightsError: it is damaged, or says what cannot be.
    """
    if (place / DESCRIPTION).is_file() and (place / FILES).is_dir():  # one that was exported
        table = _read_description(place / DESCRIPTION)
        kind, kept = str(table.get("kind")), table.get("options")
        options = {**(kept if isinstance(kept, dict) else {}), **options}
        return kind, _found(kind, place / FILES, options)
    if "like" in options:
        return "checkpoint", _found("checkpoint", place, options)
    for kind in KINDS:
        if kind_named(kind).recognises(place):
            return kind, _found(kind, place, options)
    raise WeightsError(
        "expected an nnU-Net folder of results, a MONAI bundle, a TorchScript with its description, or a checkpoint "
        f"with --like and the system it is of, got {place.name}"
    )


def _found(kind: str, place: Path, options: Mapping[str, Any]) -> Found:
    try:
        return kind_named(kind).find(place, options)
    except RecursionError as error:
        raise WeightsError(f"expected a few levels in {place.name}, got one too deep to read") from error


def _shown(capabilities: Capabilities, name: str) -> Capabilities:
    """The capabilities under a name, their texts without what would move a terminal's cursor."""
    return replace(
        capabilities,
        name=name,
        title=one_line(capabilities.title),
        summary=one_line(capabilities.summary),
        code_license=one_line(capabilities.code_license),
        weights_license=one_line(capabilities.weights_license),
    )


def opened(source: Path, scratch: Path, cancel: CancelToken | None = None) -> Path:
    """Return `source`, or the folder `scratch` with what it packs if it is a zip of a model.

    Raises:
        WeightsError: it is damaged, or says what cannot be.
    """
    if not source.exists():
        raise WeightsError(f"expected a folder, a zip or a file of a model, got {source}: there is none")
    if source.is_dir() or source.suffix.casefold() != ".zip":
        return source
    scratch.mkdir(parents=True)
    try:
        unpack(source, scratch, cancel=cancel)
    except ArchiveError as error:
        raise WeightsError(f"{source} is not taken: {error}") from error
    return scratch


_unpacked: dict[tuple[str, int, int], tuple[tempfile.TemporaryDirectory[str], Path]] = {}
"""Zips that are used where they are, unpacked until this process ends."""


@plain_errors()
def found_at(path: Path) -> tuple[Capabilities, Any]:
    """Return what the model at `path` can do, called by its path, and what makes predictors of it."""
    place = path.expanduser().absolute()
    if place.is_file() and place.suffix.casefold() == ".zip":
        stat = place.stat()
        key = (str(place), stat.st_size, stat.st_mtime_ns)
        if key not in _unpacked:
            scratch = tempfile.TemporaryDirectory(prefix="promptseg-model-")
            _unpacked[key] = (scratch, opened(place, Path(scratch.name, "model")))
        place = _unpacked[key][1]
    kind, found = recognised(opened(place, place), {})
    if found.code:
        raise ConsentError(f"{path} would run code of its own: {found.code}; add it first: promptseg models add {path}")
    capabilities = _shown(found.capabilities, str(path))
    return capabilities, kind_named(kind).make(found.root, capabilities, found.options)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.casefold()).strip("-")[:60].strip("-") or "model"


def _copied(found: Found, target: Path, cancel: CancelToken | None) -> tuple[str, int]:
    """Copy a model's files; return the SHA-256 over all of them, and their size."""
    every, size = hashlib.sha256(), 0
    for path in sorted(set(found.files)):
        if cancel is not None:
            cancel.check()
        within = path.relative_to(found.root)
        copy = target / within
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        every.update(f"{within.as_posix()} {sha256_of(copy, cancel)}\n".encode())
        size += copy.stat().st_size
    return every.hexdigest(), size


_LISTS = ("prompts", "dimensions")


def _as_json(model: OwnModel) -> dict[str, Any]:
    can = {one.name: getattr(model.capabilities, one.name) for one in fields(Capabilities)}
    can |= {name: sorted(can[name]) for name in _LISTS} | {"weights": []}
    return {
        "format": _FORMAT,
        "name": model.name,
        "kind": model.kind,
        "origin": model.origin,
        "sha256": model.sha256,
        "bytes": model.bytes,
        "options": dict(model.options),
        "agreed": model.agreed,
        "capabilities": can,
    }


def _read_description(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(_MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: {error}") from error
    if not isinstance(table, dict) or table.get("format") != _FORMAT:
        raise WeightsError(f"{path} is damaged: expected the description of a model, format {_FORMAT}")
    return table


def _origin(place: Path) -> str:
    """Where an exported model came from at first; nothing for others."""
    path = place / DESCRIPTION
    if not (path.is_file() and (place / FILES).is_dir()):
        return ""
    return one_line(str(_read_description(path).get("origin", "")))[:500]


def _described(folder: Path) -> OwnModel:
    table = _read_description(folder / DESCRIPTION)
    try:
        can = table["capabilities"]
        known = {one.name for one in fields(Capabilities)}
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in can.items() if key in known
        }
        given |= {name: frozenset(can[name]) for name in _LISTS}
        for name in ("tasks", "channels_of"):
            given[name] = {key: tuple(value) for key, value in can.get(name, {}).items()}
        capabilities = Capabilities(**{**given, "name": folder.name})
        return OwnModel(
            folder.name,
            str(table["kind"]),
            capabilities,
            str(table["origin"]),
            str(table["sha256"]),
            int(table["bytes"]),
            dict(table["options"]),
            bool(table["agreed"]),
            folder,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / DESCRIPTION} is damaged: {error}") from error
