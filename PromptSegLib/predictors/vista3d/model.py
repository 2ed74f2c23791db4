"""VISTA3D's network, MONAI's, at work on one image: classes tile by tile, clicks in tiles around them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PromptSegLib.bitmask import BitMask
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.names.slab_masks import masks_from_slabs
from PromptSegLib.predictors.names.tiling import slabs
from PromptSegLib.predictors.torch_device import OnDevice
from PromptSegLib.predictors.vista3d.classes import SPECIAL
from PromptSegLib.prompts import Point

if TYPE_CHECKING:
    from monai.networks.nets.vista3d import VISTA3D

OVERLAP = 0.3


class Vista3dModel:
    """network: `monai.networks.nets.vista3d132()`, or one of its kind. tile: (x, y, z) voxels.

    held_bytes: what the logits of all classes may take that tiles still add to; more classes take more runs.
    """

    def __init__(
        self, network: VISTA3D, device: str, tile: Sequence[int] = (128, 128, 128), held_bytes: int = 2 * 2**30
    ) -> None:
        self.on_device = OnDevice(network, device)
        self._network = network
        self._tile = tuple(tile)
        self._held_bytes = held_bytes

    def class_masks(
        self,
        values: NDArray[np.float32],
        sampling: AlignedSampling,
        numbers: Sequence[int],
        cancel: CancelToken,
        progress: Progress,
    ) -> Iterator[BitMask]:
        """Yield the mask of each class on the image's grid: where its logit, interpolated, is above 0.

        values: (x, y, z), prepared; `sampling` says where they lie. numbers: of the classes.
        """
        chunks = torch.split(torch.tensor(numbers)[:, None], self._classes_at_once(values.shape))
        for index, chunk in enumerate(chunks):

            def report(fraction: float, what: str, done: int = index) -> None:
                progress((done + fraction) / len(chunks), what)

            slabs_of_logits = self.class_slabs(torch.from_numpy(values), chunk, cancel, report)
            yield from masks_from_slabs(slabs_of_logits, sampling, is_positive, len(chunk), cancel=cancel)

    def class_slabs(self, volume: Tensor, numbers: Tensor, cancel: CancelToken, progress: Progress) -> Iterator[Tensor]:
        """Yield the logits of classes : (n, 1), as MONAI's sliding window has them, (n, layers, y, z) at a time.

        volume: (x, y, z); smaller than the tile, it is continued by its outermost voxels.
        """
        from monai.data.utils import compute_importance_map

        short = [max(w - n, 0) for n, w in zip(volume.shape, self._tile, strict=True)]
        before = [n // 2 for n in short]
        after = [n - n // 2 for n in short]
        around = [before[2], after[2], before[1], after[1], before[0], after[0]]
        padded = functional.pad(volume[None, None], around, mode="replicate")[0]
        starts = [tile_starts(n, w) for n, w in zip(padded.shape[1:], self._tile, strict=True)]
        weights = compute_importance_map(self._tile, mode="gaussian", sigma_scale=0.125)

        def predict(tile: Tensor) -> Tensor:
            return self._run(tile, class_vector=numbers, transpose=True)

        first = 0
        for slab in slabs(padded, predict, starts, weights, cancel=cancel, progress=progress):
            inside = slice(max(before[0] - first, 0), max(before[0] + volume.shape[0] - first, 0))
            first += slab.shape[1]
            yield slab[:, inside, before[1] : before[1] + volume.shape[1], before[2] : before[2] + volume.shape[2]]

    def click_masks(
        self,
        values: NDArray[np.float32],
        sampling: AlignedSampling,
        points: Sequence[Point],
        number: int | None,
        cancel: CancelToken,
    ) -> tuple[BitMask, BitMask]:
        """Return the structure clicked on, and where the network was asked, on the image's grid.

        number: of the structure's class, where it is known.
        """
        last = np.asarray(sampling.shape) - 1
        points_xyz = [np.clip(sampling.grid.to_ijk(point.position_ras), 0, last).tolist() for point in points]
        logits = self.click_logits(values, points_xyz, [point.positive for point in points], number, cancel)
        asked = Extent.of_mask(~logits.isnan().numpy())  # along x, y, z
        assert asked is not None, "a tile holds its click"
        logits = logits[asked.slices]
        part = sampling.resized(asked.shape_kji, np.ones(3), asked.start_kji)
        # Between tiles that lie apart, and at their borders, nothing is known.
        answers = torch.stack([logits.nan_to_num(nan=-1.0), 0.5 - logits.isnan().float()])
        answer, answered = masks_from_slabs([answers], part, is_positive, 2, cancel=cancel)
        return answer, answered

    def click_logits(
        self,
        values: NDArray[np.float32],
        points_xyz: Sequence[Sequence[float]],
        positive: Sequence[bool],
        number: int | None,
        cancel: CancelToken,
    ) -> Tensor:
        """Return the logits of the structure clicked on, (x, y, z); NaN where no tile around a click reaches.

        points_xyz: voxels of `values`. number: of the structure's class, where it is known.
        """
        from monai.apps.vista3d.inferer import point_based_window_inferer
        from monai.data.meta_tensor import MetaTensor

        is_special = number in SPECIAL
        labels = torch.tensor([[int(sign) + (2 if is_special else 0) for sign in positive]])

        def predict(tile: Tensor, **prompts: Any) -> Tensor:
            cancel.check()
            return self._run(torch.as_tensor(tile), **prompts)

        with torch.inference_mode(), warnings.catch_warnings():
            # MONAI's own doing, in its last line: harmless.
            warnings.filterwarnings("ignore", message="Setting affine, but the applied meta contains an affine")
            logits = point_based_window_inferer(
                inputs=MetaTensor(torch.from_numpy(values)[None, None]),
                roi_size=self._tile,
                predictor=predict,  # type: ignore[arg-type]
                point_coords=torch.tensor([points_xyz], dtype=torch.float32),
                point_labels=labels,
                prompt_class=None if number is None else torch.tensor([[number]]),
                transpose=True,
            )
        return torch.as_tensor(logits)[0, 0].clone()

    def _run(self, tile: Tensor, **prompts: Any) -> Tensor:
        def work() -> Tensor:
            device = self.on_device.device
            there = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in prompts.items()}
            with self.on_device.autocast():
                logits: Tensor = self._network(tile.to(device), **there)
            return logits.float().cpu()

        return self.on_device.run(work)

    def _classes_at_once(self, shape: Sequence[int]) -> int:
        _, y, z = (max(n, w) for n, w in zip(shape, self._tile, strict=True))
        return max(1, self._held_bytes // (4 * self._tile[0] * y * z))


def is_positive(layer: Tensor) -> Tensor:
    """Where logits are of the structure."""
    return layer > 0


def tile_starts(length: int, tile: int) -> list[int]:
    """First voxels of MONAI's tiles: 0.3 of a tile overlap, and the last one moved back to the end."""
    interval = tile if length == tile else max(int(tile * (1 - OVERLAP)), 1)
    count = -(-(length - tile) // interval) + 1
    return [min(n * interval, length - tile) for n in range(count)]
