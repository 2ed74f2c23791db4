"""An image on disk whose header was read: what it is, how many time points it holds, and how it is read."""

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

        The notes are logged as warnings.

        Raises:
            VolumeError: names the file.
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
