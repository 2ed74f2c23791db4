"""Hypothesis strategies: grids as scanners make them and worse, boxes in them, masks, prompts of every kind."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from PromptSegLib.geometry import Extent, Grid, apply_affine
from PromptSegLib.prompts import Box, ClassPrompt, Lasso, MaskPrompt, Point, Scribble, TextPrompt, VoxelScribble

seeds = st.integers(0, 2**32 - 1)


def rotation(seed):
    """Return a random (3, 3) rotation."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q * [1, 1, -1]


_AXIS_ALIGNED = [
    np.diag(signs)[:, list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product([-1.0, 1.0], repeat=3)
]


@st.composite
def grids(draw, max_side=9):
    """Draw grids: axes permuted, flipped or oblique, anisotropic, anywhere, single slices among them."""
    shape = draw(st.tuples(*[st.integers(1, max_side)] * 3))
    directions = draw(st.sampled_from(_AXIS_ALIGNED))
    if draw(st.booleans()):
        directions = rotation(draw(seeds)) @ directions
    spacing_mm = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    matrix = np.eye(4)
    matrix[:3, :3] = directions * spacing_mm
    matrix[:3, 3] = origin
    return Grid(shape, matrix)


@st.composite
def extents(draw, low=-6, high=12, empty=True):
    """Draw boxes of voxels, empty ones among them."""
    start = draw(st.tuples(*[st.integers(low, high)] * 3))
    size = draw(st.tuples(*[st.integers(0 if empty else 1, high)] * 3))
    return Extent(start, tuple(a + n for a, n in zip(start, size, strict=True)))


@st.composite
def extents_in(draw, shape_kji, empty=False):
    """Draw boxes inside an array of `shape_kji`."""
    ends = [sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=not empty))) for n in shape_kji]
    return Extent(*(tuple(end) for end in zip(*ends, strict=True)))


@st.composite
def masks(draw, shape_kji):
    """Draw bool masks of `shape_kji`."""
    return np.random.default_rng(draw(seeds)).random(shape_kji) < draw(st.sampled_from([0.0, 0.02, 0.3, 1.0]))


@st.composite
def positions_in(draw, grid):
    """Draw a position (3,) in a voxel of `grid`, RAS, mm, off the faces between voxels."""
    k, j, i = (draw(st.integers(0, n - 1)) for n in grid.shape_kji)
    offset = draw(st.tuples(*[st.floats(-0.49, 0.49)] * 3))
    return tuple(grid.to_ras(np.add((i, j, k), offset)).tolist())


@st.composite
def polygons_in(draw, grid, corners=(3, 7)):
    """Draw the corners (n, 3) of a star-shaped polygon in `grid`, on a random plane, RAS, mm."""
    low, high = grid.bounds_ras
    span = np.linalg.norm(high - low)
    n = draw(st.integers(*corners))
    radii = span * np.array(draw(st.lists(st.floats(0.1, 0.5), min_size=n, max_size=n)))
    angles = np.arange(n) * 2 * np.pi / n + draw(st.floats(0, 1))
    flat = np.stack([radii * np.cos(angles), radii * np.sin(angles), np.zeros(n)], axis=1)
    plane = np.eye(4)
    plane[:3, :3] = rotation(draw(seeds)) if draw(st.booleans()) else grid.directions
    plane[:3, 3] = draw(positions_in(grid))
    return apply_affine(plane, flat)


@st.composite
def boxes_in(draw, grid):
    """Draw boxes around a position in `grid`."""
    low, high = grid.bounds_ras
    size = np.array(draw(st.tuples(*[st.floats(0.1, 1.0)] * 3))) * np.linalg.norm(high - low)
    if draw(st.booleans()):
        size[draw(st.integers(0, 2))] = 0
    axes = rotation(draw(seeds)).T if draw(st.booleans()) else grid.directions.T
    return Box(draw(positions_in(grid)), tuple(size.tolist()), axes, draw(st.booleans()))


@st.composite
def prompts_in(draw, grid):
    """Draw prompts of every kind, in `grid` where they have a place."""
    positive = draw(st.booleans())
    kind = draw(st.sampled_from([Point, Box, Scribble, VoxelScribble, Lasso, MaskPrompt, ClassPrompt, TextPrompt]))
    if kind is Point:
        return Point(draw(positions_in(grid)), positive)
    if kind is Box:
        return draw(boxes_in(grid))
    if kind is Scribble:
        points = draw(st.lists(positions_in(grid), min_size=1, max_size=5))
        return Scribble(tuple(points), draw(st.sampled_from([0.0, 2.5])), positive)
    if kind is VoxelScribble:
        return VoxelScribble(tuple(draw(st.lists(positions_in(grid), min_size=1, max_size=5))), positive)
    if kind is Lasso:
        return Lasso(draw(polygons_in(grid)), positive)
    if kind is MaskPrompt:
        mask = draw(masks(grid.shape_kji))
        mask[tuple(n // 2 for n in grid.shape_kji)] = True
        return MaskPrompt(mask, grid.ijk_to_ras)
    words = draw(st.text(min_size=1).filter(str.strip))
    return ClassPrompt(words) if kind is ClassPrompt else TextPrompt(words)
