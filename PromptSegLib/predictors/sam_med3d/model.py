"""SAM-Med3D's network as a model of cubes: from voxels and clicks to coarse logits and fine probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from PromptSegLib.cancel import CancelToken
from PromptSegLib.geometry import Float32Array
from PromptSegLib.predictors.sam_med3d.network import SAMMed3D
from PromptSegLib.predictors.sam_med3d.preparation import standardise
from PromptSegLib.predictors.torch_device import OnDevice


class SamMed3DModel:
    """See `CubeModel`. device: see `OnDevice`.

    as_stored_by_itk: whether the network was trained on axes (z, y, x), y towards Posterior and x Left, in place of
    (x, y, z) in RAS order.
    """

    coarse = 4

    def __init__(self, network: SAMMed3D, device: str = "auto", *, as_stored_by_itk: bool = False) -> None:
        self.network = network
        self._as_stored_by_itk = as_stored_by_itk
        self.size = network.image_size
        self._device = OnDevice(network, device)

    @property
    def note(self) -> str:
        return self._device.note

    @property
    def device(self) -> str:
        return str(self._device.device)

    def embed(self, cube_xyz: Float32Array, cancel: CancelToken) -> Tensor:
        """Return the embedding of a cube (x, y, z), not yet standardised; it stays where the network is.

        Raises:
            Cancelled: within half a block of the encoder.
        """
        image = torch.from_numpy(np.ascontiguousarray(self._turned(standardise(cube_xyz))))[None, None]
        return self._device.run(lambda: self._encode(image, cancel))

    def answer(
        self, embedding: Tensor, points_xyz: ArrayLike, labels: Sequence[int], logits_xyz: Float32Array | None
    ) -> tuple[Float32Array, float]:
        """Return a cube's logits (x, y, z), coarse, and the IoU that the network expects, 0 to 1.

        points_xyz: (n, 3) voxels of the cube, all clicks so far. labels: 1 in the structure, 0 beside it.
        logits_xyz: what to refine, coarse; None where there is nothing yet, for which the network knows zeros.
        """
        points = self._points(np.asarray(points_xyz, dtype=np.float32))
        clicks = torch.from_numpy(np.ascontiguousarray(points))[None]  # (1, n, 3)
        signs = torch.tensor([list(labels)])  # (1, n)
        before = None if logits_xyz is None else np.ascontiguousarray(self._turned(logits_xyz))

        def decode() -> tuple[Float32Array, float]:
            device = self._device.device
            mask = self.network.empty_mask() if before is None else torch.from_numpy(before)[None, None].to(device)
            logits, iou = self.network.predict(embedding.to(device), clicks.to(device), signs.to(device), mask)
            return logits[0, 0].float().cpu().numpy(), float(iou[0, 0])

        answer, iou = self._device.run(decode)
        return np.ascontiguousarray(self._turned_back(answer)), min(max(iou, 0.0), 1.0)

    def fine_probabilities(self, logits_xyz: Float32Array) -> Float32Array:
        """See `CubeModel`; enlarged linearly, as the network's authors do."""
        logits = torch.from_numpy(np.ascontiguousarray(logits_xyz))[None, None]
        fine = functional.interpolate(logits, scale_factor=self.coarse, mode="trilinear", align_corners=False)
        inner = slice(self.coarse, -self.coarse)
        return np.asarray(fine.sigmoid()[0, 0, inner, inner, inner].numpy())

    def _encode(self, image: Tensor, cancel: CancelToken) -> Tensor:
        encoder = self.network.image_encoder
        with self._device.autocast():
            tokens = encoder.tokens(image.to(self._device.device))
            for step in encoder.steps():
                cancel.check()
                tokens = step(tokens)
            return encoder.embedding(tokens).float()

    # The cube as the network has it

    def _turned(self, values_xyz: NDArray[Any]) -> NDArray[Any]:
        return np.flip(values_xyz, (0, 1)).transpose(2, 1, 0) if self._as_stored_by_itk else values_xyz

    def _turned_back(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.flip(values.transpose(2, 1, 0), (0, 1)) if self._as_stored_by_itk else values

    def _points(self, points_xyz: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._as_stored_by_itk:
            return points_xyz
        x, y, z = points_xyz.T
        return np.stack([z, self.size - 1 - y, self.size - 1 - x], axis=1)
