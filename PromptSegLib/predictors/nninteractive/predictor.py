"""nnInteractive (arXiv:2503.08373): points, boxes, scribbles and lassos to a mask in 3D, by the authors' own package.

Nothing is resampled: the network sees 192 x 192 x 192 voxels around the newest prompt, and up to four times as much,
coarser, when the structure goes on. 3D boxes are given as their middle slice: see `prompts` beside this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.nninteractive.image import OrientedImage
from PromptSegLib.predictors.nninteractive.steps import SteppingSession
from PromptSegLib.volume import Image
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from torch import nn

    from PromptSegLib.predictors.nninteractive.local import LocalSession

PROMPTS = frozenset(f"{kind}{sign}" for kind in ("point", "box2d", "box3d", "scribble", "lasso") for sign in "+-") | {
    "mask"
}
_ROOT_VARIABLE = "NNINTERACTIVE_MODEL_DIR"
"""Where the package's own tool keeps the models of its list; without it, .nninteractive in the home folder."""


def _capabilities(weights: str, title: str, summary: str) -> Capabilities:
    return Capabilities.published(
        weights,
        title=title,
        summary=summary,
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        devices=("cuda", "cpu"),
    )


class NnInteractive:
    """nnInteractive in this process.

    folder: a model to use in place of the published one, as nnU-Net saves it; or the name that its authors' list of
    models gives it, once `nninteractive-download-model NAME` brought it here. network: one to use in place of the
    model's, with its settings. device: "auto" for CUDA where there is one, or a name such as "cpu". weights: where
    weights are; by default the user's store. A prediction ends at the next layer of the network when it is cancelled.

    Raises:
        WeightsError: the weights are not here; says how to get them.
    """

    capabilities = _capabilities(
        "nninteractive",
        "nnInteractive",
        "one click, box, scribble or lasso for a structure in 3D; a GPU is advised",
    )

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        network: nn.Module | None = None,
        device: str = "auto",
        weights: WeightsStore | None = None,
    ) -> None:
        self._folder = None if folder is None else _folder_of(folder)
        self._network = network
        self._device = device
        self._weights = weights or WeightsStore()
        self._local: LocalSession | None = None
        self._steps: SteppingSession | None = None
        if folder is None and self.capabilities.weights:
            self._weights.require(self.capabilities.weights[0])

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> OrientedImage:
        """Give the package the image.

        Raises:
            VolumeError: for colour or an image without contrast.
            WeightsError: the weights are missing, damaged or do not fit.
        """
        oriented = OrientedImage.of(image.reference)
        if self._steps is None:
            progress(0, "loading nnInteractive")
            self._local, self._steps = self._load(cancel)
        self._steps.show(oriented)
        return oriented

    def predict(
        self, encoding: OrientedImage, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Yield an answer; several where prompts lie so far apart that no window holds all of them."""
        assert self._steps is not None, "an image is encoded before it is asked about"
        assert self._local is not None, "an image is encoded before it is asked about"
        self._local.stop.cancel = cancel
        for prediction in self._steps.answers(encoding, state, cancel, progress):
            yield self._local.described(prediction)

    def _load(self, cancel: CancelToken) -> tuple[LocalSession, SteppingSession]:
        from PromptSegLib.predictors.nninteractive.local import LocalSession

        folder = self._folder or self._weights.folder_of(self.capabilities.weights[0], cancel)
        local = LocalSession(folder, self._device, self._network)
        return local, SteppingSession(local.session, local.patch_size, local.recover)


class NnInteractiveOther(NnInteractive):
    """A checkpoint that was imported from a folder: a newer one, or one that somebody trained further."""

    capabilities = _capabilities(
        "nninteractive-other",
        "nnInteractive, another checkpoint",
        "as nnInteractive, with the checkpoint whose folder you import",
    )


def _folder_of(place: Path | str) -> Path:
    """Return the folder of a model, or the one of a name in the authors' list.

    Raises:
        WeightsError: a model of that name is not here.
    """
    folder = Path(place)
    if folder.is_dir() or not str(place).startswith("nnInteractive_"):
        return folder
    root = Path(os.environ.get(_ROOT_VARIABLE) or Path.home() / ".nninteractive")
    if not (found := root.expanduser() / "models" / folder.name).is_dir():
        raise WeightsError(
            f"expected a folder with a model of nnInteractive, or one that its own tool brought, got {place}: "
            f"nninteractive-download-model {place}"
        )
    return found
