"""Volume nodes as the channels of one image, each under transforms of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import vtk

from PromptSegLib.errors import GeometryError, SceneError
from PromptSegLib.imaging.co_registration import as_image
from PromptSegLib.mrml.transforms import matrix_between
from PromptSegLib.mrml.volumes import volume_from_node
from PromptSegLib.volume import SINGLE_CHANNEL, Image, Volume


class ChannelNodes:
    """Volume nodes by the channels' names; the first one is the reference.

    Raises:
        SceneError: there is none, or one is no volume node in the scene of the first.
    """

    def __init__(self, nodes: Any | Mapping[str, Any]) -> None:
        named = dict(nodes) if isinstance(nodes, Mapping) else {SINGLE_CHANNEL: nodes}
        if not named:
            raise SceneError("expected at least one volume node, got none")
        for node in named.values():
            checked_node(node, "vtkMRMLVolumeNode")
        self.nodes: Mapping[str, Any] = MappingProxyType(named)
        self.reference = next(iter(named.values()))
        if others := [node.GetName() for node in named.values() if node.GetScene() is not self.reference.GetScene()]:
            raise SceneError(
                f"expected volumes in the scene of {self.reference.GetName()!r}, got {', '.join(others)} in another one"
            )
        self._signature = self._now()

    def image(self) -> Image:
        """Return the image in the reference's RAS, on its grid; voxels of nodes on that grid are shared.

        Raises:
            GeometryError: a channel does not overlap the reference, or when a nonlinear transform lies between them.
            VolumeError: for a node without voxels.
        """
        volumes = {}
        for name, node in self.nodes.items():
            volume = volume_from_node(node)
            if node is not self.reference:
                matrix = matrix_between(node, self.reference) @ volume.ijk_to_ras
                volume = Volume(volume.array, matrix, volume.name)
            volumes[name] = volume
        return as_image(volumes)

    def take_change(self) -> bool:
        """Tell whether voxels, or where they are, changed since this was asked last.

        A new name or display, or a transform that moves all of them alike, changes nothing.
        """
        before, self._signature = self._signature, self._now()
        return before != self._signature

    def _now(self) -> tuple[Any, ...]:
        return tuple((_voxel_signature(node), self._place(node)) for node in self.nodes.values())

    def _place(self, node: Any) -> bytes | str:
        """Where a node is as seen from the reference, as something that can be compared."""
        if node is self.reference:
            return b""
        try:
            return matrix_between(node, self.reference).tobytes()
        except GeometryError as error:
            return str(error)


def checked_node(node: Any, class_name: str) -> Any:
    """Return `node`.

    Raises:
        SceneError: it is no `class_name` in a scene.
    """
    if node is None or not hasattr(node, "IsA") or not node.IsA(class_name) or node.GetScene() is None:
        kind = type(node).__name__ if not hasattr(node, "GetClassName") else node.GetClassName()
        raise SceneError(f"expected a {class_name} that is in a scene, got {kind}")
    return node


def _voxel_signature(volume_node: Any) -> tuple[Any, ...]:
    image = volume_node.GetImageData()
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    values = tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
    return (None, values) if image is None else (image.GetAddressAsString(""), image.GetMTime(), values)
