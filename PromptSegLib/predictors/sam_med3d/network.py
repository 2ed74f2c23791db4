"""SAM-Med3D: promptable segmentation of volumes by clicks (arXiv:2310.15161)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from PromptSegLib.errors import PromptError
from PromptSegLib.predictors.sam_med3d.decoder import MaskDecoder3D
from PromptSegLib.predictors.sam_med3d.encoder import ImageEncoder3D
from PromptSegLib.predictors.sam_med3d.prompt_encoder import PromptEncoder3D


class SAMMed3D(nn.Module):
    """Image encoder, prompt encoder and mask decoder; encode an image once, then ask for masks of its prompts.

    The defaults are the published network (`vit_b_ori`, 100.5 M parameters, 1.5 mm voxels):

    >>> net = SAMMed3D()
    >>> net.load_state_dict(checkpoint["model_state_dict"])
    >>> embedding = net.encode(image)
    >>> logits, iou = net.predict(embedding, points, labels, net.empty_mask())
    >>> logits, iou = net.predict(embedding, more_points, more_labels, logits)
    >>> mask = net.upscaled(logits) > 0

    Arrays are indexed (x, y, z) in RAS+ order, as NIfTI stores them, and so are points: (0, 1, 2) are indices
    along axes 0, 1 and 2.
    """

    def __init__(
        self,
        *,
        image_size: int = 128,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        window: int = 14,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        prompt_width: int = 384,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.grid = image_size // patch
        self.image_encoder = ImageEncoder3D(
            image_size=image_size,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            window=window,
            global_blocks=global_blocks,
            out=prompt_width,
        )
        self.prompt_encoder = PromptEncoder3D(image_size=image_size, grid=self.grid, width=prompt_width)
        self.mask_decoder = MaskDecoder3D(prompt_width)

    def encode(self, image: Tensor) -> Tensor:
        """Embed an image : (B, 1, n, n, n), z-scored; returns (B, prompt_width, grid, grid, grid)."""
        embedding: Tensor = self.image_encoder(image)
        return embedding

    def empty_mask(self) -> Tensor:
        """The mask logits to give with the first click, (1, 1, 4*grid, 4*grid, 4*grid): zeros.

        The network was trained to read "no mask yet" from zeros and not, as SAM, from its embedding of no mask,
        which it has but never learnt.
        """
        side = 4 * self.grid
        return self.mask_decoder.iou_token.weight.new_zeros((1, 1, side, side, side))

    def predict(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_logits: Tensor | None,
        *,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predict the mask that the clicks mean.

        embedding: from `encode`. points: (B, n, 3) voxel indices, all clicks so far. labels: (B, n), 1 or 0.
        mask_logits: this method's previous logits, raw, or `empty_mask()` at first; None is SAM's "no mask".
        Returns logits (B, 1, 4*grid, 4*grid, 4*grid) and predicted IoU (B, 1), as the network gives it: it may
        lie outside [0, 1]. With `multimask`, three masks.
        """
        if points.shape[:2] != labels.shape or points.shape[-1] != 3:
            raise PromptError(
                f"expected points (B, n, 3) and labels (B, n), got {tuple(points.shape)} and {tuple(labels.shape)}"
            )
        tokens, dense = self.prompt_encoder(points, labels, mask_logits)
        positions = self.prompt_encoder.image_positions()
        logits, iou = self.mask_decoder(embedding, positions, tokens, dense, multimask=multimask)
        return logits, iou

    def upscaled(self, logits: Tensor) -> Tensor:
        """Enlarge logits (B, m, 4*grid, …) linearly to the image's (B, m, n, n, n); a mask is where > 0."""
        size = (self.image_size,) * 3
        return functional.interpolate(logits, size=size, mode="trilinear", align_corners=False)
