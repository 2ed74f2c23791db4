"""Networks that see a cube of voxels at a time: what they are asked, and what is kept of what they said."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PromptSegLib.cancel import CancelToken
from PromptSegLib.geometry import Float32Array, FloatArray
from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.cubes.cubic_lattice import Convert, CubicLattice
from PromptSegLib.predictors.cubes.mosaic import Start, Tile
from PromptSegLib.prompts import Box, Point, Prompt
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume


class CubeModel(Protocol):
    """A network with all that belongs to it. Used by one thread at a time.

    size: side of its cube, in voxels. coarse: voxels of the cube along a side of a voxel of its logits.
    note: what the user should know, "" for nothing. device: where it runs now.
    """

    @property
    def size(self) -> int: ...

    @property
    def coarse(self) -> int: ...

    @property
    def note(self) -> str: ...

    @property
    def device(self) -> str: ...

    def embed(self, cube_xyz: Float32Array, cancel: CancelToken) -> Any:
        """Return the embedding of a cube of the image, (x, y, z).

        Raises:
            Cancelled: somebody asked for that.
        """
        ...

    def answer(
        self, embedding: Any, points_xyz: FloatArray, labels: Sequence[int], logits_xyz: Float32Array | None
    ) -> tuple[Float32Array, float]:
        """Return coarse logits (x, y, z), above 0 inside the structure, and the quality expected, 0 to 1.

        points_xyz: (n, 3) voxels of the cube. labels: 1 in the structure, 0 beside it. logits_xyz: coarse, what
        to refine; None where there is nothing yet.
        """
        ...

    def fine_probabilities(self, logits_xyz: Float32Array) -> Float32Array:
        """Return the probabilities of a cube, (x, y, z), from its coarse logits and one voxel more on each side."""
        ...


@dataclass(frozen=True)
class Click:
    """A prompt as the network takes it: a lattice voxel, inside the structure (1) or beside it (0)."""

    prompt: Prompt
    voxel_xyz: tuple[int, int, int]
    label: int


@dataclass(frozen=True, eq=False)
class CubeMemory:
    """What was answered before.

    origin_xyz: lattice voxel at which the tiles' coarse grid begins. prompts: those that the tiles have seen.
    stale: cubes that are none any more, and whose voxels are still to be taken back.
    """

    origin_xyz: tuple[int, int, int]
    tiles: tuple[Tile, ...]
    prompts: tuple[Prompt, ...]
    stale: tuple[Start, ...] = ()


class CubeEncoding:
    """An image, the network for it, and the embeddings of the cubes that were asked last."""

    most_cubes = 64

    def __init__(self, volume: Volume, lattice: CubicLattice, model: CubeModel) -> None:
        self.volume = volume
        self.lattice = lattice
        self.model = model
        self._embeddings: OrderedDict[object, Any] = OrderedDict()
        self._window_of_all: tuple[Window | None] | None = None

    def usual_window(self, rule: IntensityRule) -> Window | None:
        """Return black and white of the image by `rule`, when nobody gave them; found once."""
        if self._window_of_all is None:
            ordered = self.lattice.in_order(self.volume.array)
            self._window_of_all = (rule.window(Volume(ordered, self.lattice.ordered.ijk_to_ras), ordered),)
        return self._window_of_all[0]

    def embedding(self, start_xyz: tuple[int, ...], convert: Convert | None, key: object, cancel: CancelToken) -> Any:
        """Return the embedding of the cube at `start_xyz`; made when it is not there yet.

        convert: see `CubicLattice.read`; `key` tells one from another.

        Raises:
            Cancelled: somebody asked for that.
        """
        place = start_xyz, key
        if place not in self._embeddings:
            values = self.lattice.read(self.volume.array, start_xyz, self.model.size, convert)
            cancel.check()
            self._embeddings[place] = self.model.embed(values, cancel)
        self._embeddings.move_to_end(place)
        while len(self._embeddings) > self.most_cubes:
            self._embeddings.popitem(last=False)
        return self._embeddings[place]


def clicks_of(prompts: Sequence[Prompt], lattice: CubicLattice) -> list[Click]:
    """Return points, and boxes as clicks in their middle, as voxels of the lattice; other prompts are left out."""
    clicks = []
    for prompt in prompts:
        if isinstance(prompt, Point | Box):
            place = prompt.position_ras if isinstance(prompt, Point) else prompt.center_ras
            x, y, z = (int(n) for n in lattice.nearest(place))
            clicks.append(Click(prompt, (x, y, z), int(prompt.positive)))
    return clicks
