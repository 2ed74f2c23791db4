"""NRRD, MetaImage, plain pictures and single DICOM files, by SimpleITK."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import LPS_FROM_RAS, FloatArray, affine_from_parts
from PromptSegLib.io.image_file import ImageFile
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
_PICTURES = ("PNG", "JPEG", "TIFF")


def open_itk(path: Path, suffix: str) -> ImageFile:
    """Read the header of a file whose format is that of `suffix`. Raises VolumeError."""
    kind, reader_name = FORMATS[suffix]
    if kind == "JPEG":
        _check_jpeg_is_whole(path)
    reader = read_header(path, kind, reader_name)
    time_points = 1
    if reader.GetDimension() == 4:
        time_points = reader.GetSize()[3]
    elif _pixel_kind(reader) == "list":
        time_points = reader.GetNumberOfComponents()
    elif reader.GetDimension() not in (2, 3):
        raise VolumeError(f"expected an image of 2, 3 or 4 dimensions, got {reader.GetDimension()} in {path}")
    return ImageFile(path, kind, time_points, partial(_read, reader, path, kind), kind in _PICTURES)


def read_header(path: Path, kind: str = "DICOM", reader_name: str = "GDCMImageIO") -> sitk.ImageFileReader:
    """Return a reader that has read the header of `path`. Raises VolumeError."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, kind, error) from error
    return reader


def affine_of(reader: sitk.ImageFileReader) -> FloatArray:
    """Return the affine to RAS of what `reader` is about to read; a 2D image lies at S = 0."""
    dimension = reader.GetDimension()
    space = min(dimension, 3)
    directions, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    directions[:space, :space] = np.reshape(reader.GetDirection(), (dimension, dimension))[:space, :space]
    spacing[:space], origin[:space] = reader.GetSpacing()[:space], reader.GetOrigin()[:space]
    return np.asarray(LPS_FROM_RAS @ affine_from_parts(spacing, directions, origin))


def read_array(reader: sitk.ImageFileReader, path: Path, kind: str) -> NDArray[Any]:
    """Return the voxels, slowest axis first, components last. Raises VolumeError."""
    try:
        array: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _unreadable(path, kind, error) from error
    if array.dtype.kind == "c":
        raise VolumeError(f"expected integer or floating voxels, got complex numbers in {path}")
    return array


def _read(reader: sitk.ImageFileReader, path: Path, kind: str, time_point: int) -> Volume:
    if reader.GetDimension() == 4:
        reader.SetExtractIndex([0, 0, 0, time_point])
        reader.SetExtractSize([*reader.GetSize()[:3], 0])
    array = read_array(reader, path, kind)
    if reader.GetDimension() == 2:
        array = array[None]
    if _pixel_kind(reader) == "list":
        array = array[..., time_point]
    elif kind in _PICTURES and array.ndim == 4:
        array = array[..., :3]  # without transparency
    return Volume(array, affine_of(reader))


def _pixel_kind(reader: sitk.ImageFileReader) -> str:
    """What the components of a NRRD's voxel are: "list" for volumes one after the other (Slicer's sequences)."""
    key = "NRRD_kinds[pixel]"
    return str(reader.GetMetaData(key)) if reader.HasMetaDataKey(key) else ""


def _check_jpeg_is_whole(path: Path) -> None:
    """Raise VolumeError when the end of the picture is missing: libjpeg would paint the rest grey."""
    content = path.read_bytes()
    start_of_scan, end_of_image = content.rfind(b"\xff\xda"), content.rfind(b"\xff\xd9")
    if content.startswith(b"\xff\xd8") and end_of_image < start_of_scan:
        raise VolumeError(f"expected a whole JPEG file, got {path}: it was cut")


def _unreadable(path: Path, kind: str, error: RuntimeError) -> VolumeError:
    reason = " ".join(str(error).split("ERROR: ")[-1].split())
    return VolumeError(f"expected a readable {kind} file, got {path}: {reason}")
