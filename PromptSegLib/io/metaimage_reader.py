"""MetaImage files (.mha, .mhd), read.

Read here and not by ITK, which does not report voxels that it could not unpack. The format:
itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import LPS_FROM_RAS, FloatArray, affine_from_parts
from PromptSegLib.io.image_file import ImageFile
from PromptSegLib.io.numbers import integer, number
from PromptSegLib.io.payload import Voxels
from PromptSegLib.volume import Volume

_LONGEST_HEADER = 1 << 20

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Names of the same thing; the first that is there is taken.
_ORIGIN = ("Offset", "Position", "Origin")
_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
_SPACING = ("ElementSpacing", "ElementSize")
_BIG_ENDIAN = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")


@dataclass(frozen=True)
class _Header:
    path: Path
    fields: dict[str, str]
    end: int
    files: tuple[str, ...]

    def error(self, expected: str, name: str) -> VolumeError:
        return VolumeError(f"expected {expected} in the header of {self.path}, got {name} = {self.fields.get(name)!r}")

    def numbers(self, names: Sequence[str], count: int) -> FloatArray | None:
        """Return the `count` numbers of the first of `names` that is there, None when none is."""
        name = next((name for name in names if name in self.fields), None)
        if name is None:
            return None
        try:
            values = np.array([number(word) for word in self.fields[name].split()], dtype=np.float64)
        except ValueError as error:
            raise self.error("numbers", name) from error
        if len(values) != count or not np.isfinite(values).all():
            raise self.error(f"{count} finite numbers", name)
        return values

    def one(self, name: str, default: int) -> int:
        try:
            return integer(self.fields.get(name, str(default)))
        except ValueError as error:
            raise self.error("a whole number", name) from error

    def flag(self, *names: str, default: bool = False) -> bool:
        for name in names:
            if name in self.fields:
                # MetaIO looks at the first letter only.
                if not re.match("[TtFfYyNn10]", self.fields[name]):
                    raise self.error("True or False", name)
                return self.fields[name][0] in "TtYy1"
        return default


def open_metaimage(path: Path) -> ImageFile:
    """Read the header of a .mha or .mhd.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    with path.open("rb") as file:
        header = _read_header(file, path)
    dimension = header.one("NDims", 0)
    sizes = header.numbers(["DimSize"], dimension)
    if not 2 <= dimension <= 4 or sizes is None or (sizes < 1).any() or (sizes % 1).any():
        raise header.error("two to four sizes of 1 or more", "DimSize")
    components = header.one("ElementNumberOfChannels", 1)
    if components < 1:
        raise header.error("1 or more", "ElementNumberOfChannels")
    voxels = _voxels(header, [int(size) for size in sizes], components)
    voxels.check_size()
    count = int(sizes[3]) if dimension == 4 else 1
    return ImageFile(
        path, "MetaImage", count, partial(_read, voxels, dimension, components, _affine(header, dimension))
    )


def _read_header(file: IO[bytes], path: Path) -> _Header:
    fields: dict[str, str] = {}
    files: list[str] = []
    while line := file.readline(_LONGEST_HEADER):
        text = line.decode("utf-8", "replace").strip()
        if not text:
            continue
        found = re.match(r"([^=:]*?)\s*[=:]\s*(.*)", text)
        if not found or found[1] in fields or file.tell() > _LONGEST_HEADER:
            break
        name, value = found.groups()
        fields[name] = value
        if name == "ElementDataFile":
            end = file.tell()
            if value.upper().startswith("LIST"):
                files = [entry.decode("utf-8", "replace").strip() for entry in file.read(_LONGEST_HEADER).splitlines()]
            return _Header(path, fields, end, tuple(filter(None, files)))
    raise VolumeError(
        f"expected a readable MetaImage file, got {path}: expected lines NAME = VALUE, each name once, up to "
        f"ElementDataFile, got {line[:40]!r}"
    )


def _voxels(header: _Header, sizes: list[int], components: int) -> Voxels:
    kind = header.fields.get("ElementType", "").removesuffix("_ARRAY")
    if kind not in _TYPES:
        raise header.error("a type of integers or floating numbers", "ElementType")
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if header.flag(*_BIG_ENDIAN) else "<")
    is_text = not header.flag("BinaryData", default=True)
    is_packed = header.flag("CompressedData")
    files, offset = _files(header, sizes)
    skipped = header.one("HeaderSize", 0)
    is_inside = files == (header.path,)
    if skipped < -1 or (skipped == -1 and (is_packed or is_text)) or (skipped > 0 and is_inside):
        raise header.error("no HeaderSize here", "HeaderSize")
    packed_bytes = header.one("CompressedDataSize", 0)
    shape = tuple(reversed(sizes))
    return Voxels(
        kind="MetaImage",
        header=header.path,
        files=files,
        offset=-1 if skipped == -1 else offset + skipped,
        packing="text" if is_text else "deflate" if is_packed else "raw",
        dtype=dtype,
        shape=shape if components == 1 else (*shape, components),
        packed_bytes=packed_bytes if is_packed and packed_bytes > 0 else None,
    )


def _files(header: _Header, sizes: list[int]) -> tuple[tuple[Path, ...], int]:
    """Return the files with the voxels, and where these begin in each."""
    folder, where = header.path.parent, header.fields["ElementDataFile"]
    if where.upper() == "LOCAL":
        return (header.path,), header.end
    if where.upper().startswith("LIST"):
        dimensions = re.fullmatch(r"LIST\s*(?:([1-4])D)?", where, re.IGNORECASE)
        count = math.prod(sizes[int(dimensions[1] or len(sizes) - 1) :]) if dimensions else 0
        if len(header.files) != count:
            raise header.error(f"the names of {count} files after the header", "ElementDataFile")
        return tuple(folder / name for name in header.files), 0
    words = where.split()
    if "%" in where and len(words) >= 3:
        try:
            first, last, *step = (integer(word) for word in words[1:4])
            numbers = range(first, last + 1, *step)
            return tuple(folder / (words[0] % index) for index in numbers), 0
        except (TypeError, ValueError) as error:
            raise header.error("a pattern with a first and a last number", "ElementDataFile") from error
    return (folder / where,), 0


def _affine(header: _Header, dimension: int) -> FloatArray:
    """Return the affine to RAS; a 2D image lies at S = 0."""
    space = min(dimension, 3)
    directions, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    # One row for each axis of the image, which is where the columns of `directions` belong.
    given = header.numbers(_DIRECTIONS, dimension**2)
    if given is not None:
        directions[:space, :space] = given.reshape(dimension, dimension)[:space, :space].T
    for target, names in ((spacing, _SPACING), (origin, _ORIGIN)):
        values = header.numbers(names, dimension)
        if values is not None:
            target[:space] = values[:space]
    return np.asarray(LPS_FROM_RAS @ affine_from_parts(spacing, directions, origin))


def _read(voxels: Voxels, dimension: int, components: int, matrix: FloatArray, time_point: int) -> Volume:
    array = voxels.read()
    if dimension == 4:
        array = array[time_point]
    if dimension == 2:
        array = array[None]
    return Volume(array if components > 1 else np.ascontiguousarray(array), matrix)
