"""A structure of each kind of shape, made by code, among others that look much like it: images with a known answer."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.evaluation.shapes import SHAPES
from PromptSegLib.geometry import FloatArray
from PromptSegLib.volume import Volume

# Brightness of the structure, of what lies beside it, and of the ground; how much each varies by places; the noise.
_INSIDE, _BESIDE, _GROUND, _SHADE, _NOISE = 100.0, (130.0, 75.0), 40.0, 6.0, 8.0


def make_shape(kind: str, shape_kji: tuple[int, int, int], seed: int = 0) -> tuple[Volume, BoolArray]:
    """Return an image, float32, voxels of 1 mm, and where in it a structure of `kind`, out of `SHAPES`, is.

    shape_kji: one slice, or a volume; 32 voxels along an axis at least.

    Raises:
        ValueError: for another kind.
    """
    if kind not in SHAPES:
        raise ValueError(f"expected a kind out of {', '.join(SHAPES)}, got {kind!r}")
    rng = np.random.default_rng([seed, *kind.encode()])
    side = min(n for n in shape_kji if n > 1)
    index = np.indices(shape_kji).astype(np.float64)
    middle = (np.array(shape_kji) - 1) / 2 + rng.uniform(-0.04, 0.04, 3) * side * (np.array(shape_kji) > 1)
    offset = (index - middle.reshape(3, 1, 1, 1)) / side
    for axis in range(3):
        waves = ndimage.gaussian_filter(rng.standard_normal(shape_kji), np.minimum(0.12 * side, np.array(shape_kji)))
        offset[axis] += 0.03 * waves / max(float(waves.std()), 1e-12) * (shape_kji[axis] > 1)
    truth = _DRAWN[kind](offset, rng)
    image = np.full(shape_kji, _GROUND)
    for value in _BESIDE:
        for _ in range(3):
            place = rng.uniform(-0.45, 0.45, 3) * (np.array(shape_kji) > 1)
            image[_distance(offset, place) < rng.uniform(0.08, 0.2)] = value
    if kind == "ring":
        image[_distance(offset, np.zeros(3)) < 0.3] = _BESIDE[0]
    image[truth] = _INSIDE
    shade = ndimage.gaussian_filter(rng.standard_normal(shape_kji), np.minimum(0.2 * side, np.array(shape_kji)))
    image += _SHADE * shade / max(float(shade.std()), 1e-12)
    image = ndimage.gaussian_filter(image, [0.7 * (n > 1) for n in shape_kji])
    image += rng.normal(0, _NOISE, shape_kji)
    return Volume(image.astype(np.float32), name=f"{kind} phantom"), truth


def _distance(offset: FloatArray, place: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(offset - np.reshape(place, (3, 1, 1, 1)), axis=0))


def _compact(offset: FloatArray, rng: np.random.Generator) -> BoolArray:
    stretched = offset * rng.uniform(0.75, 1.3, 3).reshape(3, 1, 1, 1)
    return np.asarray(np.linalg.norm(stretched, axis=0) < 0.24)


def _ring(offset: FloatArray, rng: np.random.Generator) -> BoolArray:
    radius, width = rng.uniform(0.25, 0.3), rng.uniform(0.04, 0.06)
    in_plane = np.hypot(offset[1], offset[2] * rng.uniform(0.85, 1.15))
    return np.asarray((abs(in_plane - radius) < width) & (abs(offset[0]) < 0.28))


def _tree(offset: FloatArray, rng: np.random.Generator) -> BoolArray:
    """Branches that part in two, each thinner and shorter than the one before."""
    flat = np.ptp(offset[0]) < 0.2
    inside = np.zeros(offset.shape[1:], dtype=bool)
    stack = [(np.array([0.0, 0.44, 0.0]), np.array([0.0, -1.0, 0.0]), 0.3, 0.03, 0)]
    while stack:
        start, direction, length, radius, depth = stack.pop()
        end = start + length * direction
        along = np.einsum("a,a...->...", direction, offset - start.reshape(3, 1, 1, 1))
        nearest = start.reshape(3, 1, 1, 1) + np.clip(along, 0, length) * direction.reshape(3, 1, 1, 1)
        inside |= np.linalg.norm(offset - nearest, axis=0) < radius
        if depth < 3:
            for sign in (-1, 1):
                turn = direction + sign * rng.uniform(0.4, 0.8) * np.array([0.0, 0.0, 1.0])
                turn = turn + rng.uniform(-0.5, 0.5, 3) * [not flat, 0.3, 0.3]
                turn[0] *= not flat
                stack.append((end, turn / np.linalg.norm(turn), 0.75 * length, max(0.8 * radius, 0.018), depth + 1))
    return inside


def _parts(offset: FloatArray, rng: np.random.Generator) -> BoolArray:
    inside = np.zeros(offset.shape[1:], dtype=bool)
    for angle in rng.uniform(0, 1) + np.arange(4) * np.pi / 2:
        place = np.array([0.0, 0.3 * np.sin(angle), 0.3 * np.cos(angle)])
        inside |= _distance(offset, place) < rng.uniform(0.07, 0.13)
    return inside


def _plate(offset: FloatArray, rng: np.random.Generator) -> BoolArray:
    """Return a piece of a shell; of a slice, a bow."""
    bow = offset[1] - rng.uniform(0.8, 1.4) * (offset[2] ** 2 + offset[0] ** 2)
    return np.asarray((abs(bow) < 0.022) & (np.hypot(offset[0], offset[2]) < 0.38))


_DRAWN = {"compact": _compact, "ring": _ring, "tree": _tree, "parts": _parts, "plate": _plate}
