"""SAM-UNet as a model of slices: one mask for a prompt, of whose quality the network says nothing.

Yang et al., arXiv:2408.09886: the longest side becomes 256 pixels, a mask is fed back as logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from PromptSegLib.predictors.sam.model import SamModel, SamWay
from PromptSegLib.predictors.sam.transforms import LongestSideFrame
from PromptSegLib.predictors.sam_unet.network import SamUNet, SamUNetEncoding

SAM_UNET_WAY = SamWay(LongestSideFrame, lambda prompts: False, predicts_iou=False)


class SamUNetModel(SamModel):
    """See `SliceModel`. `device`: see `OnDevice`."""

    def __init__(self, network: SamUNet, device: str = "auto") -> None:
        super().__init__(PromptableSamUNet(network), SAM_UNET_WAY, device)


class PromptableSamUNet(nn.Module):
    """A SAM-UNet whose embedding is one tensor: see `PromptableNetwork`."""

    def __init__(self, network: SamUNet) -> None:
        super().__init__()
        self.network = network

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that it sees."""
        return self.network.config.image_size

    @property
    def grid(self) -> int:
        """Side of the embedding in patches; an image is filled up to multiples of 32 pixels."""
        return -(-self.image_size // 32) * 32 // self.network.config.patch

    def mask_hw(self, embedding_shape: Sequence[int]) -> tuple[int, int]:
        """Size of the masks that go in and come out."""
        return 4 * self.grid, 4 * self.grid

    def encode(self, image: Tensor, *, between_blocks: Callable[[], None]) -> Tensor:
        """The embedding (B, F) of normalised images (B, 3, side, side): both parts of the encoding, end to end."""
        encoding = self.network.encode(image, between_blocks=between_blocks)
        return torch.cat([encoding.embedding.flatten(1), encoding.features.flatten(1)], dim=1)

    def decode(
        self,
        embedding: Tensor,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        mask: Tensor | None,
        *,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (P, 1, 4h, 4w) of P prompts, and zeros (P, 1) in the place of a quality; see `Sam.decode`."""
        logits = self.network.decode(self._encoding(embedding), points, labels, boxes, mask)
        return logits, logits.new_zeros(len(logits), 1)

    def _encoding(self, embedding: Tensor) -> SamUNetEncoding:
        width, side = self.network.config.embedding, self.grid
        coarse, fine = torch.split(embedding, [width * side**2, width // 8 * (4 * side) ** 2], dim=1)
        return SamUNetEncoding(coarse.reshape(-1, width, side, side), fine.reshape(-1, width // 8, 4 * side, 4 * side))
