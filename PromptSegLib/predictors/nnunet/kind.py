"""nnU-Net's folders of results, of the second version, as a kind of model that users add."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.packages import is_installed
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.nnunet.predictor import NnUNet, capabilities_of_results
from PromptSegLib.predictors.nnunet.result_folder import is_result_folder, read_result_folder
from PromptSegLib.predictors.own_models import Found


def recognises(path: Path) -> bool:
    return path.is_dir() and is_result_folder(path)


def find(path: Path, options: Mapping[str, Any]) -> Found:
    """Check plans, labels and checkpoints, and that the weights' shapes are the network's where torch is here."""
    configuration = options.get("configuration")
    if not isinstance(configuration, str | None):
        raise WeightsError(f"expected the name of a configuration, got {configuration!r}")
    results = read_result_folder(path, configuration)
    if is_installed("torch") and is_installed("dynamic_network_architectures"):
        from PromptSegLib.predictors.nnunet.architecture import check_fits

        for stage in results.stages:
            for checkpoint in stage.folds.values():
                check_fits(stage, checkpoint)
    # A cascade's stages lie side by side.
    root = path if all(file.is_relative_to(path) for file in results.files) else path.parent
    kept = {} if root == path else {"configuration": results.configuration.name}
    return Found(capabilities_of_results(results, "own"), root, results.files, {**dict(options), **kept})


def make(path: Path, capabilities: Capabilities, options: Mapping[str, Any]) -> Any:
    results = read_result_folder(path, options.get("configuration"))
    return partial(_made, results, capabilities)


def _made(
    results: Any,
    capabilities: Capabilities,
    /,
    *,
    device: str = "auto",
    step: float = 0.5,
    mirror: bool = False,
    gaussian: bool = True,
    folds: Any = None,
) -> NnUNet:
    return NnUNet(results, capabilities, device=device, step=step, mirror=mirror, gaussian=gaussian, folds=folds)
