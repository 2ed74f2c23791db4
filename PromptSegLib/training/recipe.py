"""What a training run is: sizes, steps and rates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from PromptSegLib.errors import PromptSegError


class RecipeError(PromptSegError, ValueError):
    """Settings that make no training run."""


@dataclass(frozen=True)
class Phase:
    """A part of the run: until `until` (share of all steps) with batches of `count` grids of `size` voxels a side."""

    until: float
    size: int
    count: int


@dataclass(frozen=True)
class Recipe:
    """One training run.

    widths: of the network, see `PromptUNet`. steps: gradient steps in all. learning_rate: after `warmup` steps and
    until the last `decay` share of the steps, in which it falls to 2 % of it along a cosine. average: weight of the
    past in the exponential moving average of the weights, which is what is shipped. chunk_size: images in a chunk of
    the pool; first_chunks: chunks that are there from the first step; steps_per_chunk: when the next comes.
    """

    dims: int
    widths: tuple[int, ...]
    phases: tuple[Phase, ...]
    steps: int
    seed: int = 0
    learning_rate: float = 1.5e-3
    warmup: int = 150
    decay: float = 0.35
    weight_decay: float = 1e-3
    average: float = 0.999
    chunk_size: int = 64
    first_chunks: int = 16
    steps_per_chunk: int = 100
    most_chunks: int = 200

    def __post_init__(self) -> None:
        if self.dims not in (2, 3):
            raise RecipeError(f"expected 2 or 3 dimensions, got {self.dims}")
        if self.steps < 1:
            raise RecipeError(f"expected at least one step, got {self.steps}")

    def phase(self, step: int) -> Phase:
        """The phase that a step belongs to."""
        return next((p for p in self.phases if step < p.until * self.steps), self.phases[-1])

    def chunks(self, step: int) -> int:
        """How many chunks of the pool a step draws from."""
        return min(self.most_chunks, self.first_chunks + step // self.steps_per_chunk)


RECIPES = {
    2: Recipe(
        dims=2,
        widths=(48, 96, 160, 224, 288),
        phases=(Phase(0.55, 128, 144), Phase(1.0, 192, 64)),
        steps=4000,
        learning_rate=2e-3,
        warmup=300,
        first_chunks=4,
        steps_per_chunk=20,
        most_chunks=1000,
    ),
    3: Recipe(
        dims=3,
        widths=(32, 64, 128, 192),
        phases=(Phase(0.55, 48, 96), Phase(1.0, 64, 40)),
        steps=3600,
        learning_rate=1.5e-3,
        warmup=300,
        chunk_size=8,
        first_chunks=8,
        steps_per_chunk=16,
        most_chunks=2000,
    ),
}
"""How networks are trained; on a GPU, with as many processor cores making images."""

_FINISH: dict[str, Any] = {"warmup": 100, "decay": 0.7, "average": 0.998}

FINISHES = {
    2: replace(
        RECIPES[2],
        phases=(Phase(0.6, 128, 16), Phase(1.0, 192, 8)),
        steps=2400,
        learning_rate=5e-4,
        first_chunks=6,
        steps_per_chunk=60,
        **_FINISH,
    ),
    3: replace(
        RECIPES[3],
        phases=(Phase(0.5, 48, 8), Phase(1.0, 64, 4)),
        steps=560,
        learning_rate=4e-4,
        first_chunks=10,
        steps_per_chunk=40,
        **_FINISH,
    ),
}
"""How trained networks are finished, and could learn what a changed generator adds; on one processor core."""


def recipe_for(dims: int, *, steps: int | None = None, seed: int = 0, finish: bool = False) -> Recipe:
    """The recipe of the shipped weights, or with `finish` that of their last part; with another length or seed."""
    if dims not in RECIPES:
        raise RecipeError(f"expected 2 or 3 dimensions, got {dims}")
    recipe = (FINISHES if finish else RECIPES)[dims]
    return replace(recipe, steps=recipe.steps if steps is None else steps, seed=seed)
