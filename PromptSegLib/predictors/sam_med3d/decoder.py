"""The mask decoder of SAM-Med3D: SAM's (arXiv:2304.02643, appendix A) with a third axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from PromptSegLib.predictors.sam.decoder import TwoWayTransformer, decode_tokens, filtered
from PromptSegLib.predictors.sam.layers import Perceptron
from PromptSegLib.predictors.sam_med3d.encoder import LayerNorm3d


class MaskDecoder3D(nn.Module):
    """Image and prompt embeddings of `width` channels to mask logits and predicted IoU.

    Args:
        width: channels of the embeddings.
        masks: masks for an ambiguous prompt, besides the one for a clear prompt.
    """

    def __init__(self, width: int, masks: int = 3) -> None:
        super().__init__()
        outputs = masks + 1
        self.transformer = TwoWayTransformer(width)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(outputs, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose3d(width, width // 4, 2, 2),
            LayerNorm3d(width // 4),
            nn.GELU(),
            nn.ConvTranspose3d(width // 4, width // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron(width, width, width // 8) for _ in range(outputs))
        self.iou_prediction_head = Perceptron(width, 256, outputs)

    def forward(
        self, image: Tensor, image_positions: Tensor, prompts: Tensor, dense: Tensor, *, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Predict masks for B sets of prompts on one image, or on B images.

        image: (1 or B, width, g, g, g). image_positions: (1, width, g, g, g). prompts: (B, n, width).
        dense: (B, width, g, g, g). Returns logits (B, masks, 4g, 4g, 4g) and predicted IoU (B, masks), one mask,
        or those for an ambiguous prompt with `multimask`.
        """
        own = torch.cat((self.iou_token.weight, self.mask_tokens.weight))  # (1 + outputs, width)
        tokens, mixed = decode_tokens(self.transformer, own, image, image_positions, prompts, dense)
        fine = self.output_upscaling(mixed)  # (B, width/8, 4g, 4g, 4g)
        wanted = slice(1, None) if multimask else slice(0, 1)
        mask_tokens = tokens[:, 1 : len(own)].unbind(dim=1)[wanted]
        nets = self.output_hypernetworks_mlps[wanted]
        filters = torch.stack([net(token) for net, token in zip(nets, mask_tokens, strict=True)], dim=1)
        return filtered(fine, filters), self.iou_prediction_head(tokens[:, 0])[:, wanted]
