"""Image files and folders, read: found out which format they are of, and handed to its reader."""

from __future__ import annotations

import os
from pathlib import Path

from PromptSegLib.errors import VolumeError
from PromptSegLib.io.image_file import READABLE, ImageFile, Paths
from PromptSegLib.volume import Volume


def read_volume(path: Paths, time_point: int | None = None, series: str | None = None) -> Volume:
    """Read an image file, or a folder with a DICOM series.

    path: one of `READABLE`. Patient coordinates become RAS; a 2D picture becomes one slice (1, j, i), with colour
    (1, j, i, 3), transparency is dropped.
    time_point: which volume of a 4D file, 0 first; required there. series: which series of a DICOM folder, by its
    number in the list that the error shows, or its UID; required where there are several.

    Raises:
        VolumeError: says what was expected and what came.
    """
    return open_image(path, series).volume(time_point)


def open_image(path: Paths, series: str | None = None) -> ImageFile:
    """Read the header of an image file, see `read_volume`.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    try:
        return _open(Path(path), series)
    except OSError as error:
        raise VolumeError(f"expected a readable image file, got {os.fspath(path)}: {error}") from error


def _open(path: Path, series: str | None) -> ImageFile:
    # Imported here: SimpleITK takes a moment to load, and `promptseg --help` can do without.
    from PromptSegLib.io import dicom, itk, metaimage_reader, nifti, nrrd_reader

    if path.is_dir():
        return dicom.open_series(path, series)
    if series is not None:
        raise VolumeError(f"expected a folder with DICOM files to choose series {series!r} from, got {path}")
    if not path.exists():
        raise VolumeError(f"expected an image file, got {path}: there is no such file")
    if not path.is_file():
        raise VolumeError(f"expected an image file, got {path}: it is a pipe or a device")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return nifti.open_nifti(path)
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        return nrrd_reader.open_nrrd(path)
    if path.suffix.lower() in (".mha", ".mhd"):
        return metaimage_reader.open_metaimage(path)
    if path.suffix.lower() in itk.FORMATS:
        return itk.open_itk(path, path.suffix.lower())
    if path.suffix.lower() == ".dcm" or dicom.is_dicom(path):
        return dicom.open_file(path)
    raise VolumeError(f"expected an image file ({READABLE}), got {path}")
