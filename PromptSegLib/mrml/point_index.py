"""Points found by where they are, among many."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

from PromptSegLib.prompts import Point

_CELL_MM = 1e-3
_SAME_MM = 1e-6


class PointIndex:
    """Points, to be taken out one by one; several may lie at one place. Through a markups node, digits get lost."""

    def __init__(self, points: Iterable[Point]) -> None:
        self._cells: dict[tuple[int, ...], list[Point]] = {}
        for point in points:
            cell = tuple(math.floor(x / _CELL_MM) for x in point.position_ras)
            self._cells.setdefault(cell, []).append(point)

    def take(self, point: Point) -> Point | None:
        """Take the first one that lies where `point` does out and return it, or return None."""
        around = ({math.floor((x + d) / _CELL_MM) for d in (-_SAME_MM, _SAME_MM)} for x in point.position_ras)
        for cell in itertools.product(*around):
            for index, other in enumerate(self._cells.get(cell, ())):
                apart = (abs(a - b) for a, b in zip(point.position_ras, other.position_ras, strict=True))
                if max(apart) <= _SAME_MM:
                    return self._cells[cell].pop(index)
        return None

    def rest(self) -> Iterator[Point]:
        """Yield those that were not taken."""
        return itertools.chain.from_iterable(self._cells.values())
