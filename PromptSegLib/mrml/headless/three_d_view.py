"""A 3D view without the application: surfaces of segments, markups, slices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, Literal

import numpy as np
import slicer

from PromptSegLib.mrml.boot import StandaloneScene
from PromptSegLib.mrml.headless.offscreen import OffscreenView
from PromptSegLib.mrml.layers import CLOSED_SURFACE

_FIT_STEPS = 5  # perspective: coming closer by a factor enlarges what is near by more than that
Direction = Literal["Right", "Left", "Anterior", "Posterior", "Superior", "Inferior"]

_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class ThreeDView(OffscreenView):
    """The scene in space, seen from the front at first."""

    def __init__(self, host: StandaloneScene, size: tuple[int, int] = (400, 400)) -> None:
        super().__init__(host, _MANAGERS, size)
        self.node = self._add_nodes(self._add_view)
        self._connect(slicer.vtkMRMLThreeDViewInteractorStyle())
        self._style.SetCameraNode(self.camera_node)

    def _add_view(self) -> Any:
        """Add the view's node; the camera's displayable manager adds the camera."""
        layout_name = self.scene.GetUniqueNameByString("Offscreen3D")
        node = slicer.vtkMRMLViewNode()
        node.SetName(layout_name)
        node.SetLayoutName(layout_name)
        node.SetBoxVisible(False)
        node.SetAxisLabelsVisible(False)
        node = self.scene.AddNode(node)
        self.managers.SetMRMLDisplayableNode(node)
        return node

    @property
    def camera_node(self) -> Any:
        return self.managers.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def look_from(self, direction: Direction) -> None:
        """Look at the scene from that side of the patient."""
        self.camera_node.RotateTo(getattr(self.camera_node, direction))

    def fit(self) -> None:
        """Move the camera so that all that is visible fills nine tenths of the view's width or height."""
        self.render()  # what is visible is known once it has been drawn
        self.renderer.ResetCamera()
        camera = self.renderer.GetActiveCamera()
        for _ in range(_FIT_STEPS):
            reach = self._reach()
            if reach == 0:  # an empty scene, or a single point
                break
            camera.Dolly(0.9 / reach)
        self.renderer.ResetCameraClippingRange()

    def _reach(self) -> float:
        """Return how far what is visible reaches from the middle of the view; 1 is the border."""
        bounds = np.reshape(self.renderer.ComputeVisiblePropBounds(), (3, 2))
        if (bounds[:, 0] > bounds[:, 1]).any():
            return 0.0
        seen = []
        for corner in product(*bounds):
            self.renderer.SetWorldPoint(*corner, 1.0)
            self.renderer.WorldToView()
            seen.append(self.renderer.GetViewPoint()[:2])
        return float(np.abs(seen).max())


@contextmanager
def surfaces_shown(segmentation_node: Any) -> Iterator[None]:
    """Give the segments surfaces for the 3D view; take them away afterwards unless they had them before."""
    had_surfaces = segmentation_node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
    segmentation_node.CreateClosedSurfaceRepresentation()
    try:
        yield
    finally:
        if not had_surfaces:
            segmentation_node.RemoveClosedSurfaceRepresentation()
