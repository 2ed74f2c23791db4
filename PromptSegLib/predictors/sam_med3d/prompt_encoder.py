"""The prompt encoder of SAM-Med3D: clicks and the previous mask become tokens and a dense embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from PromptSegLib.predictors.sam_med3d.encoder import LayerNorm3d

PADDING = -1
"""Label of a point that means nothing."""


class PromptEncoder3D(nn.Module):
    """Clicks, and the logits of the previous mask, as embeddings of `width` channels.

    Args:
        image_size: side of the image in voxels.
        grid: side of the image embedding in tokens.
        width: channels of the embeddings.
        mask_width: channels within the mask's branch.
    """

    def __init__(self, *, image_size: int, grid: int, width: int, mask_width: int = 16) -> None:
        super().__init__()
        self.image_size = image_size
        self.grid = grid
        self.pe_layer = RandomFourierPositions(width)
        # Two labels only, negative and positive: the published weights know no box corners.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(2))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv3d(1, mask_width // 4, 2, 2),
            LayerNorm3d(mask_width // 4),
            nn.GELU(),
            nn.Conv3d(mask_width // 4, mask_width, 2, 2),
            LayerNorm3d(mask_width),
            nn.GELU(),
            nn.Conv3d(mask_width, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(self, points: Tensor, labels: Tensor, mask_logits: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode the clicks and the previous mask.

        points: (B, n, 3) voxel indices along the image's axes 0, 1, 2. labels: (B, n), 1 positive, 0 negative.
        mask_logits: (B or 1, 1, 4*grid, 4*grid, 4*grid), zeros before the first mask, or None (see `SAMMed3D`).
        Returns tokens (B, n + 1, width) and the dense embedding (B, width, grid, grid, grid).
        """
        if mask_logits is not None:
            dense = self.mask_downscaling(mask_logits)  # (B or 1, width, grid, grid, grid)
        else:
            dense = self.no_mask_embed.weight[..., None, None, None]  # (1, width, 1, 1, 1)
        dense = dense.expand(len(points), -1, self.grid, self.grid, self.grid)
        return self.click_tokens(points, labels), dense

    def click_tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        """(B, n + 1, width): the clicks and, as in training, one token that stands for no point."""
        points = functional.pad(points, (0, 0, 0, 1))
        labels = functional.pad(labels, (0, 1), value=PADDING)
        positions = self.pe_layer((points.float() + 0.5) / self.image_size)  # (B, n + 1, width)
        embeddings = [self.not_a_point_embed, *self.point_embeddings]  # of labels -1, 0, 1
        kinds = torch.cat([embedding(labels.new_zeros(1).long()) for embedding in embeddings])  # (3, width)
        known = positions.masked_fill((labels == PADDING)[..., None], 0)
        tokens: Tensor = known + kinds[labels.long() + 1]
        return tokens

    def image_positions(self) -> Tensor:
        """Positions of the image embedding's tokens, (1, width, grid, grid, grid).

        Coordinates of axes 0 and 1 are exchanged here and not in `click_tokens`: the published weights were
        trained so.
        """
        centres = (torch.arange(self.grid, device=self.no_mask_embed.weight.device) + 0.5) / self.grid
        a0, a1, a2 = torch.meshgrid(centres, centres, centres, indexing="ij")
        positions = self.pe_layer(torch.stack((a1, a0, a2), dim=-1))  # (grid, grid, grid, width)
        dense: Tensor = positions.movedim(-1, 0)[None]
        return dense


class RandomFourierPositions(nn.Module):
    """Positions in [0, 1]^3 as sines and cosines of random frequencies (arXiv:2006.10739)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, width // 3))

    def forward(self, positions: Tensor) -> Tensor:
        """Encode (..., 3) positions in [0, 1] as (..., width), in the network's dtype.

        The phase is taken in float32: half precision would not tell neighbouring voxels apart.
        """
        frequencies = self.positional_encoding_gaussian_matrix
        phase = 2 * math.pi * ((2 * positions.float() - 1) @ frequencies.float())  # (..., width/3)
        # Three thirds, for a width that two do not divide evenly among: sines come twice.
        return torch.cat((phase.sin(), phase.cos(), phase.sin()), dim=-1).to(frequencies.dtype)
