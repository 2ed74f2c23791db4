"""ScribblePrompt's UNet as a model of slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from PromptSegLib.cancel import CancelToken
from PromptSegLib.predictors.sam.model import SURE, fingerprint
from PromptSegLib.predictors.scribbleprompt.network import ScribblePromptUNet
from PromptSegLib.predictors.scribbleprompt.transforms import ScribblePromptFrame, prompt_channels
from PromptSegLib.predictors.slices.model import ObjectAnswer, ObjectPrompts
from PromptSegLib.predictors.torch_device import OnDevice


class ScribblePromptModel:
    """See `SliceModel`. All objects are answered as one. side: of what the network sees, in pixels."""

    batch = 1

    def __init__(self, network: ScribblePromptUNet, device: str = "auto", side: int = 128) -> None:
        self.network = network
        self.side = side
        self.fingerprint = f"{fingerprint(network)} {side}"
        self._device = OnDevice(network, device)

    @property
    def note(self) -> str:
        return self._device.note

    @property
    def device(self) -> str:
        return str(self._device.device)

    def embed(self, images: Sequence[NDArray[np.float32]], cancel: CancelToken) -> list[NDArray[Any]]:
        """Return each image (H, W), 0 to 1, as (side, side): all that can be done before the prompts are known."""
        height, width = images[0].shape
        frame = ScribblePromptFrame((height, width), self.side)
        return [frame.maps(torch.from_numpy(image)[None, None])[0, 0].numpy() for image in images]

    def answer(
        self, embedding: NDArray[Any], shape_hw: tuple[int, int], objects: Sequence[ObjectPrompts]
    ) -> list[ObjectAnswer]:
        """Return one mask for all objects, with the logits (side, side) to feed back."""
        channels = self._channels(embedding, shape_hw, objects)
        logits = self._device.run(lambda: self.network(channels.to(self._device.device)).cpu())
        mask = (ScribblePromptFrame(shape_hw, self.side).logits(logits)[0, 0] > 0).numpy()
        return [ObjectAnswer(mask, None, logits[0, 0].numpy())]

    def _channels(
        self, embedding: NDArray[Any], shape_hw: tuple[int, int], objects: Sequence[ObjectPrompts]
    ) -> torch.Tensor:
        """The network's input (1, 5, side, side)."""
        frame = ScribblePromptFrame(shape_hw, self.side)
        points = torch.from_numpy(np.concatenate([np.rint(one.points_xy) for one in objects]))[None]
        labels = torch.from_numpy(np.concatenate([one.labels for one in objects]))[None]
        # Boxes go from the first pixel inside to the first one outside.
        boxes = [one.box_xyxy + np.array([0, 0, 1, 1]) for one in objects if one.box_xyxy is not None]
        strokes = next((one.strokes for one in objects if one.strokes is not None), None)
        return prompt_channels(
            torch.tensor(embedding)[None, None],
            frame.points(points),
            labels,
            frame.boxes(torch.from_numpy(np.rint(boxes))[None]) if boxes else None,
            None if strokes is None else frame.maps(torch.from_numpy(strokes).float()[None]),
            self._previous(frame, objects),
        )

    def _previous(self, frame: ScribblePromptFrame, objects: Sequence[ObjectPrompts]) -> torch.Tensor | None:
        """The logits (1, 1, side, side) to refine: the network's own, or sure ones of the mask."""
        if objects[0].logits is not None:
            return torch.from_numpy(objects[0].logits)[None, None]
        masks = [one.mask for one in objects if one.mask is not None]
        if not masks:
            return None
        mask = torch.from_numpy(np.logical_or.reduce(masks)).float()[None, None]
        return SURE * (2 * frame.maps(mask) - 1)
