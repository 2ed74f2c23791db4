"""MONAI bundles as a kind of model that users add."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.packages import is_installed
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.bundle.folder import BundleFolder, bundle_root, read_bundle
from PromptSegLib.predictors.bundle.predictor import MonaiBundle, capabilities_of_bundle
from PromptSegLib.predictors.own_models import Found


def recognises(path: Path) -> bool:
    return path.is_dir() and bundle_root(path) is not None


def find(path: Path, options: Mapping[str, Any]) -> Found:
    """Check the bundle; what in its configuration would have to be run is told, and not run."""
    bundle = read_bundle(path)
    code = ""
    if not (is_installed("torch") and is_installed("monai")):
        raise WeightsError("a MONAI bundle needs the packages torch and monai: pip install 'promptseg[torch]'")
    from PromptSegLib.predictors.bundle.interpreter import NotUnderstoodError
    from PromptSegLib.predictors.bundle.parts import parts_of

    try:
        parts_of(bundle).with_weights(bundle)
    except NotUnderstoodError as error:
        code = str(error)
    kept = {key: value for key, value in options.items() if key != "agreed"}
    return Found(capabilities_of_bundle(bundle, "own"), bundle.root, bundle.files, kept, code)


def make(path: Path, capabilities: Capabilities, options: Mapping[str, Any]) -> Any:
    return partial(_made, read_bundle(path), capabilities, bool(options.get("agreed")))


def _made(bundle: BundleFolder, capabilities: Capabilities, agreed: bool, /, *, device: str = "auto") -> MonaiBundle:
    return MonaiBundle(bundle, capabilities, agreed=agreed, device=device)
