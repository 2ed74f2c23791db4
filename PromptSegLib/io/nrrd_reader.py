"""NRRD files, read: attached and detached headers, all packings, any order of axes.

Read here and not by ITK, which takes decimal points by the host's locale and compares no checksum. The format:
teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import LPS_FROM_RAS, FloatArray
from PromptSegLib.io.image_file import ImageFile
from PromptSegLib.io.numbers import integer, number
from PromptSegLib.io.payload import Voxels
from PromptSegLib.volume import Volume

_T = TypeVar("_T")

# A header of 300 segments with their terminology takes about 200 kB.
_LONGEST_HEADER = 1 << 24

_TYPES = {
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i1": "signed char, int8, int8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names.split(", ")}
_PACKINGS = {
    "raw": "raw",
    "gzip": "deflate",
    "gz": "deflate",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "txt": "text",
    "text": "text",
    "ascii": "text",
}
_TO_RAS = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "left-posterior-superior": LPS_FROM_RAS,
    "lps": LPS_FROM_RAS,
}
# All fields of the format, without spaces. A name that is none of them may be a damaged one that says where it lies.
_NAMES = """
content number type blocksize dimension space spacedimension sizes spacings thicknesses axismins axismaxs centers
centerings kinds labels units min max oldmin oldmax endian encoding lineskip byteskip datafile sampleunits spaceunits
spaceorigin spacedirections measurementframe
"""
_FIELDS = frozenset(_NAMES.split())
_SPATIAL_KINDS = ("domain", "space")
_SERIES_KINDS = ("list", "time", *_SPATIAL_KINDS)
_UNKNOWN_KINDS = ("", "???", "none")

_VECTORS = re.compile(r"\s*(none|\([^()]*\))", re.IGNORECASE)


@dataclass(frozen=True)
class _Header:
    """The fields of a header, by their names in lower case without spaces, and where it ends in the file.

    files: the names of the files with voxels when they are listed one by one.
    """

    path: Path
    fields: dict[str, str]
    end: int
    files: tuple[str, ...] = ()

    def error(self, expected: str, name: str) -> VolumeError:
        return VolumeError(f"expected {expected} in the header of {self.path}, got {name}: {self.fields.get(name)!r}")

    def values(self, name: str, count: int, parse: Callable[[str], _T]) -> list[_T] | None:
        """Return the values of a field, one for each axis, or None when there is no such field."""
        if name not in self.fields:
            return None
        try:
            values = [parse(word) for word in self.fields[name].split()]
        except ValueError as error:
            raise self.error("numbers", name) from error
        if len(values) != count:
            raise self.error(f"{count} values", name)
        return values

    def one(self, name: str, default: int | None = None) -> int:
        values = self.values(name, 1, integer)
        if values is None and default is None:
            raise self.error("a number", name)
        return int(default or 0) if values is None else values[0]


@dataclass(frozen=True)
class _Axes:
    """What the axes of the file are, fastest first. spatial: the two or three of space; series: that of volumes one
    after the other; component: that within a voxel; None where there is none."""

    spatial: tuple[int, ...]
    series: int | None
    component: int | None


def open_nrrd(path: Path) -> ImageFile:
    """Read the header of a .nrrd or .nhdr.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    with path.open("rb") as file:
        header = _read_header(file, path)
    dimension = header.one("dimension")
    sizes = header.values("sizes", dimension, integer)
    if sizes is None or min(sizes, default=0) < 1:
        raise header.error("sizes of 1 or more", "sizes")
    directions = _directions(header, dimension)
    axes = _axes(header, sizes, directions)
    voxels = _voxels(header, sizes)
    voxels.check_size()
    matrix, notes = _affine(header, axes.spatial, directions)
    count = 1 if axes.series is None else sizes[axes.series]
    return ImageFile(path, "NRRD", count, partial(_read, voxels, axes, matrix), notes=notes)


def _read_header(file: IO[bytes], path: Path) -> _Header:
    first = file.readline(16).rstrip()
    if not re.fullmatch(rb"NRRD000[1-5]", first):
        raise VolumeError(f"expected a readable NRRD file, got {path}: it starts with {first[:8]!r}")
    fields: dict[str, str] = {}
    files: list[str] = []
    while line := file.readline(_LONGEST_HEADER):
        if file.tell() > _LONGEST_HEADER:
            raise VolumeError(f"expected a NRRD header of at most {_LONGEST_HEADER >> 20} MiB, got more in {path}")
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if fields.get("datafile", "").upper().startswith("LIST"):
            files.append(text.strip())
        elif not text:
            break
        elif not text.startswith("#") and ":=" not in text.split(": ")[0]:
            name, colon, value = text.partition(":")
            name = name.replace(" ", "").lower()
            if not colon or name in fields or name not in _FIELDS:
                raise VolumeError(
                    f"expected lines NAME: VALUE of the format's fields, each once, in {path}, got {text[:60]!r}"
                )
            fields[name] = value.strip()
    return _Header(path, fields, file.tell(), tuple(name for name in files if name))


def _directions(header: _Header, dimension: int) -> list[FloatArray | None] | None:
    """Return the step along each axis, None for those that are none of space; None when there are no directions."""
    text = header.fields.get("spacedirections")
    if text is None:
        return None
    words = _VECTORS.findall(text)
    if len(words) != dimension or _VECTORS.sub("", text).strip():
        raise header.error(f"{dimension} directions, each (X,Y,Z) or none", "spacedirections")
    return [None if word.lower() == "none" else _vector(header, word, "spacedirections") for word in words]


def _vector(header: _Header, text: str, name: str) -> FloatArray:
    try:
        values = [number(part.strip()) for part in text.strip()[1:-1].split(",")]
    except ValueError as error:
        raise header.error("numbers", name) from error
    if len(values) not in (2, 3) or not (text.strip().startswith("(") and text.strip().endswith(")")):
        raise header.error("vectors of two or three numbers", name)
    return np.array([*values, 0.0][:3])


def _axes(header: _Header, sizes: list[int], directions: Sequence[FloatArray | None] | None) -> _Axes:
    given = header.fields.get("kinds", "").split()
    if given and len(given) != len(sizes):
        raise header.error(f"{len(sizes)} kinds", "kinds")
    kinds = [kind.lower() for kind in given] or [""] * len(sizes)
    if "complex" in kinds:
        raise VolumeError(f"expected integer or floating voxels, got complex numbers in {header.path}")
    if directions is None:
        spatial = [axis for axis, kind in enumerate(kinds) if kind in (*_SPATIAL_KINDS, *_UNKNOWN_KINDS)][:3]
    else:
        spatial = [
            axis
            for axis, kind in enumerate(kinds)
            if directions[axis] is not None and kind in (*_SPATIAL_KINDS, *_UNKNOWN_KINDS)
        ]
    others = [axis for axis in range(len(sizes)) if axis not in spatial]
    if len(others) > 1:
        others = [axis for axis in others if sizes[axis] > 1]
    if len(spatial) not in (2, 3) or len(others) > 1:
        raise VolumeError(
            f"expected two or three axes of space and one other at most in {header.path}, got sizes {sizes} of kinds "
            f"{header.fields.get('kinds', 'unknown')}"
        )
    if not others:
        return _Axes(tuple(spatial), None, None)
    (other,) = others
    # Of unknown kind, the fastest axis is what a voxel holds, as for ITK; a later one is a series.
    if kinds[other] in _SERIES_KINDS or (kinds[other] in _UNKNOWN_KINDS and other > 0):
        return _Axes(tuple(spatial), other, None)
    return _Axes(tuple(spatial), None, other)


def _voxels(header: _Header, sizes: list[int]) -> Voxels:
    name, packing = header.fields.get("type", "").lower(), header.fields.get("encoding", "").lower()
    if name not in _DTYPES:
        raise header.error("a type of integers or floating numbers", "type")
    if packing not in _PACKINGS:
        raise header.error("raw, gzip, bzip2 or text", "encoding")
    dtype = np.dtype(_DTYPES[name])
    order = header.fields.get("endian", "").lower()
    if dtype.itemsize > 1 and _PACKINGS[packing] != "text" and order not in ("little", "big"):
        raise header.error("little or big", "endian")
    files, offset = _files(header, sizes)
    skipped = header.one("byteskip", 0)
    if (lines := header.one("lineskip", 0)) > 0:
        offset = _after_lines(files[0], offset, lines)
    is_packed = _PACKINGS[packing] in ("deflate", "bzip2")
    if skipped < -1 or (skipped == -1 and packing != "raw") or lines < 0:
        raise header.error("a number of bytes", "byteskip")
    return Voxels(
        kind="NRRD",
        header=header.path,
        files=files,
        offset=-1 if skipped == -1 else offset if is_packed else offset + skipped,
        packing=_PACKINGS[packing],
        dtype=dtype.newbyteorder(">" if order == "big" else "<"),
        shape=tuple(reversed(sizes)),
        skipped=skipped if is_packed else 0,
    )


def _files(header: _Header, sizes: list[int]) -> tuple[tuple[Path, ...], int]:
    """Return the files with the voxels, and where these begin in each."""
    folder, where = header.path.parent, header.fields.get("datafile")
    if where is None:
        return (header.path,), header.end
    words = where.split()
    if words and words[0].upper() == "LIST":
        names, rest = list(header.files), words[1:]
    elif "%" in where and len(words) >= 4:
        try:
            first, last, step = (integer(word) for word in words[1:4])
            names = [words[0] % index for index in range(first, last + (1 if step > 0 else -1), step)]
        except (TypeError, ValueError) as error:
            raise header.error("a pattern with a first, a last and a step", "datafile") from error
        rest = words[4:]
    else:
        return (folder / where,), 0
    # How many axes each file holds: all but the slowest one, unless it is said. All of them: slabs of it.
    held = int(rest[0]) if rest and rest[0].isdecimal() else len(sizes) - 1
    count = len(names) if held == len(sizes) else math.prod(sizes[held:])
    if len(names) != count or not names:
        raise header.error(f"{count} files, got {len(names)}", "datafile")
    return tuple(folder / name for name in names), 0


def _after_lines(path: Path, offset: int, lines: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        for _ in range(lines):
            file.readline(_LONGEST_HEADER)
        return file.tell()


def _affine(
    header: _Header, spatial: tuple[int, ...], directions: Sequence[FloatArray | None] | None
) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the affine to RAS, and what to tell about it."""
    matrix = np.eye(4)
    space = header.fields.get("space", "").lower()
    if space.endswith(("-time", "st")) and space not in _TO_RAS:
        raise header.error("a space of three dimensions", "space")
    if directions is not None:
        steps = [step for axis in spatial if (step := directions[axis]) is not None]
        if len(steps) == 2:
            normal = np.cross(steps[0], steps[1])
            steps.append(normal / (np.linalg.norm(normal) or 1.0))
        matrix[:3, :3] = np.transpose(steps)
    else:
        matrix[:3] = _scaled(header, spatial)
    if "spaceorigin" in header.fields:
        matrix[:3, 3] = _vector(header, header.fields["spaceorigin"], "spaceorigin")
    notes = []
    if directions is not None and space not in _TO_RAS:
        notes.append(f"its space is {header.fields.get('space', 'not named')!r}; it is taken for LPS, as in Slicer")
    units = {unit.strip('"') for unit in header.fields.get("spaceunits", "").split()} - {"mm", "none", "", "???"}
    if units:
        notes.append(f"its unit is {', '.join(sorted(units))}; it is taken for mm, as in Slicer")
    return _TO_RAS.get(space, LPS_FROM_RAS) @ matrix, tuple(notes)


def _scaled(header: _Header, spatial: tuple[int, ...]) -> FloatArray:
    """Return the first rows of the affine of a file that knows no space: sizes of voxels, and the axes' beginnings."""
    matrix = np.eye(4)
    sizes = header.fields["sizes"].split()
    spacings = header.values("spacings", len(sizes), number)
    begins = header.values("axismins", len(sizes), number)
    centers = header.values("centers", len(sizes), str) or header.values("centerings", len(sizes), str)
    if spacings is None and "axismaxs" in header.fields:
        raise header.error("spacings rather than ends of the axes", "axismaxs")
    all_known = spacings is None or all(np.isfinite(spacings[axis]) for axis in spatial)
    for row, axis in enumerate(spatial):
        step = spacings[axis] if spacings else 1.0
        if not np.isfinite(step) or step == 0:
            step = 1.0
        matrix[row, row] = step
        if begins and all_known and np.isfinite(begins[axis]):
            # Where the first voxel begins, unless samples are said to be nodes.
            is_node = centers is not None and centers[axis] == "node"
            matrix[row, 3] = begins[axis] + (0.0 if is_node else step / 2)
    return matrix[:3]


def _read(voxels: Voxels, axes: _Axes, matrix: FloatArray, time_point: int) -> Volume:
    last = len(voxels.shape) - 1
    array = voxels.read()
    order = [last - axis for axis in reversed(axes.spatial)]
    if axes.component is not None:
        order.append(last - axes.component)
    elif axes.series is not None:
        order.insert(0, last - axes.series)
    kept = [*order, *(axis for axis in range(array.ndim) if axis not in order)]
    array = np.transpose(array, kept).reshape([array.shape[axis] for axis in order])
    if axes.series is not None:
        array = array[time_point]
    if axes.component is not None and array.shape[-1] == 1:
        array = array[..., 0]
    if len(axes.spatial) == 2:
        array = array[None]
    return Volume(np.ascontiguousarray(array), matrix)
