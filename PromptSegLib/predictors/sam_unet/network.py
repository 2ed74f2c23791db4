"""SAM-UNet (arXiv:2408.09886): a convolutional branch beside SAM's image encoder, joined before and after.

Build and load as any network::

    network = SamUNet(34).eval()  # or 50; a smaller one: SamUNet(34, SamConfig(image_size=256, width=96, heads=3))
    network.load_state_dict(state_dict)
    frame = LongestSideFrame(image.shape[:2], network.config.image_size)  # of PromptSegLib.predictors.sam.transforms
    encoding = network.encode(frame.image(image))
    logits = frame.logits(network.decode(encoding, boxes=frame.boxes(boxes_xyxy)))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from PromptSegLib.predictors.sam.config import SamConfig
from PromptSegLib.predictors.sam.decoder import TwoWayTransformer, decode_tokens, filtered
from PromptSegLib.predictors.sam.encoder import ImageEncoder
from PromptSegLib.predictors.sam.layers import LayerNorm2d, Perceptron, upscale_4x
from PromptSegLib.predictors.sam.prompt_encoder import PromptEncoder
from PromptSegLib.predictors.sam_unet.resnet import ResNet, ResNetDepth

SAM_UNET_CONFIG = SamConfig(image_size=256)


@dataclass(frozen=True)
class SamUNetEncoding:
    """What `SamUNet.encode` gives: an embedding (B, C, h, w) and fine features (B, C / 8, 4h, 4w)."""

    embedding: Tensor
    features: Tensor


class SamUNet(nn.Module):
    """The assembled network: `encode` an image once, then `decode` prompts into one mask each.

    Args:
        depth: of the convolutional branch, ResNet-34 or ResNet-50.
        config: of the SAM network around it, ViT-B at 256 pixels; it needs four global blocks.
    """

    def __init__(self, depth: ResNetDepth, config: SamConfig = SAM_UNET_CONFIG) -> None:
        super().__init__()
        self.config = config
        width, out = config.embedding, config.embedding // 8
        self.resnet = ResNet(depth)
        self.image_encoder = nn.ModuleDict({"sam_img_encoder": ImageEncoder(config)})
        self.prompt_encoder = nn.ModuleDict({"sam_prompt_encoder": PromptEncoder(width=width, patch=config.patch)})
        self.mask_decoder = OneMaskDecoder(width)
        self.adapters_in = nn.ModuleList(
            Reshaper(channels, config.width, halvings)
            for channels, halvings in zip(self.resnet.channels, (2, 1, 0, -1), strict=True)
        )
        self.adapters_bridge = nn.ModuleList(
            upscale_4x(config.width, width, out, last_activation=False) for _ in range(3)
        )
        self.embedding_encoder = upscale_4x(width, width // 4, out, last_activation=False)

    def encode(self, image: Tensor, *, between_blocks: Callable[[], None] = lambda: None) -> SamUNetEncoding:
        """The encoding of normalised images (B, 3, H, W), filled with zeros to multiples of 32 pixels.

        `between_blocks` is called before each block of the encoder, and may raise to end it.
        """
        encoder = cast(ImageEncoder, self.image_encoder["sam_img_encoder"])
        height, width = image.shape[2:]
        image = functional.pad(image.to(encoder.pos_embed.dtype), (0, -width % 32, 0, -height % 32))
        maps = iter(zip(self.adapters_in, self.resnet(image), strict=True))
        bridges = iter(reversed(self.adapters_bridge))
        bridged = []
        tokens = encoder.tokens(image)
        for index, block in enumerate(encoder.blocks):
            between_blocks()
            if index in encoder.global_blocks:
                adapter, features = next(maps)
                tokens = tokens + adapter(features).permute(0, 2, 3, 1)  # (B, h, w, width)
            tokens = block(tokens)
            if index in encoder.global_blocks[:-1]:
                bridged.append(next(bridges)(tokens.permute(0, 3, 1, 2)))  # (B, C / 8, 4h, 4w)
        embedding = encoder.embedding(tokens)
        return SamUNetEncoding(embedding, self.embedding_encoder(embedding) + torch.stack(bridged).sum(0))

    def decode(
        self,
        encoding: SamUNetEncoding,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Mask logits (P, 1, 4h, 4w); prompts as in `Sam.decode`, `mask` as logits."""
        prompts = cast(PromptEncoder, self.prompt_encoder["sam_prompt_encoder"])
        grid_hw = encoding.embedding.shape[2:]
        sparse, dense = prompts(grid_hw, points, labels, boxes, mask)
        logits: Tensor = self.mask_decoder(encoding, prompts.positions(grid_hw), sparse, dense)
        return logits


class PromptableSamUNet(nn.Module):
    """A SAM-UNet whose embedding is one tensor, for those that answer as `Sam` does."""

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


class OneMaskDecoder(nn.Module):
    """SAM's mask decoder with one token of its own in the place of the five, and fine features added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sam_mask_decoder = nn.ModuleDict(
            {
                "transformer": TwoWayTransformer(width),
                "output_upscaling": upscale_4x(width, width // 4, width // 8, last_activation=True),
            }
        )
        self.med_token = nn.Embedding(1, width)
        self.hf_mlp = Perceptron(width, width, width // 8)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(width // 8, width // 4, kernel_size=3, padding=1),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.Conv2d(width // 4, width // 8, kernel_size=3, padding=1),
        )

    def forward(self, encoding: SamUNetEncoding, positions: Tensor, sparse: Tensor, dense: Tensor) -> Tensor:
        transformer = cast(TwoWayTransformer, self.sam_mask_decoder["transformer"])
        tokens, image = decode_tokens(transformer, self.med_token.weight, encoding.embedding, positions, sparse, dense)
        upscaled = self.sam_mask_decoder["output_upscaling"](image)  # (P, width / 8, 4h, 4w)
        features = self.embedding_maskfeature(upscaled) + encoding.features
        return filtered(features, self.hf_mlp(tokens[:, :1]))


class Reshaper(nn.Module):
    """A map of the convolutional branch in the size and width of the tokens.

    The size is halved `halvings` times, each time with twice the channels; -1 doubles it with half of them.
    """

    def __init__(self, channels: int, width: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers.append(nn.Conv2d(channels, 2 * channels, kernel_size=3, stride=2, padding=1))
            layers += [LayerNorm2d(2 * channels), nn.GELU()]
            channels *= 2
        if halvings < 0:
            layers.append(nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2))
            layers += [LayerNorm2d(channels // 2), nn.GELU()]
            channels //= 2
        layers.append(nn.Conv2d(channels, width, kernel_size=1))
        self.reshaper = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        tokens: Tensor = self.reshaper(features)
        return tokens
