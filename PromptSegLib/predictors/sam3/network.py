"""SAM 3 (Carion et al., arXiv:2511.16719), as the package transformers has it.

    network = Sam3(sam3_tracker())
    network.video.load_state_dict(tracker_from_published(state_dict))
    embedding = network.encode(images)
    low_res, iou = network.decode(embedding[:1], points, labels)

The tracker is SAM 2's with another image encoder. `Sam3TrackerModel`, its counterpart for single images, adds the
embedding that stands for "no memory" to a feature map that is left out afterwards (transformers 5.23); here it is
added where the authors add it, as `Sam3TrackerVideoModel` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from PromptSegLib.predictors.sam2.network import Sam2

if TYPE_CHECKING:
    from transformers import Sam2VideoModel, Sam3Model, Sam3TrackerVideoModel


class Sam3(Sam2):
    """The tracker for single images; see `Sam2`."""

    def __init__(self, video: Sam3TrackerVideoModel) -> None:
        super().__init__(cast("Sam2VideoModel", video))  # it has the same parts

    @property
    def blocks(self) -> Iterable[nn.Module]:
        return self.video.vision_encoder.backbone.layers  # type: ignore[no-any-return]

    def new_memory(self, device: torch.device) -> Any:
        from transformers import Sam3TrackerVideoInferenceSession

        return Sam3TrackerVideoInferenceSession(
            inference_device=device, inference_state_device=device, dtype=torch.float32
        )


def sam3_tracker(
    image_size: int = 1008, backbone: Mapping[str, Any] | None = None, **changes: Any
) -> Sam3TrackerVideoModel:
    """Return the tracker, with weights that mean nothing yet, in evaluation mode.

    Args:
        image_size: side of the square it sees, a multiple of 14.
        backbone: changes of transformers' Sam3ViTConfig.
        changes: of its Sam3TrackerVideoConfig.
    """
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel

    config = Sam3TrackerVideoConfig(  # type: ignore[call-arg]
        vision_config={"model_type": "sam3_vision_model", "backbone_config": _vit(image_size, backbone)},
        image_size=image_size,
        **changes,
    )
    network = Sam3TrackerVideoModel(config)
    network.train(False)
    return network


def sam3_detector(image_size: int = 1008, backbone: Mapping[str, Any] | None = None, **changes: Any) -> Sam3Model:
    """Return the detector of what words name; see `sam3_tracker`, with changes of transformers' Sam3Config."""
    from transformers import Sam3Config, Sam3Model

    sizes = [[scale * image_size // 14] * 2 for scale in (4, 2, 1)]
    vision = {"backbone_config": _vit(image_size, backbone), "backbone_feature_sizes": sizes}
    network = Sam3Model(Sam3Config(vision_config=vision, **changes))
    network.train(False)
    return network


def _vit(image_size: int, changes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"model_type": "sam3_vit_model", "image_size": image_size} | dict(changes or {})
