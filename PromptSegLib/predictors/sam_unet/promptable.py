"""SAM-UNet as a network that is prompted like SAM: its embedding is one tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from PromptSegLib.predictors.sam_unet.network import SamUNet, SamUNetEncoding


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
