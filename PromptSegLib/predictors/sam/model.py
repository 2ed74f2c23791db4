"""A network of SAM's shape as a model of slices: from pixels and prompts to masks, in each system's own way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from PromptSegLib.cancel import CancelToken
from PromptSegLib.predictors.sam.medsam_transforms import MedSamFrame
from PromptSegLib.predictors.sam.transforms import LongestSideFrame, StretchedFrame
from PromptSegLib.predictors.slices.model import ObjectAnswer, ObjectPrompts
from PromptSegLib.predictors.torch_device import OnDevice

# A mask as logits: what SAM is sure of has logits of about this size.
SURE = 10.0


class PromptableNetwork(Protocol):
    """A network that encodes an image once and answers prompts on it; see `PromptSegLib.predictors.sam.network.Sam`."""

    @property
    def image_size(self) -> int: ...

    def mask_hw(self, embedding_shape: Sequence[int]) -> tuple[int, int]: ...

    def encode(self, image: Tensor, *, between_blocks: Callable[[], None]) -> Tensor: ...

    def decode(
        self,
        embedding: Tensor,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        mask: Tensor | None,
        *,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]: ...


class Frame(Protocol):
    """Images and prompts of one size as the network takes them; see `PromptSegLib.predictors.sam.transforms`."""

    def image(self, image: NDArray[np.uint8]) -> Tensor: ...

    def points(self, points_xy: Tensor) -> Tensor: ...

    def boxes(self, boxes_xyxy: Tensor) -> Tensor: ...

    def logits(self, low_res: Tensor) -> Tensor: ...

    def low_res(self, masks: Tensor, size_hw: Sequence[int]) -> Tensor: ...


@dataclass(frozen=True)
class SamWay:
    """How a system uses the network.

    frame: for an image's (height, width) and the network's side. takes_points, takes_mask: False where it was
    trained without. predicts_iou: False where that part of the network was left as it was while the rest was
    trained on. probabilities: whether a mask is fed back as probabilities, and not as logits. multimask: for which
    prompts three masks are asked for, of which the one of the highest predicted IoU counts.
    """

    frame: Callable[[tuple[int, int], int], Frame]
    multimask: Callable[[ObjectPrompts], bool]
    takes_points: bool = True
    takes_mask: bool = True
    predicts_iou: bool = True
    probabilities: bool = False


def is_single_click(prompts: ObjectPrompts) -> bool:
    """Tell whether it is the one case in which SAM's authors ask for three masks: a first click, and no more."""
    is_first = prompts.mask is None and prompts.logits is None
    return is_first and prompts.box_xyxy is None and len(prompts.labels) == 1


SAM_WAY = SamWay(LongestSideFrame, is_single_click)
MEDSAM_WAY = SamWay(MedSamFrame, lambda prompts: False, takes_points=False, takes_mask=False, predicts_iou=False)
SAM_MED2D_WAY = SamWay(StretchedFrame, lambda prompts: True, probabilities=True)


class SamModel:
    """See `SliceModel`. `network`: a module that is a `PromptableNetwork`. `device`: see `OnDevice`."""

    def __init__(self, network: nn.Module, way: SamWay, device: str = "auto") -> None:
        self.network = cast(PromptableNetwork, network)
        self.way = way
        self._device = OnDevice(network, device)
        self._weights = fingerprint(network)

    @property
    def fingerprint(self) -> str:
        return f"{self._weights} {self.way.frame.__name__} {self._device.half}"

    @property
    def note(self) -> str:
        return self._device.note

    @property
    def device(self) -> str:
        return str(self._device.device)

    @property
    def batch(self) -> int:
        """On a GPU several slices keep it busy; on a CPU one does, and comes sooner."""
        return 1 if self._device.device.type == "cpu" else 4

    def embed(self, images: Sequence[NDArray[np.uint8]], cancel: CancelToken) -> list[NDArray[Any]]:
        """Return the embedding, float32, of each RGB image (H, W, 3), uint8, all of one size."""
        frame = self._frame(images[0].shape[:2])
        inputs = torch.cat([frame.image(image) for image in images])  # (B, 3, side, side)
        embeddings = self._device.run(lambda: self._encode(inputs, cancel))
        return list(embeddings.numpy())

    def answer(
        self, embedding: NDArray[Any], shape_hw: tuple[int, int], objects: Sequence[ObjectPrompts]
    ) -> list[ObjectAnswer]:
        """Return the mask of each object, with the logits (4h, 4w) to feed back."""
        return [self._device.run(partial(self._decode, embedding, shape_hw, prompts)) for prompts in objects]

    def _frame(self, shape_hw: tuple[int, ...]) -> Frame:
        height, width = shape_hw
        return self.way.frame((height, width), self.network.image_size)

    def _encode(self, inputs: Tensor, cancel: CancelToken) -> Tensor:
        with self._device.autocast():
            embedding = self.network.encode(inputs.to(self._device.device), between_blocks=cancel.check)
        return embedding.float().cpu()

    def _decode(self, embedding: NDArray[Any], shape_hw: tuple[int, int], prompts: ObjectPrompts) -> ObjectAnswer:
        frame, device = self._frame(shape_hw), self._device.device
        points = labels = boxes = None
        if self.way.takes_points and len(prompts.labels):
            points = frame.points(torch.from_numpy(prompts.points_xy)).float()[None].to(device)  # (1, N, 2)
            labels = torch.from_numpy(prompts.labels)[None].to(device)  # (1, N)
        if prompts.box_xyxy is not None:
            boxes = frame.boxes(torch.from_numpy(prompts.box_xyxy)[None]).float().to(device)  # (1, 4)
        low_res, iou = self.network.decode(
            torch.tensor(embedding)[None].to(device),
            points,
            labels,
            boxes,
            self._mask_input(frame, embedding.shape, prompts),
            multimask=self.way.multimask(prompts),
        )
        best = int(iou[0].argmax())
        low_res = low_res[:, best : best + 1]
        mask = (frame.logits(low_res)[0, 0] > 0).cpu().numpy()
        score = min(max(float(iou[0, best]), 0.0), 1.0) if self.way.predicts_iou else None
        return ObjectAnswer(mask, score, low_res[0, 0].float().cpu().numpy())

    def _mask_input(self, frame: Frame, embedding_shape: Sequence[int], prompts: ObjectPrompts) -> Tensor | None:
        """The mask to be refined, (1, 1, 4h, 4w): the network's own logits where it gave it, else as sure ones."""
        if self.way.takes_mask and prompts.logits is not None:
            logits = torch.from_numpy(prompts.logits)[None, None]
        elif self.way.takes_mask and prompts.mask is not None:
            mask = torch.from_numpy(prompts.mask).float()[None, None]
            logits = SURE * (2 * frame.low_res(mask, self.network.mask_hw(embedding_shape)) - 1)
        else:
            return None
        return (logits.sigmoid() if self.way.probabilities else logits).to(self._device.device)


def fingerprint(network: nn.Module) -> str:
    """A hash of the names, shapes and some of the values of all weights: whole checkpoints differ in nearly all."""
    content = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        values = tensor.detach().flatten()
        content.update(f"{name} {tuple(tensor.shape)}".encode())
        content.update(values[:: max(1, len(values) // 64)].float().cpu().numpy().tobytes())
    return content.hexdigest()
