"""One question to a network that sees a cube at a time: which cubes are asked, and what becomes of their answers.

The first cube lies about what was prompted. Where the structure leaves its cube through a face, and the image goes
on, it is followed into a cube about that place, and so on. A later click is answered by the cubes that hold it,
each refining what it said before; what was followed from there is followed anew.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from PromptSegLib.bitmask import BitMask, BoolArray, Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Float32Array, FloatArray, IntArray
from PromptSegLib.predictors.base import Prediction, TargetState
from PromptSegLib.predictors.cubes.cubic_lattice import Convert
from PromptSegLib.predictors.cubes.given_mask import SURE, GivenMask
from PromptSegLib.predictors.cubes.model import Click, CubeEncoding, CubeMemory
from PromptSegLib.predictors.cubes.mosaic import (
    Start,
    Tile,
    blend,
    exits,
    extended,
    innermost,
    largest_part,
    parts_at,
)
from PromptSegLib.prompts import Prompt

MARGIN = 8
"""Lattice voxels between a click and a face of its cube beyond which the image goes on, at least."""


@dataclass(frozen=True)
class _CubeToAsk:
    """A cube to ask: one that prompts ask for, or one that the structure is followed to, from `parent` to `exit`."""

    start: Start
    parent: Start | None = None
    exit: Start | None = None


class CubeRun:
    """See the module. most_grown: how many cubes may be added to those that were asked for."""

    def __init__(
        self,
        encoding: CubeEncoding,
        state: TargetState,
        clicks: Sequence[Click],
        *,
        convert: Convert | None = None,
        key: object = None,
        most_grown: int = 8,
    ) -> None:
        self._encoding = encoding
        self._model = encoding.model
        self._lattice = encoding.lattice
        self._state = state
        self._clicks = clicks
        self._convert, self._key = convert, key
        self._most_grown = most_grown
        self._n = self._model.size // self._model.coarse
        self._given = GivenMask(state.mask, encoding.lattice) if state.mask else None
        self._mask = state.mask.copy() if state.mask else BitMask(encoding.volume.grid.shape_kji)
        memory = state.feedback if isinstance(state.feedback, CubeMemory) else None
        self._memory = memory
        self._tiles = {tile.start: tile for tile in memory.tiles} if memory else {}
        self._parts: dict[Start, IntArray] = {}
        self._owed: dict[Prompt, set[Start]] = {}
        self._stale = set(memory.stale) if memory else set()
        self._timings = {"embed": 0.0, "decode": 0.0, "paste": 0.0}
        self._score: float | None = None
        self._origin = np.array(memory.origin_xyz) if memory else np.zeros(3, dtype=np.int64)

    def answers(self, cancel: CancelToken, progress: Progress) -> Iterator[Prediction]:
        """Yield a prediction for each cube as it is answered. Nothing when nothing positive is known."""
        queue = deque(_CubeToAsk(start) for start in self._asked())
        self._stale |= self._drop_what_grew_from({question.start for question in queue})
        done: set[Start] = set()
        grown, goes_on = 0, False
        while queue:
            question = queue.popleft()
            start = question.start
            if start in done or self._is_settled(question, grown):
                continue
            cancel.check()
            progress(len(done) / (len(done) + 1), f"cube {len(done) + 1}")  # how many there will be, nobody knows
            tile = self._answer(question, cancel)
            done.add(start)
            for cubes in self._owed.values():
                cubes.discard(start)
            if tile is None:
                continue
            patch = self._paste(start)
            grown += question.parent is not None
            queue.extend(self._next(tile))
            goes_on = grown == self._most_grown and any(not self._is_covered(other) for other in queue)
            yield self._prediction(patch, goes_on)
        for start in sorted(self._stale):
            yield self._prediction(self._paste(start), goes_on)

    # Which cubes

    def _asked(self) -> list[Start]:
        """Return the cubes that the prompts ask for, coarse."""
        if self._memory is None:
            first = self._first_cube()
            if first is None:
                return []
            self._origin = first
            asked: list[Start] = [(0, 0, 0)]
            new = list(self._clicks)
        else:
            asked = []
            new = [click for click in self._clicks if click.prompt not in self._memory.prompts]
            new = new or list(self._clicks[-1:])
        for click in new:
            holders = [start for start in (*self._tiles, *asked) if self._holds(start, click)]
            holders = holders or [self._cube_about(click)]
            self._owed[click.prompt] = set(holders)
            asked.extend(holders)
        if not new and not asked:
            asked = [start for start, tile in self._tiles.items() if tile.parent is None]
        return list(dict.fromkeys(asked))

    def _first_cube(self) -> IntArray | None:
        """Return the first lattice voxel of the cube about all that is positive, or about the newest of it."""
        size = self._model.size
        places = [np.array(click.voxel_xyz, dtype=np.float64) for click in self._clicks if click.label]
        bounds = self._lattice.bounds(self._mask)
        around = [*places, *(() if bounds is None else (bounds[0] + 0.5, bounds[1] - 0.5))]
        if not around:
            return None
        low, high = np.min(around, axis=0), np.max(around, axis=0)
        if (high - low <= size - 2 * MARGIN).all():
            middle = (low + high) / 2
        else:
            middle = places[-1] if places else self._middle_of_mask(low, high)
        # As SAM-Med3D's authors: a single voxel comes to lie at size / 2.
        return np.asarray(np.floor(np.round(middle + 0.5, 6)).astype(np.int64) - size // 2)

    def _middle_of_mask(self, low: FloatArray, high: FloatArray) -> FloatArray:
        """Return where the mask, within these bounds, is thickest, in lattice voxels."""
        coarse = self._model.coarse
        start = np.floor(low).astype(np.int64)
        length = int(np.ceil((high - start).max() / coarse)) + 1
        filled = self._lattice.read_mask(self._mask, start, length, coarse)
        return np.asarray(start + coarse * (innermost(filled >= min(0.5, filled.max())) + 0.5))

    def _holds(self, start: Start, click: Click) -> bool:
        first = self._fine(start)
        low, high = self._lattice.faces
        voxel = np.array(click.voxel_xyz)
        # A face at which the image ends cuts nothing off.
        nearest = np.where(first <= low, first, first + MARGIN)
        farthest = np.where(
            first + self._model.size >= high, first + self._model.size, first + self._model.size - MARGIN
        )
        return bool(((voxel >= nearest) & (voxel < farthest)).all())

    def _cube_about(self, click: Click) -> Start:
        offset = np.array(click.voxel_xyz) - self._model.size // 2 - self._origin
        x, y, z = (int(n) for n in np.floor(offset / self._model.coarse + 0.5))
        return x, y, z

    def _drop_what_grew_from(self, asked: set[Start]) -> set[Start]:
        """Forget the cubes that were followed from those `asked`; return where they were."""
        dropped: set[Start] = set()
        while found := {
            tile.start for tile in self._tiles.values() if tile.parent in asked | dropped and tile.start not in asked
        }:
            dropped |= found
            for start in found:
                del self._tiles[start]
        return dropped

    def _is_settled(self, question: _CubeToAsk, grown: int) -> bool:
        """Tell whether a cube need not, or may not, be followed into."""
        return question.exit is not None and (grown == self._most_grown or self._is_covered(question))

    def _is_covered(self, question: _CubeToAsk) -> bool:
        """Tell whether some cube covers the voxel that it was to be followed to, or none was."""
        return question.exit is None or bool(blend(self._tiles.values(), question.exit, (1, 1, 1))[1].all())

    def _next(self, tile: Tile) -> Iterator[_CubeToAsk]:
        """Yield the cubes that the structure is to be followed to from `tile`."""
        mask = blend(self._tiles.values(), tile.start, tile.logits.shape)[0] > 0
        part = parts_at(mask, self._seeds(tile))
        if not part.any() and tile.parent is None:
            part = largest_part(mask)
        self._parts[tile.start] = np.argwhere(part) + tile.start
        image_box = (np.array(self._lattice.faces) - self._origin) / self._model.coarse
        for x, y, z in exits(list(self._tiles.values()), tile, part, image_box):
            half = self._n // 2
            yield _CubeToAsk((x - half, y - half, z - half), tile.start, (x, y, z))

    def _seeds(self, tile: Tile) -> IntArray:
        """Return where in a tile the structure is known to be: positive clicks, or what it was followed from."""
        if tile.parent is not None:
            return self._parts[tile.parent] - tile.start
        clicks = [click.voxel_xyz for click in self._clicks if click.label]
        offset = np.array(clicks, dtype=np.int64).reshape(-1, 3) - self._fine(tile.start)
        return offset // self._model.coarse

    # What a cube says

    def _answer(self, question: _CubeToAsk, cancel: CancelToken) -> Tile | None:
        """Ask the network; None when there is nothing positive to ask it by."""
        start, parent = question.start, question.parent
        began = time.perf_counter()
        before = self._tiles[start].logits if start in self._tiles else self._known(start)
        points, labels = self._prompts_in(start)
        known: BoolArray | None = None
        if parent is not None:
            assert before is not None
            known = parts_at(before > 0, self._parts[parent] - start)
        if 1 not in labels:
            inside = known
            if inside is None and before is not None:
                inside = largest_part(before > 0)
            if inside is None or not inside.any():
                return None
            points = np.vstack([points, self._model.coarse * (innermost(inside) + 0.5) - 0.5])
            labels = [*labels, 1]
        x, y, z = (int(n) for n in self._fine(start))
        embedding = self._encoding.embedding((x, y, z), self._convert, self._key, cancel)
        embedded = time.perf_counter()
        logits, score = self._model.answer(embedding, points, labels, before)
        if known is not None:
            # Far from every click only what hangs together with the structure counts.
            logits = np.where(parts_at(logits > 0, np.argwhere(known)), logits, -np.abs(logits))
        if parent is None:
            self._score = score
        tile = self._tiles[start] = Tile(start, logits, parent)
        self._timings["embed"] += 1000 * (embedded - began)
        self._timings["decode"] += 1000 * (time.perf_counter() - embedded)
        return tile

    def _prompts_in(self, start: Start) -> tuple[FloatArray, list[int]]:
        first = self._fine(start)
        inside = [
            click
            for click in self._clicks
            if all(0 <= v - f < self._model.size for v, f in zip(click.voxel_xyz, first, strict=True))
        ]
        places = np.array([click.voxel_xyz for click in inside], dtype=np.float64).reshape(-1, 3)
        return places - first, [click.label for click in inside]

    def _known(self, start: Start) -> Float32Array | None:
        """Return what other cubes say of a cube, and the mask where none does; None when nothing is known."""
        logits, covered = blend(self._tiles.values(), start, (self._n,) * 3)
        given = None
        if self._given is not None and not covered.all():
            given = self._given.logits(self._fine(start), self._n, self._model.coarse)
        if given is not None:
            logits = np.where(covered, logits, given)
        return logits if covered.any() or given is not None else None

    # What becomes of it

    def _paste(self, start: Start) -> Patch:
        """Let the mask within a cube follow what all cubes say of it; nothing is where none says anything."""
        began = time.perf_counter()
        self._stale.discard(start)
        x, y, z = start
        logits, covered = blend(self._tiles.values(), (x - 1, y - 1, z - 1), (self._n + 2,) * 3)
        logits = extended(logits, covered) if start in self._tiles else np.where(covered, logits, np.float32(-SURE))
        probabilities = self._model.fine_probabilities(logits)
        patch = self._lattice.change(probabilities, self._fine(start), 0.5, self._mask)
        self._mask.write(patch.extent, patch.mask_kji)
        self._timings["paste"] += 1000 * (time.perf_counter() - began)
        return patch

    def _prediction(self, patch: Patch, goes_on: bool) -> Prediction:
        notes = [self._model.note]
        if goes_on:
            notes.append("it goes on beyond the cubes that were looked at: click there to follow it")
        return Prediction(
            {self._state.target: patch},
            self._score,
            dict(self._timings),
            "; ".join(note for note in notes if note),
            self._memory_now(),
            self._model.device,
        )

    def _memory_now(self) -> CubeMemory:
        """Return what is known now: a prompt whose cubes have not all been asked yet is still to be answered."""
        answered = tuple(prompt for prompt in self._state.prompts if not self._owed.get(prompt))
        return CubeMemory(_triple(self._origin), tuple(self._tiles.values()), answered, tuple(sorted(self._stale)))

    def _fine(self, start: Start) -> IntArray:
        """Return the first lattice voxel of a cube."""
        return np.asarray(self._origin + np.array(start) * self._model.coarse)


def _triple(values: IntArray) -> tuple[int, int, int]:
    x, y, z = (int(v) for v in values)
    return x, y, z
