"""Folders of results of nnU-Net's first version: plans.pkl and fold_*/model_*.model, read without running anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.fields import Fields
from PromptSegLib.predictors.names.label_names import structure_names
from PromptSegLib.predictors.names.plan import ClipAndStandardise, Plan, ZScore
from PromptSegLib.predictors.nnunet.labels import MOST_LABELS
from PromptSegLib.weights.inert_pickle import LimitedStream, load_inert
from PromptSegLib.weights.plain_arrays import PlainArray

PLANS = "plans.pkl"
CHECKPOINTS = ("model_final_checkpoint.model", "model_best.model")
_MOST_BYTES = 64 << 20  # it lists all training images
_DEPTH = 4


@dataclass(frozen=True)
class Version1:
    """One trained network. widths, strides, kernels, convs: of its levels, see `PlainUNet`."""

    folder: Path
    plan: Plan
    widths: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    convs: int
    folds: Mapping[str, Path]
    trainer: str

    @property
    def files(self) -> list[Path]:
        beside = [path.with_name(f"{path.name}.pkl") for path in self.folds.values()]
        names = [path for path in [self.folder / "dataset.json"] if path.is_file()]
        return [self.folder / PLANS, *self.folds.values(), *beside, *names]


def version1_folder(folder: Path, depth: int = _DEPTH) -> Path | None:
    """The folder at or below `folder` that holds plans and folds, or None."""
    if (folder / PLANS).is_file() and any(folder.glob("fold_*")):
        return folder
    if depth and folder.is_dir():
        inner = [one for one in sorted(folder.iterdir()) if one.is_dir() and not one.is_symlink()]
        found = (version1_folder(one, depth - 1) for one in inner)
        return next((one for one in found if one is not None), None)
    return None


def read_version1(folder: Path) -> Version1:
    """Read the results at or below `folder`.

    Raises:
        WeightsError: it is damaged, or says what cannot be.
    """
    place = version1_folder(folder)
    if place is None:
        raise WeightsError(f"expected {PLANS} and folds of nnU-Net's first version in {folder}, got none")
    plans = _pickled(place / PLANS)
    folds = _folds(place)
    told = _pickled(next(iter(folds.values())).with_name(f"{next(iter(folds.values())).name}.pkl"))
    stages = plans.get("plans_per_stage", dict)
    stage = _stage(told, stages)
    fields = Fields.of(f"{PLANS}, stage {stage}", stages[stage])
    if len(stages) > 1 and stage == max(stages) and "cascade" in told.text("name", "").casefold():
        raise WeightsError("expected a network that sees the image alone, got the second stage of a cascade")
    patch = fields.whole_numbers("patch_size", 3, low=1, high=4096)
    spacing = fields.numbers("current_spacing", 3, low=1e-3, high=1e4)
    transpose = plans.whole_numbers("transpose_forward", 3, high=2)
    if sorted(transpose) != [0, 1, 2]:
        raise WeightsError(f"{PLANS}: expected 'transpose_forward' to be an order of 0, 1, 2")
    strides, kernels = _triples(fields, "pool_op_kernel_sizes"), _triples(fields, "conv_kernel_sizes")
    if len(kernels) != len(strides) + 1:
        raise WeightsError(f"{fields.where}: expected one kernel more than strides, got {len(kernels)}")
    base = int(plans.number("base_num_features"))
    if not 1 <= base <= 1024:
        raise WeightsError(f"{PLANS}: expected 1 to 1024 features, got {base}")
    convs = int(plans.number("conv_per_stage", 2))
    if not 2 <= convs <= 16:
        raise WeightsError(f"{PLANS}: expected 2 to 16 convolutions of each stage, got {convs}")
    (a, b, c), (x, y, z), (p, q, r) = transpose, spacing, patch
    normalisations, masked = _normalisations(plans)
    plan = Plan(_channels(plans), normalisations, (x, y, z), (p, q, r), _classes(plans, place), 0, (a, b, c), masked)
    return Version1(
        folder=place,
        plan=plan,
        widths=tuple(min(base * 2**level, 320) for level in range(len(kernels))),
        strides=strides,
        kernels=kernels,
        convs=convs,
        folds=folds,
        trainer=told.text("name", "nnUNetTrainerV2"),
    )


def _pickled(path: Path) -> Fields:
    try:
        with path.open("rb") as file:
            content = load_inert(LimitedStream(file, min(_MOST_BYTES, path.stat().st_size)))
    except OSError as error:
        if isinstance(error, WeightsError):
            raise WeightsError(f"{path} cannot be used: {error} (nothing in it was executed)") from error
        raise WeightsError(f"expected {path.name} in {path.parent}, got none: {error.strerror}") from error
    return Fields.of(path.name, _plain(content))


def _plain(value: Any, depth: int = 0) -> Any:
    """The value with arrays as lists, and entries of tables that have no text for a name left as they are."""
    if depth > 20:
        return None
    if isinstance(value, PlainArray):
        return value.nested()
    if isinstance(value, dict):
        return {key: _plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, depth + 1) for one in value]
    return value


def _stage(told: Fields, stages: Mapping[Any, Any]) -> int:
    init = told.sequence("init", [])
    stage = init[5] if len(init) > 5 and isinstance(init[5], int) else max(stages, default=0)
    if stage not in stages:
        raise WeightsError(f"{PLANS}: expected a stage out of {sorted(map(str, stages))}, got {stage}")
    return int(stage)


def _triples(fields: Fields, key: str) -> tuple[tuple[int, ...], ...]:
    values = fields.sequence(key)
    if not 1 <= len(values) <= 12:
        raise WeightsError(f"{fields.where}: expected 1 to 12 levels in {key!r}, got {len(values)}")
    return tuple(Fields(fields.where, {key: one}).whole_numbers(key, 3, low=1, high=31) for one in values)


def _channels(plans: Fields) -> tuple[str, ...]:
    names = plans.get("modalities", dict)
    if not 1 <= len(names) <= 64:
        raise WeightsError(f"{PLANS}: expected 1 to 64 modalities, got {len(names)}")
    plain = [str(names[key]).casefold().replace(" ", "_") for key in sorted(names)]
    return tuple(name if plain.count(name) == 1 else f"{name}_{n}" for n, name in enumerate(plain))


def _classes(plans: Fields, folder: Path) -> tuple[str, ...]:
    """Names of the labels: of dataset.json where somebody put it beside the plans, else their numbers."""
    count = int(plans.number("num_classes"))
    if not 1 <= count <= MOST_LABELS:
        raise WeightsError(f"{PLANS}: expected 1 to {MOST_LABELS} classes, got {count}")
    names = {str(n): f"label {n}" for n in range(1, count + 1)}
    if (folder / "dataset.json").is_file():
        labels = Fields.of_file(folder / "dataset.json").get("labels", dict, default={})
        names |= {key: value for key, value in labels.items() if key in names and isinstance(value, str)}
    return tuple(structure_names([names[str(n)] for n in range(1, count + 1)]))


def _normalisations(plans: Fields) -> tuple[tuple[Callable[[Any], None], ...], tuple[bool, ...]]:
    schemes, uses_mask = plans.get("normalization_schemes", dict), plans.get("use_mask_for_norm", dict)
    found: list[Callable[[Any], None]] = []
    for number in sorted(schemes):
        if schemes[number] == "nonCT":
            found.append(ZScore())
        elif schemes[number] == "CT":
            properties = plans.table("dataset_properties").get("intensityproperties", dict)
            numbers = Fields.of(f"{PLANS}, intensityproperties", properties.get(number))
            low, high = numbers.number("percentile_00_5"), numbers.number("percentile_99_5")
            found.append(ClipAndStandardise(low, high, numbers.number("mean"), numbers.number("sd")))
        else:
            raise WeightsError(f"{PLANS}: expected normalisations CT or nonCT, got {schemes[number]!r}")
    return tuple(found), tuple(bool(uses_mask.get(number)) for number in sorted(schemes))


def _folds(folder: Path) -> dict[str, Path]:
    folds = {}
    for place in sorted(folder.glob("fold_*")):
        here = [place / name for name in CHECKPOINTS if (place / name).is_file()]
        if here and re.fullmatch(r"fold_\d{1,3}", place.name):
            folds[place.name.removeprefix("fold_")] = here[0]
    if not folds:
        raise WeightsError(f"expected fold_*/{CHECKPOINTS[0]} in {folder}, got none")
    return folds
