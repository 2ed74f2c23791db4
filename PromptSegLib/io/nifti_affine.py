"""Where the voxels of a NIfTI file lie: the header's sform, its qform, or its voxel sizes alone."""

from __future__ import annotations

import math

import numpy as np

from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import LPS_FROM_RAS, FloatArray, checked_affine, flip_axes

_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}

# Forms that place no voxel farther apart than this share of a voxel say the same: quaternions are rounded.
_SAME = 0.05

# ITK's measure of right angles between the axes of a sform, which it otherwise leaves for the qform.
_RIGHT_ANGLES = 1e-4


def affine_of(header: np.void, shape_kji: tuple[int, int, int]) -> tuple[FloatArray, tuple[str, ...]]:
    """Return a header's affine to RAS, mm, and what to tell about it.

    The sform, unless it leads to another space than the scanner's and there is a qform: as ITK and Slicer do, so
    that a position read off in Slicer is the same position here. Where it is not, because they cannot show a sheared
    sform or go by the voxel sizes beside it, a note says so.
    """
    spacing, notes = _spacing(header)
    sform = _sform(header)
    qform = _qform(header, spacing) if int(header["qform_code"]) > 0 else None
    if sform is None and int(header["sform_code"]) > 0:
        if qform is None:
            return np.vstack([header["srow"], [0, 0, 0, 1]]).astype(np.float64), ()  # refused for what it is
        notes.append("its sform is no affine; the qform is taken")
    if sform is not None and (int(header["sform_code"]) == 1 or qform is None or _is_same(sform, qform, shape_kji)):
        matrix, other = sform, _as_itk_shows(sform, qform, spacing)
    elif qform is not None:
        matrix, other = qform, qform
        if sform is not None:
            notes.append(
                _apart("its sform, which leads to another space than its qform, places", qform, sform, shape_kji)
            )
    else:
        matrix = other = LPS_FROM_RAS @ np.diag([*spacing, 1.0])
    if not _is_same(matrix, other, shape_kji):
        notes.append(_apart("Slicer, which goes by the qform and the voxel sizes, shows", matrix, other, shape_kji))
    to_mm = np.diag([_MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)] * 3 + [1.0])
    return to_mm @ matrix, tuple(notes)


def _spacing(header: np.void) -> tuple[FloatArray, list[str]]:
    """Return the voxel sizes, and a note when some are none and count as 1, as for ITK."""
    spacing = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    usable = np.isfinite(spacing) & (spacing > 0)
    needed = int(header["dim"][0])
    if usable[: max(needed, 0)].all():
        return np.where(usable, spacing, 1.0), []
    return np.where(usable, spacing, 1.0), [f"pixdim is {header['pixdim'][1:4].tolist()}; no size counts as 1 mm"]


def _sform(header: np.void) -> FloatArray | None:
    """Return the sform, or None when there is none that could be an affine."""
    if int(header["sform_code"]) <= 0:
        return None
    matrix = np.eye(4)
    matrix[:3] = header["srow"]
    try:
        return checked_affine(matrix)
    except GeometryError:
        return None


def _qform(header: np.void, spacing: FloatArray) -> FloatArray:
    """Return the affine of the quaternion (nifti1.h, method 2)."""
    b, c, d = (float(value) for value in header["quatern"])
    squares = b * b + c * c + d * d
    if squares > 1.0:  # no more than a rounding error: half a turn
        b, c, d = (value / math.sqrt(squares) for value in (b, c, d))
    a = math.sqrt(max(0.0, 1.0 - squares))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * spacing * (1.0, 1.0, -1.0 if header["pixdim"][0] < 0 else 1.0)
    matrix[:3, 3] = header["qoffset"]
    return matrix


def _as_itk_shows(sform: FloatArray, qform: FloatArray | None, spacing: FloatArray) -> FloatArray:
    """Return where ITK puts a file with this sform: at right angles only, and with the sizes of pixdim."""
    axes = sform[:3, :3] / np.linalg.norm(sform[:3, :3], axis=0)
    if np.abs(axes @ axes.T - np.eye(3)).max() > _RIGHT_ANGLES:
        return sform if qform is None else qform
    shown = sform.copy()
    shown[:3, :3] = axes * spacing
    return shown


def _is_same(one: FloatArray, other: FloatArray, shape_kji: tuple[int, int, int]) -> bool:
    sizes = np.linalg.norm(one[:3, :3], axis=0)
    return _farthest(one, other, shape_kji) <= _SAME * float(sizes.min())


def _apart(what: str, matrix: FloatArray, other: FloatArray, shape_kji: tuple[int, int, int]) -> str:
    return f"{what} its voxels up to {_farthest(matrix, other, shape_kji):.3g} mm from where they are here"


def _farthest(one: FloatArray, other: FloatArray, shape_kji: tuple[int, int, int]) -> float:
    """Return how far apart two affines put a corner of the grid, at most."""
    last = flip_axes(shape_kji) - 1
    corners = np.array([[*(last * bits), 1.0] for bits in np.ndindex(2, 2, 2)])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())
