"""What a user can say about a structure: frozen values that validate themselves.

Positions are RAS in mm, in the image's own frame (before any parent transform of a scene). Positions are kept as
tuples of floats, so that prompts compare, hash and survive JSON exactly; `np.asarray` makes arrays of them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import (
    Extent,
    FloatArray,
    Grid,
    apply_affine,
    checked_affine,
    flip_axes,
    orthonormal_axes,
)
from PromptSegLib.label_values import described_range, set_voxels

Position = tuple[float, float, float]

FARTHEST_MM = 1e9
"""No coordinate and no length is larger: what is farther lies in no image, and its voxels' indices would overflow."""

_AT_ONCE = 1 << 14  # Voxels whose positions are in memory at a time, 24 bytes each, and more on the way.
_MOST_POSITIONS = 1 << 20  # Of a mask, 24 bytes each; those of 400 million voxels would take 10 GB.
_SHOWN = 120  # Characters of what was given that an error repeats.


@dataclass(frozen=True)
class Prompt:
    """Base of all prompts. `kind` names it in capabilities, files and messages."""

    kind: ClassVar[str] = "prompt"

    @property
    def sign(self) -> str:
        """Return plus or minus, or nothing where the prompt has no polarity."""
        positive = getattr(self, "positive", None)
        return "" if positive is None else "+" if positive else "-"

    def positions_ras(self) -> FloatArray:
        """(n, 3) positions, mm, that must not all lie outside the image; none for prompts without a place."""
        return np.zeros((0, 3))


@dataclass(frozen=True)
class Point(Prompt):
    """A click: inside the structure (positive) or outside of it."""

    position_ras: Position
    positive: bool = True
    kind: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        _set(self, position_ras=_position(self.position_ras, "a point's position"), positive=bool(self.positive))

    def positions_ras(self) -> FloatArray:
        return np.array([self.position_ras])


@dataclass(frozen=True)
class Box(Prompt):
    """A box around the structure, axis-aligned or oriented; one side may be 0 mm: a 2D box on a slice.

    center_ras: its middle, mm. size_mm: (3,) lengths of its sides, >= 0, two at least > 0.
    axes: three orthogonal unit vectors in RAS, the direction of each side; the axes of RAS by default.
    """

    center_ras: Position
    size_mm: Position
    axes: tuple[Position, Position, Position] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    positive: bool = True
    kind: ClassVar[str] = "box"

    def __post_init__(self) -> None:
        size = _position(self.size_mm, "a box's size")
        if min(size) < 0 or sum(side > 0 for side in size) < 2:
            raise PromptError(
                f"expected a box of sides >= 0 mm, two of them at least > 0, got {_text(size)} mm; "
                "are its corners swapped?"
            )
        axes = _positions(self.axes, 3, "three orthogonal unit vectors, a box's axes")
        if len(axes) != 3 or not np.allclose(np.array(axes) @ np.transpose(axes), np.eye(3), atol=1e-4):
            raise PromptError(f"expected three orthogonal unit vectors as a box's axes, got {axes}")
        _set(self, center_ras=_position(self.center_ras, "a box's center"), size_mm=size)
        _set(self, axes=axes, positive=bool(self.positive))

    @classmethod
    def from_corners(cls, low_ras: ArrayLike, high_ras: ArrayLike, positive: bool = True) -> Box:
        """Make a box along the axes of RAS from its lowest and its highest corner, (3,) each, mm."""
        low, high = (np.array(_position(c, "a box's corner")) for c in (low_ras, high_ras))
        if (high < low).any():
            raise PromptError(
                f"expected a box from its lowest to its highest corner, got {_text(low)} to {_text(high)}"
            )
        return cls(_tuple((low + high) / 2), _tuple(high - low), positive=positive)

    @classmethod
    def from_indices(cls, grid: Grid, low_ijk: ArrayLike, high_ijk: ArrayLike, positive: bool = True) -> Box:
        """Make a box along the axes of `grid` from voxel centre `low_ijk` to `high_ijk`, (3,) each, inclusive.

        The sides reach the outer faces of these voxels. A box one voxel thick along one axis is a 2D box: it
        lies on that slice, and its side there is 0 mm.
        """
        low, high = (np.array(_position(c, "a box's corner")) for c in (low_ijk, high_ijk))
        if (high < low).any():
            raise PromptError(
                f"expected a box from its lowest to its highest index, got {_text(low)} to {_text(high)} (i, j, k)"
            )
        voxels = high - low + 1
        voxels[voxels == 1] = 0 if (voxels == 1).sum() == 1 else 1
        i, j, k = (_tuple(axis) for axis in orthonormal_axes(grid.directions))
        return cls(_tuple(grid.to_ras((low + high) / 2)), _tuple(voxels * grid.spacing_mm), (i, j, k), positive)

    @property
    def is_planar(self) -> bool:
        """Whether it is a 2D box, on a slice."""
        return min(self.size_mm) == 0

    def layer_mm(self, grid: Grid) -> FloatArray:
        """(3,) what one layer of the voxels of `grid` measures along each of its sides, mm."""
        return np.asarray(np.abs(np.array(self.axes) @ grid.ijk_to_ras[:3, :3]).max(axis=1))

    def flattened(self, grid: Grid) -> Box:
        """Return the 2D box that this is on `grid`, when a side of it is less than a layer of voxels; else itself."""
        parts = np.array(self.size_mm) / self.layer_mm(grid)
        thin = int(parts.argmin())
        if self.is_planar or parts[thin] >= 1 - 1e-6:
            return self
        x, y, z = (0.0 if side == thin else length for side, length in enumerate(self.size_mm))
        return replace(self, size_mm=(x, y, z))

    @property
    def box_to_ras(self) -> FloatArray:
        """4x4 from the box's own frame (mm from its centre, along its axes) to RAS."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(self.axes).T
        matrix[:3, 3] = self.center_ras
        return matrix

    def corners_ras(self) -> FloatArray:
        """(8, 3) corners, mm."""
        signs = np.array(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5], indexing="ij")).reshape(3, -1).T
        return apply_affine(self.box_to_ras, signs * self.size_mm)

    def positions_ras(self) -> FloatArray:
        return self.corners_ras()


@dataclass(frozen=True)
class Scribble(Prompt):
    """A brush stroke: a polyline with a width.

    points_ras: at least one position, mm. width_mm: the brush's diameter, >= 0; 0 marks just the voxels passed.
    """

    points_ras: tuple[Position, ...]
    width_mm: float = 0.0
    positive: bool = True
    kind: ClassVar[str] = "scribble"

    def __post_init__(self) -> None:
        width = self.width_mm
        if not (isinstance(width, Real) and 0 <= width <= FARTHEST_MM):
            raise PromptError(f"expected a brush width >= 0 mm and up to {FARTHEST_MM:.0e} mm, got {shown(width)}")
        points = _positions(self.points_ras, 1, "a scribble")
        _set(self, points_ras=points, width_mm=float(width), positive=bool(self.positive))

    def positions_ras(self) -> FloatArray:
        return np.array(self.points_ras)


@dataclass(frozen=True)
class VoxelScribble(Prompt):
    """A scribble given as the centres of the voxels it marks, `points_ras` in mm: at least one, no line between."""

    points_ras: tuple[Position, ...]
    positive: bool = True
    kind: ClassVar[str] = "scribble"

    def __post_init__(self) -> None:
        _set(self, points_ras=_positions(self.points_ras, 1, "a scribble"), positive=bool(self.positive))

    def positions_ras(self) -> FloatArray:
        return np.array(self.points_ras)


@dataclass(frozen=True)
class Lasso(Prompt):
    """A closed outline on any plane: what it surrounds belongs to the structure (positive), or does not.

    points_ras: at least three positions in order, mm, on one plane to 1 % of their span. The last is joined to
    the first.
    """

    points_ras: tuple[Position, ...]
    positive: bool = True
    kind: ClassVar[str] = "lasso"

    def __post_init__(self) -> None:
        points = _positions(self.points_ras, 3, "a lasso")
        centred = np.array(points) - np.mean(points, axis=0)
        spread = np.linalg.svd(centred, compute_uv=False)
        if spread[1] <= 1e-6 * spread[0] or spread[0] == 0:
            raise PromptError(f"expected a lasso that surrounds an area, got {len(points)} points on one line")
        if spread[2] > 0.01 * spread[0]:
            off_mm = np.abs(centred @ self._normal(centred)).max()
            raise PromptError(f"expected a lasso on one plane, got points up to {off_mm:.1f} mm off it")
        _set(self, points_ras=points, positive=bool(self.positive))

    @staticmethod
    def _normal(centred: FloatArray) -> FloatArray:
        return np.asarray(np.linalg.svd(centred, full_matrices=False)[2][2])

    @property
    def normal_ras(self) -> FloatArray:
        """(3,) unit normal of its plane, either way round."""
        return self._normal(np.array(self.points_ras) - np.mean(self.points_ras, axis=0))

    def positions_ras(self) -> FloatArray:
        return np.array(self.points_ras)


@dataclass(frozen=True, eq=False)
class MaskPrompt(Prompt):
    """What is there already, to be refined: a mask with its geometry.

    mask_kji: (k, j, i), bool, labels that are set where not 0, or probabilities, set from 0.5 on; kept as a read-only
    bool copy cropped to what is set. ijk_to_ras: 4x4 of that array.

    Raises:
        PromptError: nothing is set, or the values are none of these.
    """

    mask_kji: NDArray[np.bool_] = field(repr=False)
    ijk_to_ras: FloatArray
    kind: ClassVar[str] = "mask"

    def __post_init__(self) -> None:
        mask = checked_mask(self.mask_kji)
        if mask.ndim != 3:
            raise PromptError(f"expected a mask (k, j, i), got an array of shape {mask.shape}")
        grid = Grid(mask.shape, checked_affine(self.ijk_to_ras))
        extent = Extent.of_mask(mask)
        if extent is None:
            raise PromptError(f"expected a mask with at least one voxel set, got none in {mask.shape}")
        # An array that nobody can write to any more is kept as it is: half a gigabyte need not be there twice.
        is_fixed = extent.size == mask.size and mask.base is None and not mask.flags.writeable
        cropped = mask if is_fixed else mask[extent.slices].copy()
        cropped.setflags(write=False)
        _set(self, mask_kji=cropped, ijk_to_ras=grid.cropped(extent).ijk_to_ras)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, MaskPrompt)
            and np.array_equal(self.mask_kji, other.mask_kji)
            and np.array_equal(self.ijk_to_ras, other.ijk_to_ras)
        )

    def __hash__(self) -> int:
        return hash((self.mask_kji.shape, zlib.crc32(self.mask_kji.data), self.ijk_to_ras.tobytes()))

    @property
    def grid(self) -> Grid:
        k, j, i = self.mask_kji.shape
        return Grid((k, j, i), self.ijk_to_ras)

    def positions_ras(self) -> FloatArray:
        """(n, 3) centres of what is set, mm; of a large mask a million of them, spread evenly."""
        flat = self.mask_kji.reshape(-1)
        step, left_out, found = -(-int(np.count_nonzero(flat)) // _MOST_POSITIONS), 0, []
        for start in range(0, flat.size, _MOST_POSITIONS):
            index = start + np.flatnonzero(flat[start : start + _MOST_POSITIONS])
            found.append(index[-left_out % step :: step])
            left_out = (left_out + len(index)) % step
        k, j, i = np.unravel_index(np.concatenate(found), self.mask_kji.shape)
        return self.grid.to_ras(np.stack([i, j, k], axis=-1))


@dataclass(frozen=True)
class ClassPrompt(Prompt):
    """The structure's name in the predictor's own list, such as "liver"."""

    name: str
    kind: ClassVar[str] = "class"

    def __post_init__(self) -> None:
        _set(self, name=_words(self.name, "a class name"))


@dataclass(frozen=True)
class TextPrompt(Prompt):
    """The structure in free words."""

    text: str
    kind: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        _set(self, text=_words(self.text, "a text"))


def checked_mask(values: ArrayLike) -> NDArray[np.bool_]:
    """Return where a mask is set, of the shape of `values`, see `set_voxels`.

    Raises:
        PromptError: it is no mask.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise PromptError(f"expected a mask of bool, integer or floating voxels, got dtype {array.dtype}")
    mask = set_voxels(array)
    if mask is None:
        raise PromptError(f"expected a mask of labels or of probabilities from 0 to 1, got {described_range(array)}")
    return mask


def check_inside(prompt: Prompt, grid: Grid) -> None:
    """Raise PromptError, naming the image's bounds, when `prompt` lies outside `grid`."""
    if isinstance(prompt, MaskPrompt):
        positions = prompt.grid.to_ras(flip_axes(np.subtract(prompt.mask_kji.shape, 1)) / 2)[None]
        is_inside = _mask_reaches(prompt, grid)
    else:
        positions = prompt.positions_ras()
        # A click has to be on a voxel; the others may reach over the edge, or lie around the whole image.
        is_extended = isinstance(prompt, Box | Lasso | Scribble)
        is_inside = _overlaps(positions, grid) if is_extended else bool(grid.contains(positions).any())
    if is_inside or len(positions) == 0:
        return
    first = _text(prompt.center_ras if isinstance(prompt, Box) else positions[0])
    where = f"{first} mm" if len(positions) == 1 else f"{first} mm and {len(positions) - 1} more positions"
    raise PromptError(
        f"expected a {prompt.kind} inside the image ({grid.describe_bounds()}, RAS), got {where}: outside of it"
    )


def _overlaps(positions_ras: FloatArray, grid: Grid) -> bool:
    """Tell whether the box around `positions_ras` : (n, 3), along the grid's axes, meets the grid."""
    positions_ijk = grid.to_ijk(positions_ras)
    reaches = (positions_ijk.max(axis=0) >= -0.5) & (positions_ijk.min(axis=0) <= flip_axes(grid.shape_kji) - 0.5)
    return bool(reaches.all())


def _mask_reaches(prompt: MaskPrompt, grid: Grid) -> bool:
    """Tell whether a voxel of the mask has its centre in `grid`; looks at few voxels at a time."""
    source, flat = prompt.grid, prompt.mask_kji.reshape(-1)
    for start in range(0, flat.size, _AT_ONCE):
        index = start + np.flatnonzero(flat[start : start + _AT_ONCE])
        k, j, i = np.unravel_index(index, prompt.mask_kji.shape)
        if grid.contains(source.to_ras(np.stack([i, j, k], axis=-1))).any():
            return True
    return False


def _set(prompt: Prompt, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(prompt, name, value)


def _tuple(values: ArrayLike) -> Position:
    x, y, z = (float(v) for v in np.asarray(values, dtype=np.float64).ravel())
    return x, y, z


def _text(values: ArrayLike) -> str:
    return "(" + ", ".join(f"{v:.4g}" for v in np.asarray(values, dtype=np.float64).ravel()) + ")"


def _position(values: ArrayLike, what: str) -> Position:
    array = _numbers(values)
    if array is None or array.shape != (3,):
        raise PromptError(f"expected three finite numbers for {what}, got {shown(values)}")
    _check_reach(array, what)
    return _tuple(array)


def _positions(values: ArrayLike, at_least: int, what: str) -> tuple[Position, ...]:
    array = _numbers(values)
    if array is None:
        raise PromptError(f"expected finite positions (n, 3) for {what}, got {shown(values)}")
    if array.ndim != 2 or array.shape[1:] != (3,) or len(array) < at_least:
        raise PromptError(
            f"expected at least {at_least} finite positions (n, 3) for {what}, got an array of shape {array.shape}"
        )
    _check_reach(array, what)
    return tuple((float(x), float(y), float(z)) for x, y, z in array)


def _numbers(values: ArrayLike) -> FloatArray | None:
    """Return `values` as an array, None when they are no finite numbers."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if np.isfinite(array).all() else None


def _check_reach(array: FloatArray, what: str) -> None:
    if array.size and (farthest := np.abs(array).max()) > FARTHEST_MM:
        raise PromptError(f"expected {what} within {FARTHEST_MM:.0e} mm, got {farthest:.4g} mm")


def shown(value: object) -> str:
    """Return what an error shows of `value`; Python does not write out numbers of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        return "a number too large to be written out"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _words(text: str, what: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise PromptError(f"expected {what} of at least one letter, got {shown(text)}")
    return " ".join(text.split())
