"""An image on disk: found out what it is, how many time points it holds, and read."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.volume import Volume

_log = logging.getLogger(__name__)

Paths = str | os.PathLike[str]

READABLE = ".nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .dcm, .png, .jpg, .tif, or a folder with a DICOM series"


@dataclass(frozen=True)
class ImageFile:
    """An image file whose header was read.

    format: what people call it. time_points: how many volumes it holds, 1 for most.
    is_picture: whether it is a plain picture, such as PNG: no patient's frame, places are named by pixels.
    read: reads the volume at a time point, 0 first.
    notes: a sentence for each slip of the header that was forgiven, and for what other programs read otherwise.
    """

    path: Path
    format: str
    time_points: int
    read: Callable[[int], Volume]
    is_picture: bool = False
    notes: tuple[str, ...] = ()

    def volume(self, time_point: int | None = None) -> Volume:
        """Read the volume at `time_point`, which may be left out where there is only one.

        The notes are logged as warnings. Raises VolumeError, which names the file.
        """
        count = self.time_points
        if count > 1 and time_point is None:
            raise VolumeError(f"expected a time point, 0 to {count - 1}: {self.path} holds {count} volumes")
        if not 0 <= (time_point or 0) < count:
            raise VolumeError(f"expected a time point of {self.path} from 0 to {count - 1}, got {time_point}")
        for note in self.notes:
            _log.warning("%s: %s", self.path, note)
        try:
            volume = self.read(time_point or 0)
            return Volume(volume.array, volume.ijk_to_ras, self.path.name)
        except MemoryError as error:
            raise VolumeError(f"expected an image that fits into memory, got {self.path}: {error}") from error
        except GeometryError as error:
            raise VolumeError(f"{self.path}: {error}") from error


def read_volume(path: Paths, time_point: int | None = None, series: str | None = None) -> Volume:
    """Read an image file, or a folder with a DICOM series.

    path: one of `READABLE`. Patient coordinates become RAS; a 2D picture becomes one slice (1, j, i), with colour
    (1, j, i, 3), transparency is dropped.
    time_point: which volume of a 4D file, 0 first; required there. series: which series of a DICOM folder, by its
    number in the list that the error shows, or its UID; required where there are several.

    Raises VolumeError that says what was expected and what came.
    """
    return open_image(path, series).volume(time_point)


def open_image(path: Paths, series: str | None = None) -> ImageFile:
    """Read the header of an image file, see `read_volume`. Raises VolumeError."""
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
