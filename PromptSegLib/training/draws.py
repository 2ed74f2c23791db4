"""Random numbers from one seeded stream, for a batch at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


class Draws:
    """Draws on `device` that depend on the seeds alone: the same seeds give the same numbers on the same device."""

    def __init__(self, *seeds: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device)
        mixed = 0
        for seed in seeds:  # a step of splitmix64 each: neighbouring seeds give unrelated streams
            mixed = (mixed + seed + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
            mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
            mixed ^= mixed >> 31
        self.generator.manual_seed(mixed & 0x7FFFFFFFFFFFFFFF)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """True with that probability, bool."""
        return torch.rand(shape, generator=self.generator, device=self.device) < probability

    def sign(self, *shape: int) -> Tensor:
        """-1 or 1."""
        return self.chance(0.5, *shape) * 2.0 - 1.0

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """From low to high - 1, int64."""
        return torch.randint(low, high, shape, generator=self.generator, device=self.device)

    def choice(self, weights: dict[str, float], count: int) -> list[str]:
        """Names, each with a probability proportional to its weight."""
        names = list(weights)
        chances = torch.tensor([weights[name] for name in names], device=self.device)
        drawn = torch.multinomial(chances, count, replacement=True, generator=self.generator)
        return [names[index] for index in drawn.tolist()]

    def rotations(self, dims: int, count: int) -> Tensor:
        """Random orthogonal matrices (count, dims, dims)."""
        axes: list[Tensor] = []
        for axis in self.normal(count, dims, dims).unbind(2):  # Gram and Schmidt: a QR on a GPU takes them one by one
            for earlier in axes:
                axis = axis - (axis * earlier).sum(1, keepdim=True) * earlier
            axes.append(functional.normalize(axis, dim=1))
        return torch.stack(axes, dim=2)

    def one(self, low: float, high: float) -> float:
        """One number, for what a whole batch shares."""
        return float(self.uniform(low, high, 1))

    def one_log(self, low: float, high: float) -> float:
        """One number, log-uniformly."""
        return float(self.log_uniform(low, high, 1))
