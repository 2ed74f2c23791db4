"""A view that nobody sees: rendered off screen, with real displayable managers and a synthetic mouse; no Qt.

Positions named `*_xy` are pixels of the view, (0, 0) in the lower left corner, as VTK counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
import slicer
import vtk
from numpy.typing import ArrayLike, NDArray
from vtk.util.numpy_support import vtk_to_numpy

from PromptSegLib.mrml.boot import StandaloneScene
from PromptSegLib.mrml.headless.png import write_png

MouseButton = Literal["Left", "Middle", "Right"]


class OffscreenView:
    """What slice views and 3D views share; close it, or use it in a `with` statement, before its scene is closed.

    size: (width, height) in pixels.
    """

    def __init__(self, host: StandaloneScene, managers: Sequence[str], size: tuple[int, int]) -> None:
        self.scene = host.scene
        self.size = size
        self.window = _hidden_window(size)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        # VTK's own style would turn and zoom the camera beside what the displayable managers do.
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self.interactor.Initialize()
        # A factory of its own: the ones that Slicer's views share would hold on to this application logic.
        self._factory = slicer.vtkMRMLDisplayableManagerFactory()
        self._factory.SetMRMLApplicationLogic(host.application_logic)
        for name in managers:
            self._factory.RegisterDisplayableManager(name)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(self._factory, self.renderer)
        self._style: Any = None
        self._own_ids: set[str] = set()
        self._is_inside = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the window, and take the nodes that the view added out of the scene, if still there."""
        self.managers.SetMRMLDisplayableNode(None)
        self._style.SetInteractor(None)
        for node in [self.scene.GetNodeByID(node_id) for node_id in self._own_ids]:
            if node is not None:
                self.scene.RemoveNode(node)
        self._own_ids.clear()
        self.window.Finalize()

    # Pictures

    def render(self) -> None:
        """Draw what the scene holds now."""
        self.window.Render()

    def image(self) -> NDArray[np.uint8]:
        """Render, and return (height, width, 3) uint8 RGB, the top row first: pixel xy is `[height - 1 - y, x]`."""
        self.render()
        width, height = self.size
        pixels = vtk.vtkUnsignedCharArray()
        self.window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
        lowest_row_first = vtk_to_numpy(pixels).reshape(height, width, 3)
        return np.array(np.flipud(lowest_row_first), dtype=np.uint8)

    def save_png(self, path: str | PathLike[str]) -> None:
        write_png(path, self.image())

    # Mouse and keyboard

    def move(self, xy: ArrayLike, *, ctrl: bool = False, shift: bool = False) -> None:
        """Move the mouse to the pixel nearest to `xy`."""
        if not self._is_inside:
            self._is_inside = True
            self._send("EnterEvent", xy, ctrl, shift)
        self._send("MouseMoveEvent", xy, ctrl, shift)

    def leave(self) -> None:
        """Take the mouse out of the view."""
        self._is_inside = False
        self._send("LeaveEvent", self.interactor.GetEventPosition())

    def press(self, xy: ArrayLike, *, button: MouseButton = "Left", ctrl: bool = False, shift: bool = False) -> None:
        """Move to `xy` and press a button down."""
        self.move(xy, ctrl=ctrl, shift=shift)
        self._send(f"{button}ButtonPressEvent", xy, ctrl, shift)

    def release(self, xy: ArrayLike, *, button: MouseButton = "Left", ctrl: bool = False, shift: bool = False) -> None:
        """Let the button go at `xy`."""
        self._send(f"{button}ButtonReleaseEvent", xy, ctrl, shift)

    def click(self, xy: ArrayLike, *, button: MouseButton = "Left", ctrl: bool = False, shift: bool = False) -> None:
        """Move to `xy`, press and release."""
        self.press(xy, button=button, ctrl=ctrl, shift=shift)
        self.release(xy, button=button, ctrl=ctrl, shift=shift)

    def drag(
        self,
        start_xy: ArrayLike,
        end_xy: ArrayLike,
        *,
        button: MouseButton = "Left",
        ctrl: bool = False,
        shift: bool = False,
        steps: int = 4,
    ) -> None:
        """Press at `start_xy`, move in `steps` to `end_xy`, and release there."""
        start, end = np.asarray(start_xy, dtype=np.float64), np.asarray(end_xy, dtype=np.float64)
        self.press(start, button=button, ctrl=ctrl, shift=shift)
        for xy in np.linspace(start, end, steps + 1)[1:]:
            self.move(xy, ctrl=ctrl, shift=shift)
        self.release(end, button=button, ctrl=ctrl, shift=shift)

    def press_key(self, name: str, *, ctrl: bool = False, shift: bool = False) -> None:
        """Press and release the key `name`, such as "Delete", with the mouse where it is."""
        for event in ("KeyPressEvent", "KeyReleaseEvent"):
            self._send(event, self.interactor.GetEventPosition(), ctrl, shift, name)

    def _send(self, event: str, xy: ArrayLike, ctrl: bool = False, shift: bool = False, key: str | None = None) -> None:
        x, y = (int(v) for v in np.rint(np.asarray(xy, dtype=np.float64)))
        self.interactor.SetEventInformation(x, y, ctrl, shift, "\0", 0, key)
        self.interactor.InvokeEvent(event)

    # For the views

    def _add_nodes(self, add: Callable[[], Any]) -> Any:
        """Return what `add` returns; the nodes that it adds to the scene go when the view is closed."""
        before = _node_ids(self.scene)
        result = add()
        self._own_ids |= _node_ids(self.scene) - before
        return result

    def _connect(self, style: Any) -> None:
        """Let `style`, one of Slicer's interactor styles, pass events on to the displayable managers."""
        self._style = style
        style.SetDisplayableManagers(self.managers)
        style.SetInteractor(self.interactor)


def _hidden_window(size: tuple[int, int]) -> Any:
    """Return a render window without a screen: EGL where VTK has it, so that no X server is looked for."""
    window = getattr(vtk, "vtkEGLRenderWindow", vtk.vtkRenderWindow)()
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    return window


def _node_ids(scene: Any) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
