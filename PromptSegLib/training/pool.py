"""Synthetic images with targets, in numbered chunks: each is made from the seed and its number alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from PromptSegLib.training.draws import Draws
from PromptSegLib.training.label_maps import LabelMaps, make_label_maps
from PromptSegLib.training.makers import Makers
from PromptSegLib.training.ranks import rank, ranks, wait_for_all
from PromptSegLib.training.rendering import render
from PromptSegLib.training.targets import choose_targets

SIDES = {2: 256, 3: 96}
"""Of a synthetic image in voxels."""

_BATCH = {2: 8, 3: 2}
_GENERATION = 7
"""Goes up with every change of what a seed generates: chunks of another one are not taken for these."""

_LEAST_CONTRAST = 0.02

Renderer = Callable[[Draws, LabelMaps], Tensor]
"""Makes images of label maps, as `render` does."""


@dataclass(frozen=True)
class Chunk:
    """images: (N, *S) uint8; targets: (N, *S) uint8, one target per bit (see `choose_targets`)."""

    images: Tensor
    targets: Tensor


def make_chunk(
    dims: int, seed: int, number: int, count: int, device: torch.device | str = "cpu", renderer: Renderer = render
) -> Chunk:
    """Make chunk `number` of a stream: `count` images. Those that show nothing, or no possible target, are left out."""
    draws = Draws(seed, dims, number, device=device)
    images: list[Tensor] = []
    targets: list[Tensor] = []
    while sum(map(len, images)) < count:
        maps = make_label_maps(draws, _BATCH[dims], [SIDES[dims]] * dims)
        bits = choose_targets(draws, maps)
        image = renderer(draws, maps)
        usable = (bits.flatten(1).amax(1) > 0) & (image.flatten(1).std(1) > _LEAST_CONTRAST)
        images.append((image * 255).round().to(torch.uint8)[usable])
        targets.append(bits[usable])
    return Chunk(torch.cat(images)[:count], torch.cat(targets)[:count])


class Pool:
    """The chunks of one stream, kept in a folder: a later run with the same seed finds them there.

    device: where images are taken to, and made unless there are makers.
    makers: processes that make chunks 0 to `most` - 1 ahead on the CPU; without any they are made when needed.
    renderer: images of another one belong into another folder.
    """

    def __init__(
        self,
        folder: Path,
        dims: int,
        seed: int,
        chunk_size: int,
        device: torch.device | str,
        *,
        makers: int = 0,
        most: int = 0,
        renderer: Renderer = render,
    ) -> None:
        self.dims, self.seed, self.chunk_size, self.device = dims, seed, chunk_size, torch.device(device)
        self._renderer = renderer
        self._folder = folder / f"pool-{dims}d-{_GENERATION}-{seed}-{chunk_size}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open: list[Tensor] = []
        self._is_made_ahead, self._makers = makers > 0, None
        if self._is_made_ahead and rank() == 0:
            self._makers = Makers(makers, most, partial(_write, self._folder, dims, seed, chunk_size, "cpu", renderer))

    def prepare(self, chunks: int) -> None:
        """Open the chunks below that number, and make those that are not there. Several processes share the work."""
        numbers = range(len(self._open), chunks)
        for number in numbers:
            if self._makers is not None:
                self._makers.wait_for(_path(self._folder, number))
            elif not self._is_made_ahead and number % ranks() == rank():
                _write(self._folder, self.dims, self.seed, self.chunk_size, self.device, self._renderer, number)
        if numbers:
            wait_for_all()
        for number in numbers:
            content = np.load(_path(self._folder, number), mmap_mode="c")  # "c": what torch wants; nobody writes
            self._open.append(torch.from_numpy(content).to(self.device))

    def __len__(self) -> int:
        """Images in the chunks that are prepared."""
        return len(self._open) * self.chunk_size

    def take(self, indices: Tensor) -> Chunk:
        """The images of these indices (N,), below len(self), on the device."""
        pairs = [self._open[i // self.chunk_size][:, i % self.chunk_size] for i in indices.tolist()]
        both = torch.stack(pairs)
        return Chunk(both[:, 0], both[:, 1])


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npy"


def _write(
    folder: Path, dims: int, seed: int, count: int, device: torch.device | str, renderer: Renderer, number: int
) -> None:
    """Write a chunk that is not there, by way of another name: a run that is killed leaves no half chunk."""
    path = _path(folder, number)
    if path.exists():
        return
    with torch.inference_mode():
        chunk = make_chunk(dims, seed, number, count, device, renderer)
    content = torch.stack([chunk.images, chunk.targets]).cpu().numpy()
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as stream:
        np.save(stream, content)
    part.replace(path)
