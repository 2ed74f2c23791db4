"""Folders of results of nnU-Net's second version: which files make a model, checked without running anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.fields import Fields
from PromptSegLib.predictors.nnunet.configuration import Configuration
from PromptSegLib.predictors.nnunet.labels import Labels
from PromptSegLib.weights.torchfile import open_torch_file

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_PREFERRED = ("3d_fullres", "3d_cascade_fullres", "3d_lowres", "2d")
_MOST_CHANNELS = 64
_DEPTH = 4  # of nested folders that are looked through for plans


@dataclass(frozen=True)
class ResultFolder:
    """One trained configuration.

    folds: checkpoints, by fold. mirror_axes: along which it may be mirrored, of its tile's axes. channels: nnU-Net's
    names of the images, in order. previous: the stage before, in a cascade. license, dataset: as dataset.json states
    them, or nothing.
    """

    folder: Path
    configuration: Configuration
    labels: Labels
    channels: tuple[str, ...]
    folds: Mapping[str, Path]
    trainer: str
    mirror_axes: tuple[int, ...]
    dataset: str
    license: str
    reference: str
    previous: ResultFolder | None = None

    @property
    def inputs(self) -> int:
        """How many channels its network sees: the image's, and in a cascade the labels of the stage before."""
        return len(self.channels) + (len(self.labels.foreground) if self.previous else 0)

    @property
    def files(self) -> list[Path]:
        """All files that it consists of, of the stages before, too."""
        mine = [self.folder / PLANS, self.folder / DATASET, *self.folds.values()]
        return mine + (self.previous.files if self.previous else [])

    @property
    def stages(self) -> list[ResultFolder]:
        """The stages of a cascade, the first one first; itself alone where it is none."""
        return [*(self.previous.stages if self.previous else []), self]

    def only(self, folds: tuple[str, ...]) -> ResultFolder:
        """Return it with these folds alone.

        Raises:
            WeightsError: one is missing.
        """
        if missing := [fold for fold in folds if fold not in self.folds]:
            raise WeightsError(f"expected folds out of {', '.join(self.folds)}, got {', '.join(missing)}")
        return replace(self, folds={fold: self.folds[fold] for fold in folds})


def is_result_folder(folder: Path) -> bool:
    """Whether `folder`, or one a few levels within, looks like such results."""
    return next(_trained(folder, _DEPTH), None) is not None


def read_result_folder(folder: Path, configuration: str | None = None) -> ResultFolder:
    """Read the results in `folder`, or in one within, such as an exported model has.

    configuration: which one, where there are several; otherwise the first of 3d_fullres, 3d_cascade_fullres,
    3d_lowres, 2d that is there.

    Raises:
        WeightsError: there are none, or they are damaged, malicious, or say what nnU-Net never writes.
    """
    found: dict[str, ResultFolder] = {}
    places = sorted(_trained(folder, _DEPTH))
    if not places:
        raise WeightsError(f"expected {PLANS} and {DATASET} of nnU-Net in {folder}, got neither")
    for place in places:
        one = _read(place)
        if one.configuration.name in found:
            other = found[one.configuration.name].folder
            raise WeightsError(f"expected one trained {one.configuration.name}, got {other.name} and {place.name}")
        found[one.configuration.name] = one
    known = [name for name in _PREFERRED if name in found] + sorted(found.keys() - _PREFERRED)
    name = known[0] if configuration is None else configuration
    if name not in found:
        raise WeightsError(f"expected a configuration out of {', '.join(known)}, got {name!r}")
    return _with_previous(found[name], found)


def _trained(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders at or below `folder` that hold plans and folds."""
    if (folder / PLANS).is_file() and any(folder.glob("fold_*")):
        yield folder
    elif depth and folder.is_dir():
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.is_symlink():
                yield from _trained(inner, depth - 1)


def _with_previous(found: ResultFolder, others: Mapping[str, ResultFolder]) -> ResultFolder:
    name = found.configuration.previous
    if name is None:
        return found
    if name not in others:
        # Results lie side by side: trainer__plans__3d_lowres beside trainer__plans__3d_cascade_fullres.
        beside = [_read(place) for place in sorted(found.folder.parent.glob(f"*__{name}")) if (place / PLANS).is_file()]
        if len(beside) != 1:
            raise WeightsError(
                f"expected {name!r} beside {found.folder.name}, whose labels {found.configuration.name} goes on from"
            )
        others = {name: beside[0]}
    previous = others[name]
    if previous.labels != found.labels or previous.channels != found.channels:
        raise WeightsError(f"expected {name} and {found.configuration.name} to have the same labels and channels")
    if previous.configuration.previous is not None:
        raise WeightsError(f"expected a cascade of two stages, got {name!r} after another one")
    return replace(found, previous=previous)


def _read(folder: Path) -> ResultFolder:
    plans, dataset = Fields.of_file(folder / PLANS), Fields.of_file(folder / DATASET)
    channels = _channels(dataset)
    folds = _folds(folder)
    told = _told_by(next(iter(folds.values())))
    name = told.table("init_args").text("configuration")
    configuration = Configuration.of_plans(plans, name, len(channels))
    axes = told.get("inference_allowed_mirroring_axes", list, tuple, type(None), default=None) or ()
    if any(axis not in range(len(configuration.patch)) for axis in axes):
        raise WeightsError(f"expected axes of {configuration.patch} to mirror along, got {axes}")
    return ResultFolder(
        folder=folder,
        configuration=configuration,
        labels=Labels.of_dataset(dataset),
        channels=channels,
        folds=folds,
        trainer=told.text("trainer_name", "nnUNetTrainer"),
        mirror_axes=tuple(int(axis) for axis in axes),
        dataset=plans.text("dataset_name", "") or _text(dataset, "name"),
        license=_text(dataset, "licence") or _text(dataset, "license"),
        reference=_text(dataset, "reference"),
    )


def _text(dataset: Fields, key: str) -> str:
    value = dataset.entries.get(key)
    return " ".join(value.split())[:200] if isinstance(value, str) else ""


def _channels(dataset: Fields) -> tuple[str, ...]:
    key = "channel_names" if "channel_names" in dataset.entries else "modality"
    table = dataset.table(key)
    if not 1 <= len(table.entries) <= _MOST_CHANNELS:
        raise WeightsError(f"{table.where}: expected 1 to {_MOST_CHANNELS} channels, got {len(table.entries)}")
    numbers = sorted(table.entries, key=lambda text: (len(text), text))
    if numbers != [str(n) for n in range(len(numbers))]:
        raise WeightsError(f"{table.where}: expected channels 0, 1, …, got {', '.join(numbers)[:80]}")
    return tuple(str(table.get(number, str, int)) for number in numbers)


def _folds(folder: Path) -> dict[str, Path]:
    folds = {}
    for place in sorted(folder.glob("fold_*")):
        fold = place.name.removeprefix("fold_")
        if re.fullmatch(r"\d{1,3}|all", fold):
            here = [place / name for name in CHECKPOINTS if (place / name).is_file()]
            if here:
                folds[fold] = here[0]
    if not folds:
        raise WeightsError(f"expected fold_*/{CHECKPOINTS[0]} in {folder}, got none")
    if len(folds) > 1:
        folds.pop("all", None)  # as nnU-Net, which takes the folds of a cross-validation together
    return folds


def _told_by(checkpoint: Path) -> Fields:
    """What a checkpoint says beside its weights."""
    content: Any = open_torch_file(checkpoint).content
    return Fields.of(f"{checkpoint.parent.name}/{checkpoint.name}", content)
