"""Scribbles that a user draws: along the middle of what is wrong."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.evaluation.clicks import largest_error
from PromptSegLib.geometry import FloatArray, Grid, IntArray, flip_axes
from PromptSegLib.prompts import Scribble

# A stroke ends where the structure gets thinner than this part of its greatest depth: people stop before the border.
_LEAST_DEPTH = 0.5


def next_scribble(mask_kji: BoolArray, truth_kji: BoolArray, grid: Grid) -> Scribble | None:
    """Return the stroke that a careful user draws next, None when `mask_kji` is `truth_kji`; both on `grid`.

    It runs along the middle of the largest error, on the slice k that shows most of it, from end to end: after the
    centre line scribbles of Wong et al., "ScribblePrompt", ECCV 2024.

    Raises:
        GeometryError: a mask is not of the grid's shape.
    """
    error = largest_error(mask_kji, truth_kji, grid)
    if error is None:
        return None
    k = int(error.mask_kji.sum(axis=(1, 2)).argmax())
    parts, count = ndimage.label(error.mask_kji[k], structure=np.ones((3, 3)))
    largest = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()) if count > 1 else parts > 0
    line = centre_line(largest, grid.spacing_kji_mm[1:])
    index = np.column_stack([np.full(len(line), k), line])
    points = grid.to_ras(flip_axes(index))
    return Scribble(tuple((float(x), float(y), float(z)) for x, y, z in points), positive=error.is_missed)


def centre_line(mask_ji: BoolArray, spacing_ji_mm: FloatArray) -> IntArray:
    """Return the pixels (n, 2), j and i, of a line through the connected `mask_ji`, from one end to the other.

    It keeps off the border: a step costs its length, times the square of how much thinner the mask is there than where
    it is thickest, and the ends that are less than half as deep are left out.
    """
    pixels = np.argwhere(mask_ji)
    number = np.full(np.array(mask_ji.shape) + 2, -1)
    number[1:-1, 1:-1][mask_ji] = np.arange(len(pixels))
    depth = ndimage.distance_transform_edt(np.pad(mask_ji, 1), sampling=spacing_ji_mm)[1:-1, 1:-1][mask_ji]
    dear = (depth.max() / depth) ** 2
    rows, columns, costs = [], [], []
    for step in ((0, 1), (1, 0), (1, 1), (1, -1)):
        neighbours = number[pixels[:, 0] + 1 + step[0], pixels[:, 1] + 1 + step[1]]
        there = np.flatnonzero(neighbours >= 0)
        rows.append(there)
        columns.append(neighbours[there])
        length = float(np.linalg.norm(step * np.asarray(spacing_ji_mm)))
        costs.append(length * (dear[there] + dear[neighbours[there]]) / 2)
    graph = sparse.csr_array(
        (np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns))), shape=(len(pixels),) * 2
    )
    # The two ends: what is farthest from the middle, by the way there, and what is farthest from that.
    one = int(csgraph.dijkstra(graph, directed=False, indices=int(depth.argmax())).argmax())
    away, before = csgraph.dijkstra(graph, directed=False, indices=one, return_predecessors=True)
    path = [int(away.argmax())]
    while path[-1] != one:
        path.append(int(before[path[-1]]))
    deep = np.flatnonzero(depth[path] >= _LEAST_DEPTH * depth[path].max())
    return np.asarray(pixels[path[deep[0] : deep[-1] + 1]], dtype=np.int64)
