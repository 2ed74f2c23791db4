"""A model's folder as nnU-Net saves it, looked at before a package that believes it is let near it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.layout import Layout
from PromptSegLib.weights.readers import read_state_dict
from PromptSegLib.weights.torchfile import TorchFile, open_torch_file

CHECKPOINT = "checkpoint_final.pth"
_LAYERS = ("torch.nn.", "dynamic_network_architectures.building_blocks.")


def checked_folder(folder: Path, architectures: tuple[str, ...] | None) -> TorchFile:
    """Return the checkpoint in `folder`, its numbers not yet read; nothing that a file names was looked up.

    Args:
        folder: holds plans.json and one fold_*/checkpoint_final.pth.
        architectures: beginnings of names of networks that the plans may ask for; None where nobody looks at it.

    Raises:
        WeightsError: it holds no such model, or a file names what no model of this kind needs.
    """
    checkpoints = sorted(folder.glob(f"fold_*/{CHECKPOINT}"))
    if len(checkpoints) != 1:
        raise WeightsError(f"expected one fold_*/{CHECKPOINT} in {folder}, got {len(checkpoints)}")
    checkpoint = open_torch_file(checkpoints[0])
    wanted = {"network_weights", "trainer_name", "init_args"}
    if not isinstance(checkpoint.content, dict) or not wanted <= checkpoint.content.keys():
        raise WeightsError(f"expected a checkpoint of nnU-Net in {checkpoints[0]}, got none")
    _check_plans(folder / "plans.json", architectures)
    return checkpoint


def copy_clean(folder: Path, checkpoint: TorchFile, clean: Path) -> None:
    """Copy a model without what training left beside the weights, such as its log, which takes more than tensors."""
    import torch

    for path in folder.iterdir():
        if path.is_file():
            shutil.copy(path, clean)
    content = {
        "network_weights": read_state_dict(checkpoint.path, Layout(key="network_weights", prefixes=())),
        "trainer_name": str(checkpoint.content["trainer_name"]),
        "init_args": {"configuration": str(checkpoint.content["init_args"]["configuration"])},
    }
    target = clean / checkpoint.path.relative_to(folder)
    target.parent.mkdir()
    torch.save(content, target)


@contextmanager
def tensors_only() -> Iterator[None]:
    """Have torch.load make tensors and plain values only, and nothing that a file names; the packages ask for all."""
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _check_plans(plans: Path, architectures: tuple[str, ...] | None) -> None:
    try:
        configurations = json.loads(plans.read_text(encoding="utf-8-sig"))["configurations"].values()
        for architecture in [each["architecture"] for each in configurations if "architecture" in each]:
            kwargs = architecture["arch_kwargs"]
            layers = [kwargs[name] for name in architecture["_kw_requires_import"] if kwargs[name] is not None]
            if architectures is not None:
                _check_names(plans, [architecture["network_class_name"]], architectures)
            _check_names(plans, layers, _LAYERS)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"expected the plans of nnU-Net in {plans}: {type(error).__name__}: {error}") from error


def _check_names(plans: Path, names: list[Any], beginnings: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(name, str) or not name.startswith(beginnings):
            raise WeightsError(f"expected {' or '.join(beginnings)}… in {plans}, got {name!r}: do not trust this file")
