"""VoxTell (arXiv:2511.11450): structures and lesions in CT, MR and PET by free text, by the authors' own package.

Nothing is resampled: the network sees windows of 192 x 192 x 192 voxels of the image in RAS order. Common texts are
answered with vectors that are stored; others need the text encoder of four billion parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import AxisMap, Extent
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.names.found_structures import FoundStructures, names_asked, places_in
from PromptSegLib.volume import Image, Volume
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from PromptSegLib.predictors.voxtell.local import LocalVoxTell

PROMPTS = frozenset({"text", "class", "box3d+", "point+", "mask"})
_WEIGHTS, _BANK = "voxtell", "text_embeddings.npz"

Find = Callable[[Sequence[str]], Iterable[NDArray[np.bool_]]]
"""Texts to their masks : (k, j, i) bool each, in the image's RAS order."""


@dataclass(eq=False)
class RasImage:
    """An image in RAS order.

    values_kji: (k, j, i) towards Superior, Anterior, Right; finite. axes: from the image's own axes to these.
    found: what was found in it, on the image's own grid.
    """

    volume: Volume
    values_kji: NDArray[Any]
    axes: AxisMap
    found: FoundStructures

    @classmethod
    def of(cls, image: Image, who: str) -> RasImage:
        """Return `image` in that order; an oblique one is not rotated.

        Raises:
            VolumeError: it is in colour, or has several channels; `who` takes one.
        """
        volume = image.reference
        if volume.components > 1 or len(image.channels) > 1:
            raise VolumeError(f"expected one channel with one value in each voxel for {who!r}, got {image!r}")
        axes = AxisMap.between(volume.grid, AlignedSampling.in_ras_order(volume.grid).grid.ijk_to_ras)
        assert axes is not None, "axes were put in another order, which is exact"
        return cls(volume, axes.from_source(volume.finite()), axes, FoundStructures(volume.grid))

    def keep(self, text: str, mask_kji: NDArray[np.bool_]) -> None:
        """Take note of a mask : (k, j, i) in RAS order."""
        own = self.axes.to_source(mask_kji)
        box = Extent.of_mask(own) or Extent((0, 0, 0), (0, 0, 0))
        self.found.keep(text, Patch(box, own[box.slices].copy()))


def answers(
    encoding: RasImage, state: TargetState, who: str, find: Find, described: Callable[[], tuple[str, str]]
) -> Iterator[Prediction]:
    """Yield the answer for each target asked: what is looked for once is not looked for again.

    described: returns a note and the device, once all is found.
    """
    texts = names_asked(state.asked, who)
    started = time.perf_counter()
    missing = encoding.found.missing(texts.values())
    if missing:
        for text, mask_kji in zip(missing, find(missing), strict=True):
            encoding.keep(text, mask_kji)
    timings_ms = {"windows": 1000 * (time.perf_counter() - started)}
    remark, device = described()
    for target, prompts in state.asked.items():
        patch = encoding.found.patch([texts[target]], places_in(prompts))
        nothing = "" if patch.mask_kji.size else f"{texts[target]!r} was not found there"
        note = "; ".join(filter(None, [nothing, remark]))
        yield Prediction({target: patch}, timings_ms=timings_ms, note=note, device=device, replaces=True)
        timings_ms = {}


class VoxTell:
    """VoxTell in this process.

    Args:
        folder: a model to use in place of the published one, as nnU-Net saves it.
        embeddings: a file of stored vectors to use in place of the published ones.
        encoder: a folder with the text encoder; by default the store's, where it is there.
        device: "auto" for CUDA where there is one, or a name such as "cpu".
        weights: where weights are; by default the user's store.

    Raises:
        WeightsError: the weights are not here; says how to get them.
    """

    capabilities = Capabilities.published(
        _WEIGHTS,
        title="VoxTell",
        summary="structures and lesions in CT, MR and PET by free text, whole sentences too; a GPU is advised",
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        devices=("cuda", "cpu"),
    )

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        embeddings: Path | str | None = None,
        encoder: Path | str | None = None,
        device: str = "auto",
        weights: WeightsStore | None = None,
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._embeddings = None if embeddings is None else Path(embeddings)
        self._encoder = None if encoder is None else Path(encoder)
        self._device = device
        self._weights = weights or WeightsStore()
        self._local: LocalVoxTell | None = None
        if folder is None:
            self._weights.require(_WEIGHTS)

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> RasImage:
        """Load the model, and put the image in RAS order.

        Raises:
            VolumeError: for colour, or several channels.
            WeightsError: the weights do not fit.
        """
        encoding = RasImage.of(image, self.capabilities.name)
        if self._local is None:
            progress(0, "loading VoxTell")
            self._local = self._load(cancel)
        return encoding

    def predict(
        self, encoding: RasImage, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer all targets asked for, in one run of the windows.

        Raises:
            PromptError: a text has no stored vector, and the encoder is not here.
            Cancelled: somebody asked for it.
        """
        local = self._local
        assert local is not None, "an image is encoded before it is asked about"

        def find(texts: Sequence[str]) -> Iterator[NDArray[np.bool_]]:
            for logits, part in local.logits(encoding.values_kji, texts, cancel, progress):
                mask = np.zeros(encoding.values_kji.shape, bool)
                mask[part] = logits > 0
                yield mask

        who = self.capabilities.name
        yield from answers(encoding, state, who, find, lambda: (local.note, str(local.device)))

    def _load(self, cancel: CancelToken) -> LocalVoxTell:
        from PromptSegLib.predictors.voxtell.embeddings import ENCODER, read_bank
        from PromptSegLib.predictors.voxtell.local import LocalVoxTell

        folder = self._folder or self._weights.folder_of(_WEIGHTS, cancel)
        beside = folder / _BANK
        bank = self._embeddings or (beside if beside.is_file() else None)
        encoder = self._encoder
        if encoder is None and self._weights.status(ENCODER).state == "ready":
            encoder = self._weights.folder_of(ENCODER, cancel)
        return LocalVoxTell(folder, read_bank(bank) if bank else {}, encoder, self._device)
