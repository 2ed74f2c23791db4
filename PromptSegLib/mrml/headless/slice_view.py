"""A slice view without the application: the volume's slice, segments, markups, and a mouse to place them with."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import ArrayLike

from PromptSegLib.geometry import FloatArray, apply_affine
from PromptSegLib.mrml.boot import StandaloneScene
from PromptSegLib.mrml.headless.offscreen import OffscreenView
from PromptSegLib.mrml.transforms import array_from_matrix, matrix_from_array

_MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)


class SliceView(OffscreenView):
    """One slice of a scene.

    orientation: "Axial", "Sagittal" or "Coronal", or a 4x4 from the slice's frame (x to the right, y up, z towards
        the viewer) to world. When not given, as the view of that name has it, and axial without one.
    name: of the view in a layout, such as Slicer's "Red": a view of that name in the scene is taken over as it is,
        and a scene saved while this view is open shows the same in Slicer.
    """

    def __init__(
        self,
        host: StandaloneScene,
        orientation: str | ArrayLike | None = None,
        size: tuple[int, int] = (400, 400),
        name: str | None = None,
    ) -> None:
        super().__init__(host, _MANAGERS, size)
        self._mapper, self._actor = _pixel_for_pixel()
        self.renderer.AddViewProp(self._actor)  # before those of segments, which blend with what is drawn already
        self._slice_logics = host.application_logic.GetSliceLogics()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(host.application_logic)
        self._slice_logics.AddItem(self.logic)
        self.logic.SetMRMLScene(self.scene)
        self.node = self._add_nodes(lambda: self._node_of(name or self.scene.GetUniqueNameByString("Offscreen")))
        self.managers.SetMRMLDisplayableNode(self.node)
        style = slicer.vtkMRMLSliceViewInteractorStyle()
        style.SetSliceLogic(self.logic)
        self._connect(style)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.logic.ResizeSliceNode(*size)
        if orientation is not None:
            self.orient(orientation)

    def _node_of(self, layout_name: str) -> Any:
        """Let the logic work with the slice node of that name, or with a new, axial one."""
        node = self.scene.GetSingletonNode(layout_name, "vtkMRMLSliceNode")
        if node is not None:
            self.logic.SetSliceNode(node)
            return node
        node = self.logic.AddSliceNode(layout_name)
        node.SetOrientation("Axial")
        return node

    def close(self) -> None:
        self._slice_logics.RemoveItem(self.logic)
        # The logic adds the model that shows the slice in 3D, when it comes to need it.
        logic = self.logic
        models = (logic.GetSliceModelNode(), logic.GetSliceModelDisplayNode(), logic.GetSliceModelTransformNode())
        self._own_ids |= {node.GetID() for node in models if node is not None}
        logic.SetMRMLScene(None)  # before the nodes go: it would add the model anew
        super().close()

    def show(self, volume_node: Any, window_level: tuple[float, float] | None = None) -> None:
        """Show a volume, the whole slice in view; set its (window, level) when given."""
        if window_level is not None:
            volume_node.GetDisplayNode().SetAutoWindowLevel(False)
            volume_node.GetDisplayNode().SetWindowLevel(*window_level)
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        self.fit()

    def fit(self) -> None:
        """Bring the whole of the volume's slice into view, as large as it fits."""
        self.logic.FitSliceToBackground()

    def orient(self, orientation: str | ArrayLike) -> None:
        """Turn the slice to an orientation as the class takes it."""
        if isinstance(orientation, str):
            self.node.SetOrientation(orientation)
        else:
            self.node.GetSliceToRAS().DeepCopy(matrix_from_array(orientation))
            self.node.UpdateMatrices()

    def rotate_to_volume_plane(self, volume_node: Any) -> None:
        """Turn the slice into the volume's nearest own plane."""
        self.node.RotateToVolumePlane(volume_node)

    @property
    def offset(self) -> float:
        """Where the slice lies along its normal, mm."""
        return float(self.logic.GetSliceOffset())

    @offset.setter
    def offset(self, offset_mm: float) -> None:
        self.logic.SetSliceOffset(offset_mm)

    def jump_to(self, point_ras: ArrayLike, *, center: bool = False) -> None:
        """Move the slice through `point_ras` : (3,), world, along its normal; or bring the point to the centre."""
        jump = self.node.JumpSliceByCentering if center else self.node.JumpSliceByOffsetting
        jump(*(float(v) for v in np.asarray(point_ras)))

    @property
    def xy_to_ras_matrix(self) -> FloatArray:
        """4x4 from pixels (x, y, 0) to world."""
        return array_from_matrix(self.node.GetXYToRAS())

    def xy_to_ras(self, points_xy: ArrayLike) -> FloatArray:
        """Map pixels (..., 2) to world RAS (..., 3), mm, on the slice."""
        points = np.asarray(points_xy, dtype=np.float64)
        points_xyz = np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1)
        return apply_affine(self.xy_to_ras_matrix, points_xyz)

    def ras_to_xy(self, points_ras: ArrayLike) -> FloatArray:
        """Project `points_ras` : (..., 3), world, mm, along the normal to pixels (..., 2), fractions included."""
        return apply_affine(np.linalg.inv(self.xy_to_ras_matrix), points_ras)[..., :2]

    def render(self) -> None:
        connection = self.logic.GetImageDataConnection()
        self._actor.SetVisibility(connection is not None)
        if connection is not None:
            self._mapper.SetInputConnection(connection)
        super().render()


def _pixel_for_pixel() -> tuple[Any, Any]:
    """Return the mapper and the actor that put the slice's image, which is the view's size, behind all else."""
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    return mapper, actor
