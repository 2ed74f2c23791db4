"""SAM 2 as a model of slices, which remembers a structure from slice to slice as it does from frame to frame.

Ravi et al., arXiv:2408.00714, section 4: a slice whose mask is given is a prompted frame; of the slices found since,
the last six masks and the last sixteen object pointers are looked back at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.predictors.sam.model import SamModel, SamWay, is_single_click
from PromptSegLib.predictors.sam2.network import Sam2
from PromptSegLib.predictors.sam2.transforms import Sam2Frame
from PromptSegLib.predictors.slices.model import ObjectAnswer
from PromptSegLib.predictors.torch_device import OnDevice

SAM2_WAY = SamWay(Sam2Frame, is_single_click)

_STRUCTURE = 1
_LOOKS_BACK = 16


class Sam2Model(SamModel):
    """See `SliceModel` and `FollowsSlices`. `device`: see `OnDevice`."""

    def __init__(self, network: Sam2, device: str = "auto", way: SamWay = SAM2_WAY) -> None:
        super().__init__(network, way, device)
        self._sam2 = network

    def follower(self) -> Sam2Follower:
        return Sam2Follower(self._sam2, self._device, self._square)

    def _square(self, shape_hw: tuple[int, ...]) -> Sam2Frame:
        frame = self._frame(shape_hw)
        assert isinstance(frame, Sam2Frame), "it is what its way makes"
        return frame


class Sam2Follower:
    """See `Follower`. One video of one object, whose frames are slices. frame: of a slice's (height, width)."""

    def __init__(self, network: Sam2, device: OnDevice, frame: Callable[[tuple[int, ...]], Sam2Frame]) -> None:
        self._network = network
        self._device = device
        self._frame = frame
        self._shown: dict[int, tuple[NDArray[Any], BoolArray]] = {}
        self._video: Any = None

    def show(self, number: int, embedding: NDArray[Any], mask: BoolArray) -> None:
        self._shown[number] = embedding, mask
        self._video = None

    def find(self, number: int, embedding: NDArray[Any], shape_hw: tuple[int, int]) -> ObjectAnswer:
        answer = self._device.run(lambda: self._on_frame(self._video_so_far(), number, embedding))
        low_res = answer.pred_masks.float().reshape(1, 1, *answer.pred_masks.shape[-2:])
        mask = (self._frame(shape_hw).logits(low_res)[0, 0] > 0).cpu().numpy()
        return ObjectAnswer(mask, float(answer.object_score_logits.sigmoid().squeeze()), low_res[0, 0].cpu().numpy())

    def _video_so_far(self) -> Any:
        """Return the video, on the device that the network is on; begun anew when that is another one."""
        device = self._device.device
        if self._video is None or torch.device(self._video.inference_device) != device:
            self._video = self._network.new_memory(device)
            for number, (embedding, mask) in self._shown.items():
                square = self._frame(mask.shape).mask(torch.from_numpy(mask))
                self._video.add_mask_inputs(self._video.obj_id_to_idx(_STRUCTURE), number, square)
                self._video.obj_with_new_inputs = [_STRUCTURE]
                self._on_frame(self._video, number, embedding)
        return self._video

    def _on_frame(self, video: Any, number: int, embedding: NDArray[Any]) -> Any:
        """Return the network's answer for a frame, which `video` remembers."""
        features = self._network.features(torch.tensor(embedding)[None].to(self._device.device))
        video.cache.cache_vision_features(
            number, {"vision_feats": features, "vision_pos_embeds": [self._network.positions()]}
        )
        for frames in video.output_dict_per_obj.values():
            frames["non_cond_frame_outputs"].pop(number - _LOOKS_BACK, None)
        # The frame's pixels are not looked at: its features are known.
        with self._device.autocast():
            return self._network.video(video, frame_idx=number, frame=torch.zeros(3, 1, 1))
