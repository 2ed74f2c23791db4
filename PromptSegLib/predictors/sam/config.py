"""The shape of a SAM network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamConfig:
    """The shape of a SAM network; the defaults are ViT-B's.

    Attributes:
        image_size: side in pixels of the images it was trained on, for which its position tables are made.
        patch: side in pixels of a patch, which becomes a token.
        width: channels of a token.
        depth: number of blocks of the image encoder.
        heads: attention heads of each block.
        window: side of the attention windows, in tokens.
        global_blocks: indices of the blocks that attend to the whole image.
        embedding: channels of image and prompt embeddings.
        adapters: whether each block has SAM-Med2D's adapter.
    """

    image_size: int = 1024
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    embedding: int = 256
    adapters: bool = False
