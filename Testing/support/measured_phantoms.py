"""Masks with known measures, and measures by trying all pairs, to compare with."""

from __future__ import annotations

import numpy as np

from PromptSegLib.geometry import Grid, flip_axes

AXES = {
    "isotropic": np.diag([1.0, 1.0, 1.0]),
    "anisotropic": np.diag([0.8, 0.7, 2.5]),
    "flipped": np.diag([-0.8, 0.8, -1.5]),
    "sagittal": np.array([[0.0, 0.0, 2.0], [0.9, 0.0, 0.0], [0.0, 0.9, 0.0]]),
    "oblique": np.array([[0.88, -0.42, 0.2], [0.45, 0.85, -0.3], [0.05, 0.3, 1.9]]),
    "sheared": np.array([[1.0, 0.0, 0.6], [0.0, 0.9, 0.3], [0.0, 0.0, 2.0]]),
}
"""Directions of i, j and k in RAS times their spacing, mm, as columns."""


def grid_of(kind, shape_kji, origin_ras=(-30.0, 12.5, 700.0)):
    """Return a grid of one of `AXES`."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = AXES[kind], origin_ras
    return Grid(tuple(shape_kji), matrix)


def voxel_centres_ras(grid):
    """Return where the voxels' centres are, (k, j, i, 3)."""
    return grid.to_ras(flip_axes(np.stack(np.indices(grid.shape_kji), axis=-1)))


def grid_around(kind, reach_mm):
    """Return a grid of one of `AXES` around a ball of the radius `reach_mm`, and that ball's centre in RAS."""
    inverse = np.linalg.inv(AXES[kind])
    half = np.ceil(reach_mm * np.linalg.norm(inverse, axis=1)).astype(int) + 2
    grid = grid_of(kind, flip_axes(2 * half + 1))
    return grid, grid.to_ras(half + np.array([0.2, 0.37, 0.11]))


def ellipsoid(grid, centre_ras, radii_mm, turned=None):
    """Return the voxels whose centre is in an ellipsoid. turned: (3, 3), its axes in RAS as columns."""
    local = (voxel_centres_ras(grid) - centre_ras) @ (np.eye(3) if turned is None else turned)
    return ((local / radii_mm) ** 2).sum(axis=-1) <= 1


def box(grid, centre_ras, half_mm, turned=None):
    """Return the voxels whose centre is in a box of the half sides `half_mm`."""
    local = (voxel_centres_ras(grid) - centre_ras) @ (np.eye(3) if turned is None else turned)
    return (np.abs(local) <= half_mm).all(axis=-1)


def face_middles(mask):
    """Return the middle of each face between a voxel of `mask` and one that is not, in the order of its axes."""
    padded = np.pad(mask, 1)
    found = []
    for axis in range(mask.ndim):
        here = np.moveaxis(padded, axis, 0)
        for index in np.argwhere(here[1:] != here[:-1]):
            place = index[1:].astype(float) - 1
            found.append(np.insert(place, axis, index[0] - 0.5))
    return np.array(found)


def longest_of_all_pairs(points_mm):
    """Return the greatest distance between two of `points_mm`."""
    return max(float(np.linalg.norm(points_mm - one, axis=1).max()) for one in points_mm)


def outline_pieces(mask_ab):
    """Return the outline of a slice cell by cell, by a table of what the four corners are."""
    low, high, left, right = (0, 0.5), (1, 0.5), (0.5, 0), (0.5, 1)
    table = {
        1: [(low, left)], 2: [(low, right)], 3: [(left, right)], 4: [(high, left)], 5: [(low, high)],
        6: [(low, left), (high, right)], 7: [(high, right)], 8: [(high, right)], 9: [(low, right), (high, left)],
        10: [(low, high)], 11: [(high, left)], 12: [(left, right)], 13: [(low, right)], 14: [(low, left)],
    }  # fmt: skip
    padded = np.pad(mask_ab, 1).astype(int)
    pieces = []
    for a in range(padded.shape[0] - 1):
        for b in range(padded.shape[1] - 1):
            code = padded[a, b] + 2 * padded[a, b + 1] + 4 * padded[a + 1, b] + 8 * padded[a + 1, b + 1]
            for start, stop in table.get(code, []):
                pieces.append(((a - 1 + start[0], b - 1 + start[1]), (a - 1 + stop[0], b - 1 + stop[1])))
    return np.array(pieces, dtype=float)


def longest_across(pieces_mm, along):
    """Return the longest line across `along` : (2,) from outline to outline, through any of its corners."""
    along = along / np.linalg.norm(along)
    frame = np.stack([along, (-along[1], along[0])])
    turned = pieces_mm @ frame.T
    best = 0.0
    for place in np.unique(np.round(turned[..., 0], 9)):
        crossings = []
        for (x0, y0), (x1, y1) in turned:
            if min(x0, x1) - 1e-9 <= place <= max(x0, x1) + 1e-9:
                flat = abs(x1 - x0) < 1e-8
                crossings += [y0, y1] if flat else [y0 + (place - x0) / (x1 - x0) * (y1 - y0)]
        best = max(best, max(crossings) - min(crossings))
    return best
