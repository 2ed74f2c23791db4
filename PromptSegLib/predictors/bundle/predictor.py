"""A MONAI bundle of a network for segmentation: its structures by their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Extent
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.bundle.folder import BundleFolder
from PromptSegLib.predictors.names.name_predictor import PROMPTS, ClassEncoding, NamePredictor

if TYPE_CHECKING:
    from PromptSegLib.predictors.bundle.model import BundleModel


class MonaiBundle(NamePredictor["BundleModel"]):
    """Finds what a bundle was trained for, as its configuration says.

    Args:
        bundle: its folder, read.
        capabilities: under which name, with which words for people.
        agreed: whether code in the configuration may run, as MONAI would run it.
        device: "auto" for the best there is, or a name such as "cpu".
    """

    def __init__(
        self, bundle: BundleFolder, capabilities: Capabilities, *, agreed: bool = False, device: str = "auto"
    ) -> None:
        self.bundle = bundle
        self.capabilities = capabilities
        self._agreed = agreed
        super().__init__(device=device)

    def published(self) -> Any:
        from PromptSegLib.predictors.bundle.parts import parts_of

        return parts_of(self.bundle, self._agreed).with_weights(self.bundle)

    def model_of(self, network: Any) -> BundleModel:
        from PromptSegLib.predictors.bundle.model import BundleModel

        return BundleModel(network, self.bundle, self._device)

    def prepare(self, encoding: ClassEncoding, cancel: CancelToken, progress: Progress) -> None:
        """Nothing: what is prepared and what is answered are one run of the bundle."""

    def find(
        self, encoding: ClassEncoding, names: Sequence[str], box: Extent | None, cancel: CancelToken, progress: Progress
    ) -> Iterator[tuple[str, Patch]]:
        if not names:
            return
        volumes = encoding.image.volumes(self.bundle.channels, f"{self.capabilities.name!r}")
        for volume in volumes:
            if volume.components > 1:
                raise VolumeError(f"expected grey values for {self.capabilities.name!r}, got {volume!r}")
        numbers = {name: number for number, name in self.bundle.outputs.items()}
        patches = self.loaded(progress).find(volumes, [numbers[name] for name in names], cancel, progress)
        yield from zip(names, patches, strict=True)


def capabilities_of_bundle(bundle: BundleFolder, name: str) -> Capabilities:
    """Return what a bundle's network can do, under the name `name`."""
    classes = tuple(bundle.outputs.values())
    title = bundle.text("name") or bundle.root.name.replace("_", " ")
    summary = bundle.text("description", "task") or f"finds {', '.join(classes[:4])}"
    several = len(bundle.channels) > 1
    return Capabilities(
        name=name,
        title=title[:60],
        summary=f"MONAI bundle: {summary}",
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        code_license="Apache-2.0",
        weights_license=bundle.text("license", "licence", "copyright") or "none stated",
        channels=bundle.channels if several else (),
        classes=classes,
        channels_of=dict.fromkeys(classes, bundle.channels),
        devices=("cuda", "mps", "cpu"),
        citation="Cardoso et al., MONAI, arXiv:2211.02701",
    )
