"""One picture of a scene: axial, coronal and sagittal slices and the 3D view, laid out as Slicer's four-up."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.geometry import FloatArray
from PromptSegLib.mrml.boot import StandaloneScene
from PromptSegLib.mrml.headless.slice_view import SliceView
from PromptSegLib.mrml.headless.three_d_view import ThreeDView, surfaces_shown

_GAP_PX = 2
_GAP_GREY = 96


def scene_picture(
    host: StandaloneScene,
    volume_node: Any,
    segmentation_node: Any = None,
    *,
    point_ras: ArrayLike | None = None,
    view_size: int = 400,
) -> NDArray[np.uint8]:
    """Return a picture of a volume with its segments and whatever else the scene shows, prompts among it.

    point_ras: (3,) world, mm, where the slices meet; when not given, the middle of the segments, or of the volume
        when there are none.
    view_size: pixels of each view's side.

    Segments without a surface get one for as long as the picture takes; the scene is left as it was.

    Upper row: axial, 3D; lower row: coronal, sagittal. (2 * view_size + 2, same, 3) uint8, the top row first.
    """
    point = _middle_of(segmentation_node, volume_node) if point_ras is None else point_ras
    size = (view_size, view_size)
    with ExitStack() as views:
        slices = {}
        for orientation in ("Axial", "Coronal", "Sagittal"):
            view = slices[orientation] = views.enter_context(SliceView(host, orientation, size))
            view.show(volume_node)
            view.jump_to(point)
        space = views.enter_context(ThreeDView(host, size))
        if segmentation_node is not None:
            views.enter_context(surfaces_shown(segmentation_node))
        space.fit()
        images = {name: view.image() for name, view in slices.items()}
        return _tiled([[images["Axial"], space.image()], [images["Coronal"], images["Sagittal"]]])


def _middle_of(*nodes: Any) -> FloatArray:
    """Return the middle (3,), world, mm, of the first of `nodes` that holds anything; else the origin."""
    for node in filter(None, nodes):
        bounds = [0.0] * 6
        node.GetRASBounds(bounds)
        lows_highs = np.reshape(bounds, (3, 2))
        if (lows_highs[:, 0] < lows_highs[:, 1]).all():
            return np.asarray(lows_highs.mean(axis=1), dtype=np.float64)
    return np.zeros(3)


def _tiled(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Put pictures of the same size side by side and below each other, with a thin line between them."""
    height, width, _ = rows[0][0].shape
    step_y, step_x = height + _GAP_PX, width + _GAP_PX
    shape = (len(rows) * step_y - _GAP_PX, len(rows[0]) * step_x - _GAP_PX, 3)
    picture = np.full(shape, _GAP_GREY, dtype=np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            y, x = row * step_y, column * step_x
            picture[y : y + height, x : x + width] = image
    return picture
