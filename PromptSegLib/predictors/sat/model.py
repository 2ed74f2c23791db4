"""SAT's two networks at work on one image: texts become queries, and queries masks, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PromptSegLib.bitmask import BitMask
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.names.slab_masks import masks_from_slabs
from PromptSegLib.predictors.names.tiling import slabs_of_half_steps
from PromptSegLib.predictors.sat.network import SAT
from PromptSegLib.predictors.sat.text_network import MODALITIES, TextEncoder, tokenize
from PromptSegLib.predictors.torch_device import OnDevice

_DECODED_AT_ONCE = 8
"""Texts whose logits are held at the same time: 32 MB each in a whole tile."""


class SatModel:
    """network, encoder, vocabulary: of the published weights, or of any sizes. tile: (x, y, z) voxels.

    held_bytes: what the probabilities of all texts may take that tiles still add to; more texts take more runs.
    """

    def __init__(
        self,
        network: SAT,
        encoder: TextEncoder,
        vocabulary: Mapping[str, int],
        device: str,
        tile: Sequence[int],
        held_bytes: int = 2 * 2**30,
    ) -> None:
        self.on_device = OnDevice(network, device)
        self._network = network
        self._encoder = encoder.eval().requires_grad_(False)
        self._vocabulary = vocabulary
        self._tile = tuple(tile)
        self._held_bytes = held_bytes

    @torch.inference_mode()
    def queries(self, texts: Sequence[str], modality: str) -> Tensor:
        """Return a query for each text about an image of `modality`, (n, width). Takes a moment on any CPU."""
        ids, mask = tokenize(texts, self._vocabulary)
        queries: Tensor = self._encoder(ids, mask, torch.full((len(texts),), MODALITIES.index(modality)))
        return queries

    def masks(
        self,
        values: NDArray[np.float32],
        sampling: AlignedSampling,
        queries: Tensor,
        cancel: CancelToken,
        progress: Progress,
    ) -> Iterator[BitMask]:
        """Yield the mask of each query on the image's grid, as many at a time as one run of the tiles gives.

        values: (x, y, z), prepared; `sampling` says where they lie. Voxels of a probability above a half are set.
        """
        volume = torch.from_numpy(values)[None]
        chunks = torch.split(queries, self._queries_at_once(values.shape))
        for number, chunk in enumerate(chunks):

            def report(fraction: float, what: str, done: int = number) -> None:
                progress((done + fraction) / len(chunks), what)

            slabs = self._slabs(volume, chunk, cancel, report)
            yield from masks_from_slabs(slabs, sampling, lambda layer: layer > 0.5, len(chunk), cancel=cancel)

    def _queries_at_once(self, shape: Sequence[int]) -> int:
        _, y, z = (max(n, w) for n, w in zip(shape, self._tile, strict=True))
        return max(1, self._held_bytes // (4 * self._tile[0] * y * z))

    def _slabs(self, volume: Tensor, queries: Tensor, cancel: CancelToken, progress: Progress) -> Iterator[Tensor]:
        def predict(tile: Tensor) -> Tensor:
            return self.on_device.run(lambda: self._probabilities(tile, queries))

        return slabs_of_half_steps(volume, predict, self._tile, cancel=cancel, progress=progress)

    def _probabilities(self, tile: Tensor, queries: Tensor) -> Tensor:
        device = self.on_device.device
        parts = []
        with self.on_device.autocast():
            features, tokens, positions = self._network.encode(tile.to(device))
            for chunk in torch.split(queries.to(device), _DECODED_AT_ONCE):
                logits = self._network.decode(features[:1], tokens, positions, chunk)
                assert isinstance(logits, Tensor)
                parts.append(logits.float().sigmoid_().cpu())
        return torch.cat(parts, dim=1)
