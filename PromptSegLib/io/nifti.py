"""NIfTI-1 and NIfTI-2, read and written exactly: the header's own affine, every byte of the voxels accounted for.

ITK fills a file that was cut with zeros and squeezes the affine through spacings and cosines in single precision,
which moves voxels by up to 5e-5 mm at each pass; hence these readers and writers. The format: nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import io
import itertools
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import FloatArray, Grid, affine_from_parts, flip_axes, orthonormal_axes
from PromptSegLib.io import compression
from PromptSegLib.io.compression import voxel_chunks
from PromptSegLib.io.image_file import ImageFile
from PromptSegLib.io.nifti_affine import affine_of
from PromptSegLib.volume import Volume

# Name: offset, type in NIfTI-1; offset, type in NIfTI-2. Only what is read or written here.
_FIELDS: dict[str, tuple[int, str, int, str]] = {
    "sizeof_hdr": (0, "i4", 0, "i4"),
    "dim": (40, "8i2", 16, "8i8"),
    "datatype": (70, "i2", 12, "i2"),
    "bitpix": (72, "i2", 14, "i2"),
    "pixdim": (76, "8f4", 104, "8f8"),
    "vox_offset": (108, "f4", 168, "i8"),
    "scl_slope": (112, "f4", 176, "f8"),
    "scl_inter": (116, "f4", 184, "f8"),
    "xyzt_units": (123, "u1", 500, "i4"),
    "qform_code": (252, "i2", 344, "i4"),
    "sform_code": (254, "i2", 348, "i4"),
    "quatern": (256, "3f4", 352, "3f8"),
    "qoffset": (268, "3f4", 376, "3f8"),
    "srow": (280, "(3,4)f4", 400, "(3,4)f8"),
    "magic": (344, "S4", 4, "S4"),
}


def _header_dtype(version: int, size: int) -> np.dtype[np.void]:
    at = 2 * (version - 1)
    parts: Any = {
        "names": list(_FIELDS),
        "offsets": [field[at] for field in _FIELDS.values()],
        "formats": [field[at + 1] for field in _FIELDS.values()],
        "itemsize": size,
    }
    dtype: np.dtype[np.void] = np.dtype(parts)
    return dtype.newbyteorder("<")


_HEADERS = {348: _header_dtype(1, 348), 540: _header_dtype(2, 540)}
_MAGIC = {348: b"n+1", 540: b"n+2"}
# Behind the header are four bytes that say whether an extension follows.
_FIRST_VOXEL = {348: 352, 540: 544}

# Code of the type in the file: type of a component, components.
_TYPES = {
    2: ("u1", 1),
    4: ("i2", 1),
    8: ("i4", 1),
    16: ("f4", 1),
    64: ("f8", 1),
    128: ("u1", 3),
    256: ("i1", 1),
    512: ("u2", 1),
    768: ("u4", 1),
    1024: ("i8", 1),
    1280: ("u8", 1),
    2304: ("u1", 4),
}
_CODES = {np.dtype(name): code for code, (name, components) in _TYPES.items() if components == 1}

MOST_VOXELS = 32767
"""What the format can count along an axis."""

# Axes that differ by less are at right angles, but for the last bits of single precision.
_SAME_AXES = 1e-7

# Deflate packs no more than 1032 bytes into one: a header that promises more is damaged.
_BEST_COMPRESSION = 1032

# What may follow the voxels of a .nii.gz: read for the checksum's sake, but not without end.
_LONGEST_REST = 1 << 26


@dataclass(frozen=True)
class _Layout:
    """What the header says of the voxels. shape_kji: of one volume. pixel: components within a voxel (colour).

    is_offset_guessed: whether the header names no usable offset, so that the file has to end with the voxels.
    """

    shape_kji: tuple[int, int, int]
    time_points: int
    components: int
    pixel: int
    dtype: np.dtype[Any]
    offset: int
    is_offset_guessed: bool
    scale: tuple[float, float]
    ijk_to_ras: FloatArray
    notes: tuple[str, ...]

    @property
    def volume_bytes(self) -> int:
        return math.prod(self.shape_kji) * self.pixel * self.dtype.itemsize

    @property
    def total_bytes(self) -> int:
        return self.volume_bytes * self.time_points * self.components


def open_nifti(path: Path) -> ImageFile:
    """Read the header of a .nii or .nii.gz.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    header, notes = _read_header(path)
    layout = _layout(path, header)
    _check_size(path, layout)
    version = 1 if header.itemsize == 348 else 2
    read = partial(_read, path, layout)
    return ImageFile(path, f"NIfTI-{version}", layout.time_points, read, notes=(*notes, *layout.notes))


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _open(path: Path) -> IO[bytes]:
    # By its content: ITK reads a .nii.gz that is not compressed, too.
    return cast("IO[bytes]", gzip.open(path, "rb")) if _is_compressed(path) else path.open("rb")


def _read_header(path: Path) -> tuple[np.void, list[str]]:
    """Return the header, and a note on each slip in it."""
    try:
        with _open(path) as file:
            raw = file.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise VolumeError(f"expected a readable NIfTI file, got {path}: {error}") from error
    for size, dtype in _HEADERS.items():
        for candidate in (dtype, dtype.newbyteorder(">")):
            if len(raw) < size:
                continue
            header = cast("np.void", np.frombuffer(raw, candidate, count=1)[0])
            magic = bytes(header["magic"])
            if header["sizeof_hdr"] == size:
                if magic == _MAGIC[size]:
                    return header, []
                raise VolumeError(f"expected a NIfTI file in one piece, got {path}: {magic!r}")
            if magic == _MAGIC[size] and 1 <= header["dim"][0] <= 7:
                return header, [f"sizeof_hdr is {int(header['sizeof_hdr'])}, not {size}"]
    raise VolumeError(f"expected a readable NIfTI file, got {path}: it starts with {raw[:8]!r}, no NIfTI header")


def _layout(path: Path, header: np.void) -> _Layout:
    count = int(header["dim"][0])
    notes = []
    dim = [int(n) for n in header["dim"][1 : max(count, 0) + 1]] + [1] * (7 - count)
    if 2 <= count <= 7 and 0 in dim[2:]:
        notes.append(f"dim is {header['dim'].tolist()}; a size of 0 counts as 1")
        dim[2:] = [n or 1 for n in dim[2:]]
    if not 2 <= count <= 7 or min(dim) < 1 or dim[5:7] != [1, 1]:
        raise VolumeError(f"expected an image of 2 to 5 dimensions, got dim {header['dim'].tolist()} in {path}")
    code = int(header["datatype"])
    if code not in _TYPES:
        raise VolumeError(f"expected voxels of integer, floating or RGB type, got NIfTI type {code} in {path}")
    name, pixel = _TYPES[code]
    dtype = np.dtype(name).newbyteorder(cast("Any", header.dtype["datatype"].byteorder))
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    is_scaled = slope != 0 and math.isfinite(slope)
    if is_scaled and not math.isfinite(inter):
        raise VolumeError(f"expected a finite scl_inter beside the scl_slope {slope:g}, got {inter} in {path}")
    offset, least = float(header["vox_offset"]), _FIRST_VOXEL[header.itemsize]
    is_offset_guessed = not least <= offset < 2**63
    if is_offset_guessed:
        notes.append(f"vox_offset is {offset:g}, within the header; the voxels are read from {least} on")
    shape_kji = (dim[2], dim[1], dim[0])
    matrix, about_place = affine_of(header, shape_kji)
    return _Layout(
        shape_kji=shape_kji,
        time_points=dim[3],
        components=dim[4],
        pixel=pixel,
        dtype=dtype,
        offset=least if is_offset_guessed else int(offset),
        is_offset_guessed=is_offset_guessed,
        scale=(slope, inter) if is_scaled else (1.0, 0.0),
        ijk_to_ras=matrix,
        notes=(*notes, *about_place),
    )


def _check_size(path: Path, layout: _Layout) -> None:
    file_bytes = size = path.stat().st_size
    needed = layout.offset + layout.total_bytes
    if _is_compressed(path):
        size *= _BEST_COMPRESSION
    if size < needed:
        raise VolumeError(f"expected {needed} bytes in {path}, got {size}: the file was cut, or its header is wrong")
    loaded = layout.volume_bytes * layout.components
    if layout.scale != (1.0, 0.0) and layout.pixel == 1:
        loaded = math.prod(layout.shape_kji) * layout.components * (4 if layout.dtype.itemsize <= 2 else 8)
    compression.check_claim(path, loaded, file_bytes)


def _read(path: Path, layout: _Layout, time_point: int) -> Volume:
    pieces = []
    try:
        with _open(path) as file:
            for component in range(layout.components):
                piece = component * layout.time_points + time_point
                file.seek(layout.offset + piece * layout.volume_bytes)
                pieces.append(_read_piece(file, layout))
            rest = _read_rest(file, layout)
    except (OSError, EOFError, zlib.error) as error:
        raise VolumeError(f"expected a whole NIfTI file, got {path}: {error}") from error
    if rest and layout.is_offset_guessed:
        raise VolumeError(
            f"expected a vox_offset that says where the voxels begin in {path}, got one within the header, and "
            f"{rest} bytes more than the voxels take"
        )
    array: NDArray[Any] = pieces[0] if layout.components == 1 else np.stack(pieces, axis=-1)
    if layout.pixel > 1:
        array = array[..., :3]
    slope, inter = layout.scale
    if (slope, inter) != (1.0, 0.0) and layout.pixel == 1:
        is_small = array.dtype.itemsize <= 2 or array.dtype == np.float32
        array = array.astype(np.float32 if is_small else np.float64)
        array *= slope
        array += inter
    return Volume(array, layout.ijk_to_ras)


def _read_rest(file: IO[bytes], layout: _Layout) -> int:
    """Return how many bytes follow the voxels; at the end of a .gz, the checksum of the whole file is compared.

    Damage can make a compressed stream longer: only its end tells.

    Raises:
        VolumeError: it is too long.
    """
    if not isinstance(file, gzip.GzipFile):
        at = layout.offset + layout.total_bytes
        return max(0, os.fstat(file.fileno()).st_size - at)
    file.seek(layout.offset + layout.total_bytes)
    rest = 0
    while piece := file.read(1 << 20):
        rest += len(piece)
        if rest > _LONGEST_REST:
            raise OSError(f"more than {_LONGEST_REST >> 20} MiB follow its {layout.total_bytes} bytes of voxels")
    return rest


def _read_piece(file: IO[bytes], layout: _Layout) -> NDArray[Any]:
    shape = layout.shape_kji if layout.pixel == 1 else (*layout.shape_kji, layout.pixel)
    array = np.empty(shape, layout.dtype)
    rest = array.reshape(-1).view(np.uint8).data
    while rest:
        count = cast("io.BufferedIOBase", file).readinto(rest)
        if not count:
            raise EOFError(f"the last {len(rest)} of {array.nbytes} bytes of a volume are missing")
        rest = rest[count:]
    return array.astype(layout.dtype.newbyteorder("="), copy=False)


def labelmap_chunks(labels: NDArray[Any], grid: Grid, compressed: bool) -> Iterator[bytes]:
    """Yield the bytes of a NIfTI-1 file with `labels` : (k, j, i), uint8 or uint16.

    The format keeps the affine in single precision: exact for what was read from NIfTI, otherwise to 3e-5 mm at
    500 mm from the origin.
    """
    chunks = itertools.chain([_header_of(labels, grid).tobytes(), bytes(4)], voxel_chunks(labels))
    return compression.compressed(chunks, gzip=True) if compressed else chunks


def _header_of(array: NDArray[Any], grid: Grid) -> NDArray[np.void]:
    header = np.zeros((), _HEADERS[348])
    header["sizeof_hdr"] = 348
    header["dim"] = [3, *flip_axes(array.shape), 1, 1, 1, 1]
    header["datatype"] = _CODES[array.dtype]
    header["bitpix"] = 8 * array.dtype.itemsize
    header["pixdim"] = [1.0, *grid.spacing_mm, 0, 0, 0, 0]
    header["vox_offset"] = 352
    header["scl_slope"] = 1.0
    header["xyzt_units"] = 2
    header["sform_code"] = 1
    header["srow"] = grid.ijk_to_ras[:3]
    header["magic"] = _MAGIC[348]
    # ITK, and with it Slicer, opens no file whose sform shears, unless there is a qform to take instead.
    turned = right_angled(grid)
    # A quaternion only turns: a left-handed grid is a right-handed one with its last axis turned over.
    handedness = float(np.sign(np.linalg.det(turned.directions)))
    header["qform_code"] = 1
    header["pixdim"][0] = handedness
    header["quatern"] = _quaternion(turned.directions * (1.0, 1.0, handedness))
    header["qoffset"] = turned.ijk_to_ras[:3, 3]
    return header


def right_angled(grid: Grid) -> Grid:
    """Return `grid` with the right angles nearest to its axes, and its middle and spacing as they are."""
    middle_ijk = (flip_axes(grid.shape_kji) - 1) / 2
    axes = orthonormal_axes(grid.directions).T
    if np.abs(axes - grid.directions).max() < _SAME_AXES:
        return grid
    matrix = affine_from_parts(grid.spacing_mm, axes, np.zeros(3))
    matrix[:3, 3] = grid.to_ras(middle_ijk) - matrix[:3, :3] @ middle_ijk
    return Grid(grid.shape_kji, matrix)


def off_by_qform_mm(grid: Grid) -> float:
    """Return how far from its place a voxel of `grid` is at most for programs that read the qform, mm."""
    corners_ijk = np.array(np.meshgrid(*((0, n - 1) for n in flip_axes(grid.shape_kji)))).reshape(3, -1).T
    off = right_angled(grid).to_ras(corners_ijk) - grid.to_ras(corners_ijk)
    return float(np.linalg.norm(off, axis=1).max())


def _quaternion(rotation: FloatArray) -> FloatArray:
    """Return (b, c, d) of the unit quaternion a + bi + cj + dk, a >= 0, of `rotation` : (3, 3)."""
    from scipy.spatial.transform import Rotation

    b, c, d, a = Rotation.from_matrix(rotation).as_quat()
    return np.array([b, c, d]) * (1.0 if a >= 0 else -1.0)
