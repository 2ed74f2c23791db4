"""The Segment Anything Model (arXiv:2304.02643) and the networks of its shape: MedSAM, SAM-Med2D, FT-SAM.

A network is built from a configuration and takes the official state dict as it is::

    network = sam_vit_b().eval()
    network.load_state_dict(torch.load("sam_vit_b_01ec64.pth", weights_only=True))

    network = sam_med2d().eval()  # sam_med2d(adapters=False) for FT-SAM
    network.load_state_dict(checkpoint["model"])

    tiny = sam_vit_b(image_size=256, width=48, depth=4, heads=3, window=7, global_blocks=(1, 3), embedding=64)

Large ones are best built without memory of their own and given that of the state dict::

    with torch.device("meta"):
        network = sam_vit_h().eval()
    network.load_state_dict(weights, assign=True)

The image is encoded once and prompted often; what lies before and after is in
`PromptSegLib.predictors.sam.transforms`::

    frame = LongestSideFrame(image.shape[:2], network.config.image_size)  # StretchedFrame for SAM-Med2D
    with torch.inference_mode():
        embedding = network.encode(frame.image(image))
        low_res, iou = network.decode(embedding, points=frame.points(points_xy)[None], labels=labels[None])
        logits = frame.logits(low_res)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from PromptSegLib.predictors.sam.config import SamConfig
from PromptSegLib.predictors.sam.decoder import MaskDecoder
from PromptSegLib.predictors.sam.encoder import ImageEncoder
from PromptSegLib.predictors.sam.prompt_encoder import PromptEncoder


class Sam(nn.Module):
    """The assembled network: `encode` an image once, then `decode` prompts."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(width=config.embedding, patch=config.patch)
        self.mask_decoder = MaskDecoder(width=config.embedding)

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that it sees."""
        return self.config.image_size

    def mask_hw(self, embedding_shape: Sequence[int]) -> tuple[int, int]:
        """Size of the masks that go in and come out, for an embedding of (…, C, h, w)."""
        return 4 * embedding_shape[-2], 4 * embedding_shape[-1]

    def encode(
        self, image: Tensor, *, use_adapters: bool = True, between_blocks: Callable[[], None] = lambda: None
    ) -> Tensor:
        """The embedding (B, C, H / patch, W / patch) of normalised images (B, 3, H, W), rounded up.

        Meant for H = W = `config.image_size`; other sizes run with interpolated positions.
        `use_adapters=False` leaves out the adapters of a network that has them. `between_blocks` is called before
        each block, which takes up to a second on a CPU, and may raise to end it.
        """
        embedding: Tensor = self.image_encoder(image, use_adapters=use_adapters, between_blocks=between_blocks)
        return embedding

    def decode(
        self,
        embedding: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (P, M, 4h, 4w) and predicted IoU (P, M) of P prompts; M is 3, or 1 without `multimask`.

        Coordinates are pixels of the encoded image, (0, 0) the centre of its first pixel.

        Args:
            embedding: (P, C, h, w), or (1, C, h, w) for P prompts on one image.
            points: (P, N, 2) as (x, y), any N.
            labels: (P, N) of int: 1 positive, 0 negative, -1 padding.
            boxes: (P, 4) as (x0, y0, x1, y1), one a prompt.
            mask: (P or 1, 1, 4h, 4w), what an earlier call returned: the logits themselves for SAM, their
                sigmoid for SAM-Med2D.
            multimask: three masks for an ambiguous prompt, else one.

        Raises:
            PromptError: a prompt has another shape than it should, or prompts and images another number.
        """
        grid_hw = embedding.shape[2:]
        sparse, dense = self.prompt_encoder(grid_hw, points, labels, boxes, mask)
        positions = self.prompt_encoder.positions(grid_hw)
        masks, iou = self.mask_decoder(embedding, positions, sparse, dense, multimask=multimask)
        return masks, iou

    def forward(self, image: Tensor, **prompts: Any) -> tuple[Tensor, Tensor]:
        """`encode` and `decode` in one."""
        return self.decode(self.encode(image), **prompts)


def sam_vit_b(**changes: Any) -> Sam:
    """SAM with ViT-B, 94 million parameters; `changes` are fields of `SamConfig`. Also MedSAM's network."""
    return Sam(SamConfig(**changes))


def sam_vit_l(**changes: Any) -> Sam:
    """SAM with ViT-L, 312 million parameters; `changes` are fields of `SamConfig`."""
    return Sam(replace(SamConfig(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23)), **changes))


def sam_vit_h(**changes: Any) -> Sam:
    """SAM with ViT-H, 641 million parameters; `changes` are fields of `SamConfig`."""
    return Sam(replace(SamConfig(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31)), **changes))


medsam = sam_vit_b


def sam_med2d(**changes: Any) -> Sam:
    """SAM-Med2D, 271 million parameters; with `adapters=False`, 91 million, FT-SAM. See `SamConfig`."""
    return Sam(replace(SamConfig(image_size=256, adapters=True), **changes))


def without_adapters(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SAM-Med2D's state dict for `sam_med2d(adapters=False)`: the adapters were dropped at test time."""
    return {key: value for key, value in state_dict.items() if ".Adapter." not in key}
