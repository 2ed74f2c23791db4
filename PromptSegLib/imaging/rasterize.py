"""Prompts as voxels: which ones a click, a box, a scribble, a lasso or a mask stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from PromptSegLib.bitmask import BoolArray, Patch
from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import Extent, FloatArray, Grid, IntArray, apply_affine, flip_axes
from PromptSegLib.prompts import Box, Lasso, MaskPrompt, Point, Prompt, Scribble, VoxelScribble

_MOST_POINTS = 10_000  # of a scribble or a lasso: a mouse that draws for a minute makes some 4,000
_MOST_PASSED = 1_000_000  # voxels that a scribble's line passes
_MOST_PIECES = 20_000  # of a scribble's line: 2 s
_MOST_TESTS = 200_000_000  # of voxels against pieces of a scribble, or edges of a lasso: 2 s
# What lies beyond a face by less than this part of a voxel is on it, but for the last bits of its coordinates.
_NEARLY = 1e-6


def rasterize(prompt: Prompt, grid: Grid) -> Patch:
    """Return the voxels of `grid` that `prompt` marks, in a box that holds them all.

    Point, scribble: the voxels that hold their positions, a scribble's brush around them. Box: voxels whose centre
    is inside; a 2D box marks one slice, and `Box.flattened` makes one of what may lie between two. Lasso: voxels whose
    centre it surrounds, one slice thick. Mask: see `mask_on_grid`. What lies outside of the grid is left out.

    Raises:
        PromptError: for prompts without a place.
    """
    if isinstance(prompt, Point | VoxelScribble):
        return _voxels_at(prompt.positions_ras(), grid)
    if isinstance(prompt, Scribble):
        return _stroke(prompt, grid)
    if isinstance(prompt, Box):
        return _box(prompt, grid)
    if isinstance(prompt, Lasso):
        return _lasso(prompt, grid)
    if isinstance(prompt, MaskPrompt):
        return mask_on_grid(prompt, grid)
    raise PromptError(f"expected a prompt with a place, got a {prompt.kind}")


def mask_on_grid(prompt: MaskPrompt, grid: Grid) -> Patch:
    """Return the mask on `grid`: the voxel of the mask in which each voxel's centre lies decides.

    Exact where the mask's own grid is a permutation, flip or crop of `grid`.
    """
    source = prompt.grid
    extent = _clipped(Extent.of_points(grid.to_ijk(_corners_ras(source))).padded(1), grid)

    def is_set(centres_ras: FloatArray) -> BoolArray:
        index = source.nearest_kji(centres_ras)
        inside = np.asarray(((index >= 0) & (index < prompt.mask_kji.shape)).all(axis=-1))
        inside[inside] = prompt.mask_kji[tuple(index[inside].T)]
        return inside

    return _evaluated(is_set, extent, grid)


def _voxels_at(positions_ras: FloatArray, grid: Grid) -> Patch:
    index = grid.nearest_kji(positions_ras[grid.contains(positions_ras)])
    # A position on the outermost face belongs to the last voxel.
    index = np.clip(index, 0, np.array(grid.shape_kji) - 1)
    if len(index) == 0:
        return Patch(Extent((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), dtype=bool))
    extent = Extent.of_points(flip_axes(index))
    mask = np.zeros(extent.shape_kji, dtype=bool)
    mask[tuple((index - extent.start_kji).T)] = True
    return Patch(extent, mask)


def _stroke(scribble: Scribble, grid: Grid) -> Patch:
    points = _without_repeats(scribble.positions_ras())
    _check_count(points, "scribble")
    starts, ends = (points[:-1], points[1:]) if len(points) > 1 else (points, points)
    inside = _parts_within(starts, ends, grid.extent, grid)
    _check_work(scribble, float(np.abs((inside[1] - inside[0]) @ grid.ras_to_ijk[:3, :3].T).sum()), _MOST_PASSED)
    passed = [points, *(_within_voxels(start, end, grid) for start, end in zip(*inside, strict=True))]
    line = _voxels_at(np.concatenate(passed), grid)
    radius = scribble.width_mm / 2
    if radius == 0:
        return line
    extent = _clipped(_brush_extent(points, radius, grid), grid)
    mask = np.zeros(extent.shape_kji, dtype=bool)
    mask[line.extent.slices_within(extent)] = line.mask_kji
    slack = _NEARLY * float(grid.spacing_mm.min())
    margin = _brush_margin(radius, grid)
    starts, ends = _pieces(*_parts_within(starts, ends, grid.extent.padded(margin), grid), radius, scribble, grid)
    low, high = _boxes_near(starts, ends, margin, extent, grid)
    _check_work(scribble, float(np.prod(high - low, axis=1, dtype=np.float64).sum()), _MOST_TESTS)
    for start, end, a, b in zip(starts, ends, low.tolist(), high.tolist(), strict=True):
        box = Extent(tuple(a), tuple(b))
        marked = mask[box.slices_within(extent)]
        if not marked.all():
            _mark_near(marked, box, start, end, radius + slack, grid)
    return Patch(extent, mask)


def _check_work(scribble: Scribble, work: float, most: int) -> None:
    if work > most:
        raise PromptError(
            f"expected a scribble of fewer points, shorter lines or with a narrower brush, got "
            f"{len(scribble.points_ras)} points and {scribble.width_mm:g} mm: {work:.1e} steps of at most {most:.0e}"
        )


def _without_repeats(points: FloatArray) -> FloatArray:
    """Leave out of `points` : (n, 3) what repeats the one before: the mouse stood still."""
    kept: FloatArray = points[np.append(True, (np.diff(points, axis=0) != 0).any(axis=1))]
    return kept


def _check_count(points: FloatArray, kind: str) -> None:
    if len(points) > _MOST_POINTS:
        raise PromptError(f"expected a {kind} of at most {_MOST_POINTS} points, got {len(points)}")


def _parts_within(starts: FloatArray, ends: FloatArray, extent: Extent, grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Return starts and ends : (m, 3), mm, of what segments have in the box `extent` of `grid`, outer faces included.

    A segment that ends far outside is thus never walked along: to 1e8 mm that took 5 GB.
    """
    starts_ijk, ends_ijk = grid.to_ijk(starts), grid.to_ijk(ends)
    low, high = flip_axes(extent.start_kji) - 0.5, flip_axes(extent.stop_kji) - 0.5
    way = ends_ijk - starts_ijk
    moves = way != 0
    safe = np.where(moves, way, 1.0)
    at_low, at_high = (low - starts_ijk) / safe, (high - starts_ijk) / safe
    is_beside = ~moves & ((starts_ijk < low) | (starts_ijk > high))
    first = np.where(moves, np.minimum(at_low, at_high), 0.0).max(axis=1).clip(0.0)[:, None]
    last = np.where(moves, np.maximum(at_low, at_high), 1.0).min(axis=1).clip(max=1.0)[:, None]
    meets = (first <= last)[:, 0] & ~is_beside.any(axis=1)
    direction = ends - starts
    inner_starts = np.where(first > 0, starts + first * direction, starts)
    inner_ends = np.where(last < 1, starts + last * direction, ends)
    return inner_starts[meets], inner_ends[meets]


def _within_voxels(start: FloatArray, end: FloatArray, grid: Grid) -> FloatArray:
    """Return (n, 3) positions, mm: one within each voxel that the segment from `start` to `end` passes through."""
    start_ijk, end_ijk = grid.to_ijk(np.stack([start, end]))
    crossings = [np.array([0.0, 1.0])]
    for a, b in zip(start_ijk, end_ijk, strict=True):
        if a != b:
            faces = np.arange(np.ceil(min(a, b) - 0.5), np.floor(max(a, b) - 0.5) + 1) + 0.5
            crossings.append(np.clip((faces - a) / (b - a), 0, 1))
    along = np.unique(np.concatenate(crossings))
    middles = (along[:-1] + along[1:])[np.diff(along) > 1e-9, None] / 2
    return np.asarray(start + (end - start) * middles)


def _pieces(
    starts: FloatArray, ends: FloatArray, radius: float, scribble: Scribble, grid: Grid
) -> tuple[FloatArray, FloatArray]:
    """Cut segments : (m, 3) starts and ends, mm, so short that the boxes around them hold little beside the brush."""
    voxels = np.abs((ends - starts) @ grid.ras_to_ijk[:3, :3].T).max(axis=1, initial=0)
    brush = float((2 * radius * np.linalg.norm(grid.ras_to_ijk[:3, :3], axis=1)).min())
    counts = np.maximum(1, np.ceil(voxels / max(16.0, brush))).astype(int)
    _check_work(scribble, float(counts.sum()), _MOST_PIECES)
    segment = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts)
    way, count = (ends - starts)[segment], counts[segment][:, None]
    first = starts[segment] + way * (number[:, None] / count)
    return first, starts[segment] + way * ((number[:, None] + 1) / count)


def _boxes_near(
    starts: FloatArray, ends: FloatArray, margin_kji: Sequence[int], extent: Extent, grid: Grid
) -> tuple[IntArray, IntArray]:
    """Return, (m, 3) each, where the boxes begin and stop that hold what lies within a margin of segments."""
    corners = flip_axes(np.floor(np.stack([grid.to_ijk(starts), grid.to_ijk(ends)]) + 0.5))
    low = np.maximum(corners.min(axis=0) - margin_kji, extent.start_kji)
    high = np.minimum(corners.max(axis=0) + 1 + np.asarray(margin_kji), extent.stop_kji)
    return low.astype(np.int64), np.maximum(low, high).astype(np.int64)


def _mark_near(marked: BoolArray, box: Extent, start: FloatArray, end: FloatArray, radius: float, grid: Grid) -> None:
    """Set in `marked`, the voxels of `box`, those whose centre is no farther than `radius` from the segment.

    The squared distance is a polynomial of k, j and i, put together from its axes: a tenth of the time that it
    takes with the centres' positions.
    """
    direction = end - start
    length_2 = float(direction @ direction)
    layers = max(1, (1 << 20) // max(1, box.shape_kji[1] * box.shape_kji[2]))
    for first in range(0, box.shape_kji[0], layers):
        starts = (box.start_kji[0] + first, *box.start_kji[1:])
        stops = (min(starts[0] + layers, box.stop_kji[0]), *box.stop_kji[1:])
        k, j, i = np.ogrid[tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))]
        rows = zip(grid.ijk_to_ras[:3], start, strict=True)
        # (k, j, i) offsets of the centres from `start`, along R, A and S.
        offsets = [row[0] * i + row[1] * j + row[2] * k + (row[3] - at) for row, at in rows]
        distance_2 = sum(offset * offset for offset in offsets)
        if length_2 > 0:
            along = sum(offset * (way / length_2) for offset, way in zip(offsets, direction, strict=True))
            on_it = np.clip(along, 0, 1)
            distance_2 = distance_2 - length_2 * on_it * (2 * along - on_it)
        marked[first : first + layers] |= distance_2 <= radius * radius


def _brush_margin(radius: float, grid: Grid) -> list[int]:
    """Return how far the brush reaches along k, j and i, in voxels, and one more; also on a sheared grid."""
    voxels_per_mm = np.linalg.norm(grid.ras_to_ijk[:3, :3], axis=1)
    return [int(n) for n in np.ceil(flip_axes(radius * voxels_per_mm)) + 1]


def _brush_extent(points: FloatArray, radius: float, grid: Grid) -> Extent:
    """Return a box that holds every voxel within `radius` of the line through `points`."""
    return Extent.of_points(grid.to_ijk(points)).padded(_brush_margin(radius, grid))


def _box(box: Box, grid: Grid) -> Patch:
    local_from_ras = np.linalg.inv(box.box_to_ras)
    # A side of 0 mm marks one layer of voxels; the half-open rule there leaves no tie between two of them.
    layer, is_flat = box.layer_mm(grid), np.array(box.size_mm) == 0
    half, slack = np.where(is_flat, layer, box.size_mm) / 2, _NEARLY * layer
    low, high = np.where(is_flat, slack, -slack) - half, half + slack
    corners = apply_affine(box.box_to_ras, _box_corners(np.stack([-half, half])))
    extent = _clipped(Extent.of_points(grid.to_ijk(corners)).padded(1), grid)

    def is_inside(centres_ras: FloatArray) -> BoolArray:
        local = apply_affine(local_from_ras, centres_ras)
        return np.asarray(((local > low) & (local <= high)).all(axis=-1))

    return _evaluated(is_inside, extent, grid)


def _lasso(lasso: Lasso, grid: Grid) -> Patch:
    points = _without_repeats(lasso.positions_ras())
    _check_count(points, "lasso")
    normal = lasso.normal_ras
    centre = points.mean(axis=0)
    across = points[np.linalg.norm(points - centre, axis=1).argmax()] - centre
    across -= normal * (across @ normal)
    u = across / np.linalg.norm(across)
    v = np.cross(normal, u)
    outline = np.stack([(points - centre) @ u, (points - centre) @ v], axis=1)
    half = np.abs(normal @ grid.ijk_to_ras[:3, :3]).max() / 2
    slack = 2 * half * _NEARLY
    faces = np.concatenate([points - half * normal, points + half * normal])
    extent = _clipped(Extent.of_points(grid.to_ijk(faces)).padded(1), grid)

    def is_surrounded(centres_ras: FloatArray) -> BoolArray:
        offsets = centres_ras - centre
        depth = offsets @ normal
        near = np.asarray((depth > slack - half) & (depth <= half + slack))
        near[near] = _inside_polygon(np.stack([offsets[near] @ u, offsets[near] @ v], axis=1), outline)
        return near

    patch = _evaluated(is_surrounded, extent, grid)
    # Drawn around less than a voxel's centre: what it passes is what was meant.
    return patch if patch.mask_kji.any() else _voxels_at(points, grid)


def _inside_polygon(points: FloatArray, corners: FloatArray) -> BoolArray:
    """Tell for each of `points` : (n, 2) whether it lies inside, by the parity of the edges to its right."""
    # Sorted by y, an edge needs to look at those only that lie beside it: most edges are short.
    order = np.argsort(points[:, 1])
    x, y = points[order].T
    starts, ends = corners, np.roll(corners, -1, axis=0)
    low, high = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    firsts, lasts = np.searchsorted(y, low, side="left"), np.searchsorted(y, high, side="left")
    if (tests := int((lasts - firsts).sum())) > _MOST_TESTS:
        raise PromptError(f"expected a lasso that goes to and fro less, got {len(corners)} points: {tests:.1e} tests")
    inside = np.zeros(len(points), dtype=bool)
    for (x0, y0), (x1, y1), a, b in zip(starts, ends, firsts, lasts, strict=True):
        if a < b:
            inside[a:b] ^= x[a:b] < (x1 - x0) * (y[a:b] - y0) / (y1 - y0) + x0
    found = np.empty_like(inside)
    found[order] = inside
    return found


def _evaluated(test: Callable[[FloatArray], BoolArray], extent: Extent, grid: Grid) -> Patch:
    """Return what `test` says of the voxels of `extent`: called for each k with their centres, (j, i, 3) mm.

    Slice by slice, so that the centres of a large box need not be in memory all at once.
    """
    mask = np.zeros(extent.shape_kji, dtype=bool)
    j, i = (np.arange(a, b) for a, b in zip(extent.start_kji[1:], extent.stop_kji[1:], strict=True))
    index = np.zeros((len(j), len(i), 3))
    index[..., 1], index[..., 2] = j[:, None], i
    for layer, k in enumerate(range(extent.start_kji[0], extent.stop_kji[0])):
        index[..., 0] = k
        mask[layer] = test(grid.to_ras(flip_axes(index)))
    return Patch(extent, mask)


def _corners_ras(grid: Grid) -> FloatArray:
    return grid.to_ras(_box_corners(np.stack([np.full(3, -0.5), flip_axes(grid.shape_kji) - 0.5])))


def _box_corners(points: FloatArray) -> FloatArray:
    """Return the (8, 3) corners of the axis-aligned box around `points` : (n, 3)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T


def _clipped(extent: Extent, grid: Grid) -> Extent:
    return extent.intersection(grid.extent)
