"""nnU-Net's folders of results, of the first version, as a kind of model that users add."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.packages import is_installed
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.names.name_predictor import PROMPTS
from PromptSegLib.predictors.names.predictor import ClassPredictor
from PromptSegLib.predictors.nnunet.version1 import Version1, read_version1, version1_folder
from PromptSegLib.predictors.own_models import Found

if TYPE_CHECKING:
    from torch import nn


def recognises(path: Path) -> bool:
    return path.is_dir() and version1_folder(path) is not None


def find(path: Path, options: Mapping[str, Any]) -> Found:
    results = read_version1(path)
    found = capabilities_of_version1(results)
    if is_installed("torch"):
        NnUNetV1(results, found).published()
    return Found(found, path, results.files)


def make(path: Path, capabilities: Capabilities, options: Mapping[str, Any]) -> Any:
    return partial(_made, read_version1(path), capabilities)


def _made(
    results: Version1,
    capabilities: Capabilities,
    /,
    *,
    device: str = "auto",
    step: float = 0.5,
    mirror: bool = False,
    gaussian: bool = True,
) -> NnUNetV1:
    return NnUNetV1(results, capabilities, device=device, step=step, mirror=mirror, gaussian=gaussian)


class NnUNetV1(ClassPredictor):
    """Finds what an nnU-Net of the first version was trained for; folds together.

    results: what `read_version1` read. The other arguments are `ClassPredictor`'s.
    """

    def __init__(self, results: Version1, capabilities: Capabilities, **options: Any) -> None:
        self.results = results
        self.capabilities = capabilities
        self.plans = (results.plan,)
        super().__init__(**options)

    def build(self) -> nn.Module:
        from PromptSegLib.predictors.names.plain_unet import PlainUNet

        found = self.results
        return PlainUNet(
            len(found.plan.channels),
            1 + len(found.plan.classes),
            widths=found.widths,
            strides=found.strides,  # type: ignore[arg-type]
            kernels=found.kernels,  # type: ignore[arg-type]
            convs=found.convs,
        )

    def published(self) -> nn.Module:
        from PromptSegLib.predictors.nnunet.folds import MeanOfFolds
        from PromptSegLib.predictors.published import with_weights
        from PromptSegLib.weights.layout import Layout
        from PromptSegLib.weights.readers import read_state_dict

        layout = Layout(key="state_dict", prefixes=("module.",))
        try:
            networks = [with_weights(self.build, read_state_dict(file, layout)) for file in self.results.folds.values()]
        except ValueError as error:
            raise WeightsError(f"expected plans of a U-Net, got others: {error}") from error
        return networks[0] if len(networks) == 1 else MeanOfFolds(networks)


def capabilities_of_version1(results: Version1) -> Capabilities:
    """Return what such a network can do."""
    plan = results.plan
    name = next((part.name for part in results.folder.parents if part.name.startswith("Task")), results.folder.name)
    title = " ".join(name.partition("_")[2].replace("_", " ").split()) if name.startswith("Task") else name
    return Capabilities(
        name="own",
        title=(title or "nnU-Net")[:60],
        summary=f"nnU-Net, first version: {', '.join(plan.classes[:4])}",
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        code_license="Apache-2.0",
        weights_license="none stated",
        channels=plan.channels if len(plan.channels) > 1 else (),
        classes=plan.classes,
        channels_of=dict.fromkeys(plan.classes, plan.channels),
        devices=("cuda", "mps", "cpu"),
        citation="Isensee et al., nnU-Net, Nature Methods 18, 203 (2021)",
    )
