"""The lattices of a segmentation's layers, and how the volume's voxels lie in each.

Layers of one segmentation may lie on several: where a segment was edited after the volume was moved, or imported.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from PromptSegLib.geometry import FloatArray, Grid
from PromptSegLib.mrml.lattice_placement import Placement, placement_of
from PromptSegLib.mrml.layers import image_matrix, vtk_extent
from PromptSegLib.mrml.transforms import matrix_between, matrix_from_array
from PromptSegLib.mrml.volumes import volume_from_node

_log = logging.getLogger(__name__)


class Lattices:
    """Where `volume_node` lies in the lattices of `segmentation_node`, as of the last `locate`.

    matrices: of the lattices of the layers, 4x4 to the segmentation's RAS. default: the one for segments that have no
    voxels yet.

    Raises:
        GeometryError: a transform between the two is not linear.
    """

    def __init__(self, volume_node: Any, segmentation_node: Any, matrices: Sequence[FloatArray]) -> None:
        self._volume_node = volume_node
        self._node = segmentation_node
        self._known: list[FloatArray] = []
        self._placements: dict[int, Placement] = {}
        self._placed, self.grid = self._now()
        self.choose(matrices)

    def locate(self) -> bool:
        """Ask where the nodes lie now, and return whether they moved against each other, or have another shape."""
        placed, self.grid = self._now()
        # Slicer keeps a matrix as spacing and directions: it comes back with another last bit.
        is_same = placed.shape_kji == self._placed.shape_kji and _is_same(placed.ijk_to_ras, self._placed.ijk_to_ras)
        if not is_same:
            self._placed = placed
            self._placements.clear()
        return not is_same

    def choose(self, matrices: Sequence[FloatArray]) -> None:
        """Choose `default` anew, for layers on these lattices."""
        self.default = self.same(self._default(matrices))
        self.placement(self.default)

    def same(self, ijk_to_ras: FloatArray) -> FloatArray:
        """Return the one array that stands for this lattice here: lattices can then be told apart by identity."""
        for known in self._known:
            if known is ijk_to_ras or np.allclose(known, ijk_to_ras, rtol=0, atol=1e-6):
                return known
        self._known.append(ijk_to_ras)
        return ijk_to_ras

    def placement(self, ijk_to_ras: FloatArray) -> Placement:
        """Return how the volume lies in the lattice `ijk_to_ras`."""
        key = id(self.same(ijk_to_ras))
        if key not in self._placements:
            self._placements[key] = placement_of(self._placed, ijk_to_ras)
            if not self._placements[key].is_exact:
                _log.warning(
                    "the segmentation %r has another grid than the volume %r: masks are resampled to the nearest "
                    "voxel; for exact masks use a segmentation with the volume's geometry",
                    self._node.GetName(),
                    self._volume_node.GetName(),
                )
        return self._placements[key]

    def _now(self) -> tuple[Grid, Grid]:
        """Return the volume's grid in the segmentation's RAS, and in its own."""
        from_volume = matrix_between(self._volume_node, self._node)
        grid = volume_from_node(self._volume_node).grid
        return Grid(grid.shape_kji, from_volume @ grid.ijk_to_ras), grid

    def _default(self, matrices: Sequence[FloatArray]) -> FloatArray:
        if matrices and all(_is_same(matrix, matrices[0]) for matrix in matrices):
            return matrices[0]
        if matrices:
            return next((matrix for matrix in matrices if self.placement(matrix).is_exact), matrices[0])
        segmentation, converter = self._node.GetSegmentation(), slicer.vtkSegmentationConverter
        reference = slicer.vtkOrientedImageData()
        name = converter.GetReferenceImageGeometryParameterName()
        geometry = segmentation.GetConversionParameter(name)
        if geometry and converter.DeserializeImageGeometry(geometry, reference, False):
            matrix = image_matrix(reference)
            # Slicer takes a volume's geometry over without its transform: nobody chose that grid here.
            if not np.allclose(matrix, self.grid.ijk_to_ras, atol=1e-6):
                return matrix
        self._set_reference_geometry(segmentation, name)
        return self._placed.ijk_to_ras

    def _set_reference_geometry(self, segmentation: Any, name: str) -> None:
        """Give a segmentation that has no voxels yet the volume's grid, where the transforms put it."""
        image = slicer.vtkOrientedImageData()
        image.SetExtent(*vtk_extent(self._placed.extent))
        image.SetGeometryFromImageToWorldMatrix(matrix_from_array(self._placed.ijk_to_ras))
        geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(image)
        if segmentation.GetConversionParameter(name) != geometry:
            segmentation.SetConversionParameter(name, geometry)


def _is_same(one: FloatArray, other: FloatArray) -> bool:
    return bool(np.allclose(one, other, rtol=0, atol=1e-7))
