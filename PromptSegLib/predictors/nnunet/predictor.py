"""A user's own nnU-Net, of the second version: its structures by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress, no_progress
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Extent
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.names.name_predictor import PROMPTS, ClassEncoding, NamePredictor
from PromptSegLib.predictors.nnunet.result_folder import ResultFolder, read_result_folder
from PromptSegLib.volume import Image, Volume

if TYPE_CHECKING:
    from PromptSegLib.geometry import Float32Array
    from PromptSegLib.predictors.nnunet.model import NnUNetModel


class NnUNet(NamePredictor["NnUNetModel"]):
    """Finds what an nnU-Net was trained for.

    Args:
        results: what `read_result_folder` read, or the folder.
        capabilities: under which name, with which words for people; by default `capabilities_of_results`.
        device: "auto" for the best there is, or a name such as "cpu".
        step: distance of tiles, at most, as a fraction of the tile.
        mirror: take the mean over the mirrorings it was trained with, as nnU-Net does unless told not to: a little
            better, eight times slower.
        gaussian: weigh the middle of a tile more.
        folds: which folds to take together; all by default.

    Raises:
        WeightsError: `results` is a folder of no such results.
    """

    def __init__(
        self,
        results: ResultFolder | Path | str,
        capabilities: Capabilities | None = None,
        *,
        device: str = "auto",
        step: float = 0.5,
        mirror: bool = False,
        gaussian: bool = True,
        folds: Sequence[str | int] | None = None,
    ) -> None:
        found = results if isinstance(results, ResultFolder) else read_result_folder(Path(results))
        self.results = found if folds is None else found.only(tuple(map(str, folds)))
        self.capabilities = capabilities or capabilities_of_results(found, str(found.folder))
        super().__init__(device=device)
        self._inference = (step, mirror, gaussian)

    def published(self) -> Any:
        """Return the stages with their networks."""
        from PromptSegLib.predictors.nnunet.architecture import LAYOUT, filled
        from PromptSegLib.predictors.nnunet.model import Stage
        from PromptSegLib.weights.readers import read_state_dict

        stages = []
        for results in self.results.stages:
            how, labels = results.configuration, results.labels
            networks = [
                filled(how.architecture, results.inputs, labels.outputs, read_state_dict(file, LAYOUT))
                for file in results.folds.values()
            ]
            stages.append(Stage(how, networks, results.mirror_axes))
        return stages

    def model_of(self, network: Any) -> NnUNetModel:
        from PromptSegLib.predictors.names.model import Inference
        from PromptSegLib.predictors.nnunet.model import NnUNetModel

        return NnUNetModel(network, self.results.labels, self._device, Inference(*self._inference))

    def probabilities(
        self, image: Image, cancel: CancelToken | None = None, progress: Progress = no_progress
    ) -> Float32Array:
        """Return the probabilities of all outputs on the image's grid, (output, k, j, i) float32, 0 to 1.

        Of labels the first output is the background, and all add up to 1; of regions each is by itself.

        Raises:
            VolumeError: the image does not suit it.
            WeightsError: its weights cannot be read, or are another network's.
        """
        model, cancel = self.loaded(progress), cancel or CancelToken()
        return model.probabilities(model.prepared(self._volumes(image), cancel), cancel, progress)

    # The predictor's protocol

    def prepare(self, encoding: ClassEncoding, cancel: CancelToken, progress: Progress) -> None:
        progress(0.0, "preparing the image")
        encoding.prepared = self.loaded(progress).prepared(self._volumes(encoding.image), cancel, progress)

    def find(
        self, encoding: ClassEncoding, names: Sequence[str], box: Extent | None, cancel: CancelToken, progress: Progress
    ) -> Iterator[tuple[str, Patch]]:
        if names:
            patches = self.loaded(progress).find(encoding.prepared, names, box, cancel, progress)
            yield from zip(names, patches, strict=True)

    def _volumes(self, image: Image) -> list[Volume]:
        names = channel_names(self.results.channels)
        volumes = image.volumes(names, f"{self.capabilities.name!r}")
        for volume in volumes:
            if volume.components > 1:
                raise VolumeError(f"expected grey values for {self.capabilities.name!r}, got {volume!r}")
        return volumes


def capabilities_of_results(results: ResultFolder, name: str) -> Capabilities:
    """Return what a trained nnU-Net can do, under the name `name`."""
    channels = channel_names(results.channels)
    how = results.configuration
    classes = tuple(results.labels.values)
    folds = f"{len(results.folds)} folds" if len(results.folds) > 1 else "1 fold"
    return Capabilities(
        name=name,
        title=title_of(results),
        summary=f"nnU-Net {how.name}, {folds}: {', '.join(classes[:4])}{', …' if len(classes) > 4 else ''}",
        dimensions=frozenset({2, 3} if how.is_of_slices else {3}),
        prompts=PROMPTS,
        code_license="Apache-2.0",
        weights_license=results.license or "none stated",
        channels=channels if len(channels) > 1 else (),
        classes=classes,
        channels_of=dict.fromkeys(classes, channels),
        devices=("cuda", "mps", "cpu"),
        citation="Isensee et al., nnU-Net, Nature Methods 18, 203 (2021)",
    )


def title_of(results: ResultFolder) -> str:
    """Return what to call a trained nnU-Net: its data set's name without its number."""
    name = results.dataset or results.folder.name
    head, _, rest = name.partition("_")
    words = rest if rest and head.casefold().startswith(("dataset", "task")) else name
    return " ".join(words.replace("_", " ").split())[:60] or "nnU-Net"


def channel_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the session's names of nnU-Net's channels: in small letters, each once, such as "ct", "t1w"."""
    plain = ["_".join(name.casefold().split()) or "image" for name in names]
    counts = Counter(plain)
    return tuple(name if counts[name] == 1 else f"{name}_{n}" for n, name in enumerate(plain))
