"""A volume in the foreground of the slice views for a while, and then what was there before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class Foreground:
    """Lays volumes over all slice views of a scene, one at a time, at `opacity`.

    A view in which the user then chooses another foreground is left alone. The opacity that the user gives a view
    meanwhile is the one that the next volume has there.
    """

    def __init__(self, opacity: float) -> None:
        self._opacity = opacity
        self._opacities: dict[Any, float] = {}
        self._before: dict[Any, _Layer] = {}
        self._volume_id = ""

    def show(self, volume_node: Any) -> None:
        """Lay the volume over the views that it was not laid over yet."""
        self._volume_id = volume_node.GetID()
        for view in composite_nodes(volume_node.GetScene()):
            if view not in self._before:
                self._before[view] = _Layer.of(view)
                _Layer(self._volume_id, self._opacities.get(view, self._opacity), view.Alpha).put_in(view)

    def put_back(self) -> None:
        """Give the views the foreground, and its opacity, that they had before."""
        before, self._before = self._before, {}
        for view, layer in before.items():
            scene = view.GetScene()
            if scene is None:
                continue
            # MRML takes a volume that is removed from the scene out of the views.
            ours = self._volume_id if scene.GetNodeByID(self._volume_id) is not None else None
            if view.GetForegroundVolumeID() == ours:
                self._opacities[view] = view.GetForegroundOpacity()
                layer.put_in(view)


@dataclass(frozen=True)
class _Layer:
    """The foreground of a view."""

    volume_id: str | None
    opacity: float
    compositing: int

    @classmethod
    def of(cls, view: Any) -> _Layer:
        return cls(view.GetForegroundVolumeID(), view.GetForegroundOpacity(), view.GetCompositing())

    def put_in(self, view: Any) -> None:
        is_there = self.volume_id is not None and view.GetScene().GetNodeByID(self.volume_id) is not None
        before = view.StartModify()
        view.SetForegroundVolumeID(self.volume_id if is_there else None)
        view.SetForegroundOpacity(self.opacity)
        view.SetCompositing(self.compositing)
        view.EndModify(before)


def composite_nodes(scene: Any) -> Iterator[Any]:
    """Yield the nodes that say which volumes a slice view shows."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        yield scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
