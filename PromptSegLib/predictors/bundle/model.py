"""A bundle's network at work: the image as its configuration prepares it, the answer as it undoes that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import Cancelled, PredictionError, PromptSegError
from PromptSegLib.geometry import Extent, transpose_kji_to_ijk
from PromptSegLib.predictors.bundle.folder import BundleFolder
from PromptSegLib.predictors.bundle.parts import Parts
from PromptSegLib.predictors.names.model import finite_or_zero
from PromptSegLib.predictors.names.named_places import NOWHERE
from PromptSegLib.predictors.torch_device import OnDevice
from PromptSegLib.volume import Volume


class BundleModel:
    """Runs a bundle, all of it at once: MONAI's inferers hold all outputs of the whole image."""

    def __init__(self, parts: Parts, bundle: BundleFolder, device: str) -> None:
        self.on_device = OnDevice(parts.network, device)
        self._parts = parts
        self._bundle = bundle

    def find(
        self, volumes: Sequence[Volume], numbers: Sequence[int], cancel: CancelToken, progress: Progress
    ) -> Iterator[Patch]:
        """Return where each of the outputs `numbers` is, on the image's grid."""
        answer = self.answer(volumes, cancel, progress)
        outputs = sorted(self._bundle.outputs)
        # A label for each voxel, or a mask for each output; of two outputs without a background, the first is 0.
        is_labels = answer.shape[0] == 1 and (len(outputs) > 1 or outputs != [0])
        for number in numbers:
            if is_labels:
                mask = answer[0] == number
            elif number < answer.shape[0]:
                mask = answer[number] > 0.5
            else:
                raise PredictionError(f"expected an output {number} of the bundle, got {answer.shape[0]} outputs")
            box = Extent.of_mask(mask)
            yield NOWHERE if box is None else Patch(box, np.ascontiguousarray(mask[box.slices]))

    def answer(self, volumes: Sequence[Volume], cancel: CancelToken, progress: Progress) -> NDArray[Any]:
        """Return what the bundle answers for an image, on its grid: (output, k, j, i)."""
        parts = self._parts
        progress(0.0, "preparing the image")
        image = self._loaded(volumes)
        shape, affine = image.shape[-3:], image.affine
        with _told("preparing the image"):
            data = parts.before({parts.image: image})
        cancel.check()
        progress(0.2, "predicting")
        prepared = data[parts.image]
        with _told("predicting"):
            found = self.on_device.run(lambda: self._inferred(prepared, cancel))
        progress(0.8, "finding where the structures are")
        data[parts.answer] = found
        with _told("postprocessing"):
            data = parts.after(data)
        cancel.check()
        return _on_grid(data[parts.answer], shape, affine)

    def _loaded(self, volumes: Sequence[Volume]) -> Any:
        """The image as MONAI's reader would have it: (x, y, z), channels first where there are several."""
        from monai.data.meta_tensor import MetaTensor

        arrays = [np.array(transpose_kji_to_ijk(finite_or_zero(volume.array)), np.float32) for volume in volumes]
        several = len(arrays) > 1 or self._parts.adds_channel
        array = np.stack(arrays) if several else arrays[0]
        affine = torch.as_tensor(np.array(volumes[0].ijk_to_ras), dtype=torch.float64)
        meta = {
            "original_channel_dim": 0 if several else float("nan"),
            "original_affine": affine.numpy(),
            "spatial_shape": np.array(arrays[0].shape),
            "filename_or_obj": "image",
            "space": "RAS",
        }
        return MetaTensor(torch.from_numpy(array), affine=affine, meta=meta)

    def _inferred(self, prepared: Any, cancel: CancelToken) -> Any:
        def network(values: Tensor, *more: Any, **options: Any) -> Any:
            cancel.check()
            with self.on_device.autocast():
                answer = self._parts.network(values.as_tensor() if hasattr(values, "as_tensor") else values)
            return answer[0] if isinstance(answer, list | tuple) else answer

        batch = prepared[None].to(self.on_device.device)
        found: Any = self._parts.inferer(batch, network)  # type: ignore[arg-type]
        if not hasattr(found, "meta"):
            from monai.data.meta_tensor import MetaTensor

            found = MetaTensor(found, affine=prepared.affine, meta=prepared.meta)
        return found[0].float().cpu()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say in one line what a bundle's transforms or its inferer cannot do; they raise whatever they like."""
    try:
        yield
    except (PromptSegError, Cancelled, MemoryError):
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise PredictionError(f"the bundle fails at {what}: {type(error).__name__}: {why}") from error


def _on_grid(answer: Any, shape: Sequence[int], affine: Tensor) -> NDArray[Any]:
    """The answer : (output, x, y, z) on the image's grid, (output, k, j, i); most bundles have it there already."""
    from monai.transforms.spatial.array import SpatialResample

    moved = torch.as_tensor(np.asarray(answer.affine) - np.asarray(affine)) if hasattr(answer, "affine") else None
    if tuple(answer.shape[-3:]) != tuple(shape) or (moved is not None and float(moved.abs().max()) > 1e-3):
        answer = SpatialResample(mode="nearest", padding_mode="zeros")(
            answer, dst_affine=affine, spatial_size=tuple(shape)
        )
    array = np.asarray(answer)
    return np.stack([transpose_kji_to_ijk(one) for one in array.reshape(-1, *array.shape[-3:])])
