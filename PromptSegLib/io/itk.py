"""Plain pictures (PNG, JPEG, TIFF), by SimpleITK. Whether they are whole is looked at here: ITK does not tell."""

from __future__ import annotations

import math
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import LPS_FROM_RAS, FloatArray, affine_from_parts
from PromptSegLib.io.codestreams import check_jpeg
from PromptSegLib.io.compression import check_claim
from PromptSegLib.io.image_file import ImageFile
from PromptSegLib.io.png import as_itk_reads_it, check_png
from PromptSegLib.volume import Volume

# Suffix: what people call the format, ITK's reader of it. The reader is named, so that a file with the wrong suffix
# is refused for what it is, and no other reader tries its luck with it.
FORMATS = {
    ".png": ("PNG", "PNGImageIO"),
    ".jpg": ("JPEG", "JPEGImageIO"),
    ".jpeg": ("JPEG", "JPEGImageIO"),
    ".tif": ("TIFF", "TIFFImageIO"),
    ".tiff": ("TIFF", "TIFFImageIO"),
}


def open_itk(path: Path, suffix: str) -> ImageFile:
    """Read the header of a picture whose format is that of `suffix`.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    kind, reader_name = FORMATS[suffix]
    if kind == "PNG":
        chunks = check_png(path)
        if (grey := as_itk_reads_it(chunks)) is not None:
            return ImageFile(path, kind, 1, partial(_read_grey, path, *grey), is_picture=True)
    reader = read_header(path, kind, reader_name)
    if kind == "JPEG":
        check_jpeg(path.read_bytes(), lambda reason: VolumeError(f"expected a whole JPEG file, got {path}: {reason}"))
    if reader.GetDimension() not in (2, 3):
        raise VolumeError(f"expected an image of 2 or 3 dimensions, got {reader.GetDimension()} in {path}")
    return ImageFile(path, kind, 1, partial(_read, reader, path, kind), is_picture=True)


def read_header(path: Path, kind: str = "DICOM", reader_name: str = "GDCMImageIO") -> sitk.ImageFileReader:
    """Return a reader that has read the header of `path`.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, kind, error) from error
    check_claim(path, _claimed_bytes(reader), path.stat().st_size)
    return reader


def _claimed_bytes(reader: sitk.ImageFileReader) -> int:
    """Return how many bytes of voxels the header claims that `reader` has read."""
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = re.search(r"(\d+)-bit", kind)
    pixel_bytes = (int(bits[1]) if bits else 64) // 8 * reader.GetNumberOfComponents()
    return int(math.prod(reader.GetSize()) * pixel_bytes * (2 if "complex" in kind else 1))


def read_array(reader: sitk.ImageFileReader, path: Path, kind: str) -> NDArray[Any]:
    """Return the voxels, slowest axis first, components last.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    try:
        array: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _unreadable(path, kind, error) from error
    return array


def _affine_of(reader: sitk.ImageFileReader) -> FloatArray:
    """Return the affine to RAS of what `reader` is about to read; a 2D image lies at S = 0."""
    dimension = reader.GetDimension()
    directions, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    directions[:dimension, :dimension] = np.reshape(reader.GetDirection(), (dimension, dimension))
    spacing[:dimension], origin[:dimension] = reader.GetSpacing(), reader.GetOrigin()
    return np.asarray(LPS_FROM_RAS @ affine_from_parts(spacing, directions, origin))


def _read(reader: sitk.ImageFileReader, path: Path, kind: str, _time_point: int) -> Volume:
    array = read_array(reader, path, kind)
    if reader.GetDimension() == 2:
        array = array[None]
    if array.ndim == 4:  # without transparency, which is the second component of grey, the fourth of colour
        array = array[..., 0] if array.shape[3] <= 2 else array[..., :3]
    return Volume(array, _affine_of(reader))


def _read_grey(path: Path, content: bytes, layout: int, _time_point: int) -> Volume:
    """Read a grey PNG with transparency, which `content` is in another form; see `as_itk_reads_it`."""
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / path.name
        other.write_bytes(content)
        reader = read_header(other, *FORMATS[".png"])
        array = read_array(reader, path, "PNG")
    if layout == 16:
        array = (array >> 8).astype(np.uint8)
    elif layout == 4:
        array = array[..., 0].astype(np.uint16) << 8 | array[..., 1]
    return Volume(array[None], _affine_of(reader))


def _unreadable(path: Path, kind: str, error: RuntimeError) -> VolumeError:
    reason = " ".join(str(error).split("ERROR: ")[-1].split())
    # ITK names its objects by where they lie in memory.
    reason = re.sub(r"\b\w*\(0x[0-9a-fA-F]+\):? ?|\b0x[0-9a-fA-F]{6,}\b", "", reason)
    return VolumeError(f"expected a readable {kind} file, got {path}: {reason}")
