"""VoxTell on a server that the user names, which needs no torch here. Start one with `voxtell-server`.

The image is sent once, its voxels and their spacing alone, then texts; masks come back.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.voxtell.client import SERVED, ForgottenError, VoxTellClient
from PromptSegLib.predictors.voxtell.predictor import RasImage, VoxTell, answers
from PromptSegLib.volume import Image


@dataclass(eq=False)
class _SentImage:
    """An image, and what the server calls it."""

    image: RasImage
    name: str


class VoxTellServer:
    """VoxTell on a server; see `PromptSegLib.predictors.server_access` for which one.

    Args:
        server: its address.
        api_key: its key.
        consent: that the user agreed to send images there; not needed for this machine.
        timeout_s: the longest wait for one prediction.

    Raises:
        ConsentError: the server is on another machine, and the user did not agree.
        PredictionError: the address is not safe.
    """

    capabilities = Capabilities(
        name="voxtell-server",
        title="VoxTell on a server",
        summary="as VoxTell, any words, on a server that you name; the image is sent there",
        dimensions=VoxTell.capabilities.dimensions,
        prompts=VoxTell.capabilities.prompts,
        code_license=VoxTell.capabilities.code_license,
        weights_license=f"{VoxTell.capabilities.weights_license}, on the server",
        devices=("server",),
        citation=VoxTell.capabilities.citation,
    )

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        consent: bool | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        self._client = VoxTellClient(SERVED.granted(server, api_key, consent), timeout_s)
        weakref.finalize(self, self._client.close)

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> _SentImage:
        """Send the image.

        Raises:
            VolumeError: for colour, or several channels.
            PredictionError: the server cannot be reached, or does not answer as one.
        """
        ras = RasImage.of(image, self.capabilities.name)
        return _SentImage(ras, self._sent(ras, progress))

    def predict(
        self, encoding: _SentImage, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer all targets asked for, in one run of the windows there.

        Raises:
            PredictionError: as `encode`; the server failed.
            Cancelled: somebody asked for it.
        """
        image = encoding.image

        def find(texts: Sequence[str]) -> NDArray[np.bool_]:
            shape = image.values_kji.shape
            try:
                return self._client.masks(encoding.name, texts, shape, cancel, progress)
            except ForgottenError:
                encoding.name = self._sent(image, progress)
                return self._client.masks(encoding.name, texts, shape, cancel, progress)

        yield from answers(image, state, self.capabilities.name, find, lambda: ("", self._client.access.address))

    def _sent(self, image: RasImage, progress: Progress) -> str:
        progress(0, f"sending the image to {self._client.access.address}")
        spacing_mm = AlignedSampling.in_ras_order(image.volume.grid).spacing_mm
        return self._client.send(image.values_kji, spacing_mm.tolist())
