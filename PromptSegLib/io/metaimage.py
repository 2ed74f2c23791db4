"""MetaImage files (.mha) with labelmaps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.geometry import LPS_FROM_RAS, FloatArray, Grid, flip_axes
from PromptSegLib.io.compression import compressed, voxel_chunks


def labelmap_chunks(labels: NDArray[Any], grid: Grid) -> Iterator[bytes]:
    """Yield the bytes of a file with `labels` : (k, j, i), uint8 or uint16."""
    voxels = b"".join(compressed(voxel_chunks(labels), gzip=False))
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {len(voxels)}",
        f"TransformMatrix = {_numbers((LPS_FROM_RAS[:3, :3] @ grid.directions).T)}",
        f"Offset = {_numbers(LPS_FROM_RAS[:3, :3] @ grid.ijk_to_ras[:3, 3])}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_numbers(grid.spacing_mm)}",
        f"DimSize = {_numbers(flip_axes(labels.shape))}",
        f"ElementType = {'MET_UCHAR' if labels.dtype == np.uint8 else 'MET_USHORT'}",
        "ElementDataFile = LOCAL",
    ]
    yield ("\n".join(lines) + "\n").encode()
    yield voxels


def _numbers(values: FloatArray) -> str:
    return " ".join(repr(value) for value in np.ravel(values).tolist())
