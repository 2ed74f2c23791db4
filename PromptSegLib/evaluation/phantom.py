"""A CT-like abdomen made by code: an image with a known answer, for tests, demonstrations and measurements.

The anatomy is a list of shapes in RAS, in mm, the middle of the body at the origin; so the same body comes out on any
grid. Shapes are painted one over the other, each voxel as far as the shape covers it, then blurred and noised as a
scanner does. Values are in HU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from PromptSegLib.evaluation.clicks import middle_kji
from PromptSegLib.geometry import Extent, FloatArray, Grid, affine_from_parts, flip_axes
from PromptSegLib.prompts import Point
from PromptSegLib.volume import Volume

Coordinates = NDArray[np.float32]
Distance = Callable[[Coordinates, Coordinates, Coordinates], Coordinates]
"""Signed distance in mm to a surface, negative inside, from coordinates R, A, S in mm; exact near the surface only."""

LPS_DIRECTIONS = np.diag([-1.0, -1.0, 1.0])
AIR_HU = -1000.0
# Warps shift the surfaces by up to this much.
_WARP_MM = 6.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """volume: the image, int16, HU. labels_kji: uint8, 0 where nothing has a name. values: of each name in it.

    clicks: a good first click for each name that is in the image: the voxel deepest inside of it.
    """

    volume: Volume
    labels_kji: NDArray[np.uint8]
    values: Mapping[str, int]
    clicks: Mapping[str, Point]

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return where the structure `name` is: (k, j, i), bool."""
        return np.asarray(self.labels_kji == self.values[name])


@dataclass(frozen=True)
class _Shape:
    """What is painted: a tissue of `hu` where `distance` is negative, within a box from `low` to `high` (RAS, mm)."""

    hu: float
    distance: Distance
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    name: str = ""


def make_abdomen(
    shape_kji: tuple[int, int, int] = (96, 192, 192),
    spacing_mm: ArrayLike = (1.9, 1.9, 2.4),
    directions: ArrayLike = LPS_DIRECTIONS,
    seed: int = 0,
    noise_hu: float = 12.0,
) -> Phantom:
    """Make an abdomen around the origin of RAS on a grid of `shape_kji`.

    spacing_mm: (3,) along i, j, k. directions: (3, 3), columns are the unit vectors of i, j, k in RAS; oblique ones
    too. seed: another body and another noise. noise_hu: standard deviation of the noise.
    """
    rng = np.random.default_rng(seed)
    grid = _centred_grid(shape_kji, np.asarray(spacing_mm, dtype=np.float64), np.asarray(directions))
    coordinates = _warped(_coordinates(grid), rng)
    image = np.full(shape_kji, AIR_HU, dtype=np.float32)
    labels = np.zeros(shape_kji, dtype=np.uint8)
    shapes = _anatomy(rng)
    names = [name for name in dict.fromkeys(shape.name for shape in shapes) if name]
    values = {name: value for value, name in enumerate(names, start=1)}
    for shape in shapes:
        _paint(shape, values.get(shape.name, 0), grid, coordinates, image, labels)
    _scan(image, grid, noise_hu, rng)
    clicks = {name: _middle(labels == value, grid) for name, value in values.items() if (labels == value).any()}
    volume = Volume(np.round(image).astype(np.int16), grid.ijk_to_ras, "abdomen phantom")
    return Phantom(volume, labels, values, clicks)


def _centred_grid(shape_kji: tuple[int, int, int], spacing_mm: FloatArray, directions: FloatArray) -> Grid:
    matrix = affine_from_parts(spacing_mm, directions, np.zeros(3))
    matrix[:3, 3] = -matrix[:3, :3] @ (flip_axes(shape_kji) - 1) / 2
    return Grid(shape_kji, matrix)


def _coordinates(grid: Grid) -> list[Coordinates]:
    """Return R, A and S, in mm, of each voxel of `grid`: three arrays (k, j, i)."""
    k, j, i = np.ogrid[tuple(slice(n) for n in grid.shape_kji)]
    rows = grid.ijk_to_ras[:3].astype(np.float32)
    return [row[2] * k.astype(np.float32) + row[1] * j + (row[0] * i + row[3]) for row in rows]


def _warped(coordinates: list[Coordinates], rng: np.random.Generator) -> list[Coordinates]:
    """Shift each coordinate by waves along the two others, so that no surface is a perfect ellipsoid."""
    warped = []
    for axis in range(3):
        shift = np.float32(0)
        for other in (axis - 1, axis - 2):
            length_mm, phase = rng.uniform(60, 130), rng.uniform(0, 2 * np.pi)
            amplitude = rng.uniform(0.2, 0.5) * _WARP_MM
            angle = coordinates[other] * np.float32(2 * np.pi / length_mm) + np.float32(phase)
            shift = shift + np.float32(amplitude) * np.sin(angle)
        warped.append(coordinates[axis] + shift)
    return warped


def _paint(
    shape: _Shape,
    value: int,
    grid: Grid,
    coordinates: list[Coordinates],
    image: Coordinates,
    labels: NDArray[np.uint8],
) -> None:
    low, high = np.array(shape.low) - _WARP_MM, np.array(shape.high) + _WARP_MM
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T
    box = Extent.of_points(grid.to_ijk(corners)).padded(1).intersection(grid.extent)
    if box.size == 0:
        return
    depth = -shape.distance(*(c[box.slices] for c in coordinates))
    voxel_mm = np.float32(np.prod(grid.spacing_mm) ** (1 / 3))
    coverage = np.clip(depth / voxel_mm + np.float32(0.5), 0, 1)
    image[box.slices] += coverage * (np.float32(shape.hu) - image[box.slices])
    labels[box.slices][depth > 0] = value


def _scan(image: Coordinates, grid: Grid, noise_hu: float, rng: np.random.Generator) -> None:
    """Blur `image` by the scanner's point spread, about 1 mm, and add noise that is correlated as that of CT is."""
    sigma = np.minimum(1.0 / grid.spacing_kji_mm, 1.0)
    ndimage.gaussian_filter(image, sigma, output=image, truncate=3)
    if noise_hu > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        ndimage.gaussian_filter(noise, (0, 0.6, 0.6), output=noise, truncate=2)
        image += noise * np.float32(noise_hu / noise.std())


def _middle(mask_kji: NDArray[np.bool_], grid: Grid) -> Point:
    x, y, z = grid.to_ras(flip_axes(middle_kji(mask_kji, grid)))
    return Point((float(x), float(y), float(z)))


# Shapes


def _ellipsoid(center: ArrayLike, radii: ArrayLike, turn_deg: float = 0.0) -> Distance:
    """Return the distance to an ellipsoid, `turn_deg` about S."""
    (cx, cy, cz), (rx, ry, rz) = np.asarray(center, dtype=np.float32), np.asarray(radii, dtype=np.float32)
    cos, sin = np.float32(np.cos(np.radians(turn_deg))), np.float32(np.sin(np.radians(turn_deg)))

    def distance(x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
        u, v, w = cos * (x - cx) + sin * (y - cy), cos * (y - cy) - sin * (x - cx), z - cz
        level = np.sqrt((u / rx) ** 2 + (v / ry) ** 2 + (w / rz) ** 2) + np.float32(1e-6)
        steepness = np.sqrt((u / rx**2) ** 2 + (v / ry**2) ** 2 + (w / rz**2) ** 2) + np.float32(1e-6)
        return np.asarray(level * (level - 1) / steepness)

    return distance


def _column(center_xy: ArrayLike, radii_xy: ArrayLike) -> Distance:
    """Return the distance to an elliptic cylinder along S."""
    (cx, cy), (rx, ry) = np.asarray(center_xy, dtype=np.float32), np.asarray(radii_xy, dtype=np.float32)

    def distance(x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
        u, v = (x - cx) / rx, (y - cy) / ry
        level = np.hypot(u, v) + np.float32(1e-6)
        return np.asarray(level * (level - 1) / (np.hypot(u / rx, v / ry) + np.float32(1e-6)))

    return distance


def _vessel(center_xy: ArrayLike, radius: float, bend_mm: float, phase: float) -> Distance:
    """Return the distance to a tube along S that winds by `bend_mm`."""
    cx, cy = np.asarray(center_xy, dtype=np.float32)

    def distance(x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
        angle = z * np.float32(2 * np.pi / 220) + np.float32(phase)
        bend = np.float32(bend_mm)
        return np.asarray(np.hypot(x - cx - bend * np.sin(angle), y - cy - bend * np.cos(angle)) - np.float32(radius))

    return distance


def _both(first: Distance, second: Distance) -> Distance:
    return lambda x, y, z: np.maximum(first(x, y, z), second(x, y, z))


def _either(first: Distance, second: Distance) -> Distance:
    return lambda x, y, z: np.minimum(first(x, y, z), second(x, y, z))


def _without(first: Distance, second: Distance) -> Distance:
    return lambda x, y, z: np.maximum(first(x, y, z), -second(x, y, z))


def _grown(shape: Distance, margin_mm: float) -> Distance:
    return lambda x, y, z: shape(x, y, z) - np.float32(margin_mm)


def _above(limit: float, axis: int, shape: Distance) -> Distance:
    """Return the part of `shape` where the coordinate along `axis` (R, A, S) is above `limit`."""
    return lambda *xyz: np.maximum(shape(*xyz), np.float32(limit) - xyz[axis])


def _ribs(cage: Distance) -> Distance:
    """Return the distance to ribs: every 26 mm a rod of 4 mm radius that descends to the front around `cage`."""

    def distance(x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
        along = np.mod(z + np.float32(0.35) * y, np.float32(26)) - np.float32(13)
        return np.asarray(np.hypot(cage(x, y, z), along * np.float32(0.94)) - np.float32(4))

    return distance


def _discs(z: Coordinates) -> Coordinates:
    """Return the distance in mm along S to the discs between the vertebrae, 5 mm thick, every 32 mm."""
    return np.asarray(np.abs(np.mod(z, np.float32(32)) - np.float32(16)) - np.float32(2.5))


def _anatomy(rng: np.random.Generator) -> list[_Shape]:
    """Return the shapes from the outermost to the innermost: each is painted over those before."""

    def vary(*values: float) -> FloatArray:
        return np.array(values) * rng.uniform(0.93, 1.07)

    torso = _column((0, 0), vary(165, 112))
    cavity = _grown(torso, -24)
    cage = _grown(torso, -17)
    whole = ((-185.0, -130.0, -400.0), (185.0, 130.0, 400.0))
    return [
        _Shape(-100, torso, *whole),
        _Shape(55, _grown(torso, -13), *whole),
        _Shape(-95, cavity, *whole),
        _Shape(-830, _without(_above(35, 2, cavity), _ellipsoid((0, 10, -30), vary(190, 170, 132))), *whole),
        _Shape(520, _above(20, 2, _ribs(cage)), *whole, "ribs"),
        *_spine_and_vessels(rng, _grown(torso, -6)),
        *_organs(vary, cavity),
    ]


def _spine_and_vessels(rng: np.random.Generator, trunk: Distance) -> list[_Shape]:
    body = _column((0, -62), (24, 18))
    canal = _column((0, -88), (9, 8))
    process = _both(_column((0, -96), (7, 16)), trunk)
    column = _either(body, _either(_grown(canal, 4), process))
    phase, bend = rng.uniform(0, 2 * np.pi), rng.uniform(2, 5)
    box = ((-40.0, -125.0, -400.0), (40.0, -20.0, 400.0))
    return [
        _Shape(
            60,
            _either(_column((-42, -72), (20, 22)), _column((42, -72), (20, 22))),
            (-70.0, -100.0, -400.0),
            (70.0, -40.0, 400.0),
        ),
        _Shape(420, column, *box, "spine"),
        _Shape(230, _grown(body, -3), *box, "spine"),
        _Shape(90, _both(body, lambda x, y, z: _discs(z)), *box, "spine"),
        _Shape(30, canal, *box),
        _Shape(165, _vessel((-8, -34), 10.5, bend, phase), *box, "aorta"),
        _Shape(130, _vessel((20, -30), 11.5, bend, phase + 0.6), *box, "inferior vena cava"),
    ]


def _organs(vary: Callable[..., FloatArray], cavity: Distance) -> list[_Shape]:
    liver = _either(_ellipsoid((70, 5, 35), vary(68, 75, 72)), _ellipsoid((5, 42, 55), vary(62, 38, 38), 12))
    liver = _both(_without(liver, _ellipsoid((30, -45, 10), (38, 45, 70))), _grown(cavity, -3))
    spleen = _ellipsoid((-98, -38, 50), vary(30, 48, 46), 35)
    spleen = _both(_without(spleen, _ellipsoid((-70, -8, 45), (32, 34, 50))), _grown(cavity, -3))
    stomach = _ellipsoid((-58, 38, 38), vary(42, 36, 48), -20)
    shapes = [
        _Shape(118, liver, (-75.0, -90.0, -60.0), (160.0, 110.0, 125.0), "liver"),
        _Shape(
            165,
            _both(_vessel((75, 0), 5, 14, 1.0), _grown(liver, -8)),
            (30.0, -40.0, -60.0),
            (120.0, 40.0, 125.0),
            "liver",
        ),
        _Shape(12, _ellipsoid((48, 48, -22), vary(14, 18, 24)), (20.0, 15.0, -60.0), (80.0, 80.0, 15.0), "gallbladder"),
        _Shape(128, spleen, (-150.0, -110.0, -10.0), (-40.0, 40.0, 110.0), "spleen"),
        _Shape(60, stomach, (-115.0, -15.0, -25.0), (0.0, 95.0, 100.0), "stomach"),
        _Shape(15, _grown(stomach, -4), (-115.0, -15.0, -25.0), (0.0, 95.0, 100.0), "stomach"),
        _Shape(-900, _above(52, 1, _grown(stomach, -4)), (-115.0, -15.0, -25.0), (0.0, 95.0, 100.0), "stomach"),
    ]
    for side, name in ((1, "kidney right"), (-1, "kidney left")):
        shapes += _kidney(side, name, vary)
    for x, y, z in ((-70, 40, -70), (-20, 55, -60), (35, 45, -80), (80, 30, -75), (-85, -10, -60), (5, 30, -105)):
        bowel = _ellipsoid((x, y, z), vary(24, 20, 26), x)
        box = ((x - 35.0, y - 35.0, z - 35.0), (x + 35.0, y + 35.0, z + 35.0))
        shapes += [_Shape(50, bowel, *box), _Shape(-850 if x < 0 else 30, _grown(bowel, -3.5), *box)]
    return shapes


def _kidney(side: int, name: str, vary: Callable[..., FloatArray]) -> list[_Shape]:
    x, z = 66.0 * side, -28.0 if side > 0 else -15.0
    hilum = _ellipsoid((x - 22 * side, -48, z), (17, 10, 18))
    kidney = _without(_ellipsoid((x, -55, z), vary(31, 27, 54), -20 * side), hilum)
    box = ((x - 45, -100.0, z - 65), (x + 45, -10.0, z + 65))
    return [_Shape(185, kidney, *box, name), _Shape(150, _grown(kidney, -11), *box, name)]
