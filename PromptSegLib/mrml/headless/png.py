"""Pictures as PNG files, by VTK alone."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from PromptSegLib.errors import VolumeError


def write_png(path: str | PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write `image` : (height, width, 3) uint8 RGB, the top row first, to the file `path`.

    Raises:
        VolumeError: for an array that is no such picture.
        OSError: the file cannot be written.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise VolumeError(f"expected a picture (height, width, 3) of uint8, got {image.shape} of {image.dtype}")
    height, width, _ = image.shape
    picture = vtk.vtkImageData()
    picture.SetDimensions(width, height, 1)
    lowest_row_first = np.ascontiguousarray(np.flipud(image)).reshape(-1, 3)
    picture.GetPointData().SetScalars(numpy_to_vtk(lowest_row_first, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(picture)
    writer.WriteToMemoryOn()
    writer.Write()
    Path(path).write_bytes(vtk_to_numpy(writer.GetResult()).tobytes())
