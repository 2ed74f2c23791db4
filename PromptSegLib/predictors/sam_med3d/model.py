"""SAM-Med3D's network as a model of windows: from voxels and clicks to coarse logits and fine probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from PromptSegLib.cancel import CancelToken
from PromptSegLib.imaging.roi import Float32Array
from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.sam_med3d.network import SAMMed3D
from PromptSegLib.predictors.sam_med3d.preparation import standardise
from PromptSegLib.predictors.torch_device import OnDevice


@dataclass(frozen=True)
class SamMed3DWay:
    """How a checkpoint was trained to see a window.

    as_stored_by_itk: axes (z, y, x), y towards Posterior and x Left, in place of (x, y, z) in RAS order.
    intensities: what becomes 0 and what 255 beforehand; None for values as they are.
    """

    as_stored_by_itk: bool = False
    intensities: IntensityRule | None = None

    def turned(self, values_xyz: NDArray[Any]) -> NDArray[Any]:
        """View a window (x, y, z) as the network has it."""
        return np.flip(values_xyz, (0, 1)).transpose(2, 1, 0) if self.as_stored_by_itk else values_xyz

    def turned_back(self, values: NDArray[Any]) -> NDArray[Any]:
        """View a window as the network has it as (x, y, z)."""
        return np.flip(values.transpose(2, 1, 0), (0, 1)) if self.as_stored_by_itk else values

    def points(self, points_xyz: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """Return points (n, 3) of a window of `size` voxels as the network counts them."""
        if not self.as_stored_by_itk:
            return points_xyz
        x, y, z = points_xyz.T
        return np.stack([z, size - 1 - y, size - 1 - x], axis=1)


TURBO_WAY = SamMed3DWay()
CVPR_WAY = SamMed3DWay(as_stored_by_itk=True, intensities=IntensityRule(positive_only=True))


class SamMed3DModel:
    """See `WindowModel`. `device`: see `OnDevice`."""

    coarse = 4

    def __init__(self, network: SAMMed3D, way: SamMed3DWay = TURBO_WAY, device: str = "auto") -> None:
        self.network = network
        self.way = way
        self.size = network.image_size
        self._device = OnDevice(network, device)

    @property
    def note(self) -> str:
        return self._device.note

    @property
    def device(self) -> str:
        return str(self._device.device)

    def embed(self, window_xyz: Float32Array, cancel: CancelToken) -> Tensor:
        """Return the embedding of a window (x, y, z), not yet standardised; it stays where the network is.

        Raises Cancelled, within half a block of the encoder.
        """
        image = torch.from_numpy(np.ascontiguousarray(self.way.turned(standardise(window_xyz))))[None, None]
        return self._device.run(lambda: self._encode(image, cancel))

    def answer(
        self, embedding: Tensor, points_xyz: ArrayLike, labels: Sequence[int], logits_xyz: Float32Array | None
    ) -> tuple[Float32Array, float]:
        """Return a window's logits (x, y, z), coarse, and the IoU that the network expects, 0 to 1.

        points_xyz: (n, 3) voxels of the window, all clicks so far. labels: 1 in the structure, 0 beside it.
        logits_xyz: what to refine, coarse; None where there is nothing yet, for which the network knows zeros.
        """
        points = self.way.points(np.asarray(points_xyz, dtype=np.float32), self.size)
        clicks = torch.from_numpy(np.ascontiguousarray(points))[None]  # (1, n, 3)
        signs = torch.tensor([list(labels)])  # (1, n)
        before = None if logits_xyz is None else np.ascontiguousarray(self.way.turned(logits_xyz))

        def decode() -> tuple[Float32Array, float]:
            device = self._device.device
            mask = self.network.empty_mask() if before is None else torch.from_numpy(before)[None, None].to(device)
            logits, iou = self.network.predict(embedding.to(device), clicks.to(device), signs.to(device), mask)
            return logits[0, 0].float().cpu().numpy(), float(iou[0, 0])

        answer, iou = self._device.run(decode)
        return np.ascontiguousarray(self.way.turned_back(answer)), min(max(iou, 0.0), 1.0)

    def fine_probabilities(self, logits_xyz: Float32Array) -> Float32Array:
        """See `WindowModel`; enlarged linearly, as the network's authors do."""
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
