"""Prompts in the patient, or a mask, as prompts on a slice: objects, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import FloatArray, IntArray
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.predictors.slices.between_slices import innermost_xy
from PromptSegLib.predictors.slices.memory import SliceRecord
from PromptSegLib.predictors.slices.model import ObjectPrompts
from PromptSegLib.predictors.slices.slices import Slice
from PromptSegLib.prompts import Box, Point, Prompt, Scribble, VoxelScribble


def objects_on(
    plane: Slice, prompts: Sequence[Prompt], record: SliceRecord | None, mask: BoolArray | None
) -> list[ObjectPrompts]:
    """Return the objects that `prompts` on a slice speak of: one for each box, or one for all without a box.

    Points belong to the box that they are in, or nearest to. mask: (h, w), what is there now, if it is to be
    refined; with several boxes nobody knows whose it is. record: of the slice, whose logits are fed back while the
    objects are the same. No objects when all prompts are negative and nothing is there.
    """
    if mask is None and not any(getattr(prompt, "positive", True) for prompt in prompts):
        return []
    points = [prompt for prompt in prompts if isinstance(prompt, Point)]
    points_xy = plane.points(np.array([p.position_ras for p in points]).reshape(-1, 3))
    labels = np.array([int(p.positive) for p in points], dtype=np.int64)
    boxes = boxes_on(plane, prompts)
    count = max(1, len(boxes))
    owners = _nearest_box(points_xy, boxes) if len(boxes) else np.zeros(len(points), dtype=np.int64)
    logits = _logits_to_refine(plane, boxes, count, record)
    strokes = strokes_on(plane, prompts)
    return [
        ObjectPrompts(
            points_xy[owners == number],
            labels[owners == number],
            boxes[number] if len(boxes) else None,
            strokes if number == 0 else None,
            mask if count == 1 else None,
            logits[number] if logits else None,
        )
        for number in range(count)
    ]


def objects_like(mask: BoolArray) -> list[ObjectPrompts]:
    """Return prompts for what looks about like `mask` : (h, w): of each part its box, a point inside, and itself.

    Parts of less than a hundredth of the largest are left out. The boxes have some room: a structure that grows
    from slice to slice must not be cut.
    """
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    objects = []
    for number, where in enumerate(ndimage.find_objects(parts), start=1):
        if 100 * sizes[number - 1] < sizes.max():
            continue
        rows, columns = where
        part = parts == number
        low, high = np.array([columns.start, rows.start]), np.array([columns.stop, rows.stop]) - 1
        room = 1 + 0.05 * (high - low)
        size_xy = np.array([mask.shape[1], mask.shape[0]])
        box = np.concatenate([np.maximum(low - room, 0), np.minimum(high + room, size_xy - 1)])
        inside = innermost_xy(part[where]) + low
        objects.append(ObjectPrompts(inside[None], np.array([1]), box, mask=part))
    return objects


def boxes_on(plane: Slice, prompts: Sequence[Prompt]) -> FloatArray:
    """Return the boxes among `prompts`, (n, 4) as first and last pixel (x, y, x, y) inside."""
    size_xy = np.array(plane.shape_hw)[[1, 0]]
    corners = []
    for box in prompts:
        if isinstance(box, Box):
            xy = plane.points(box.corners_ras())
            # A side lies on the outer face of the first pixel, half a pixel from its centre.
            low, high = np.maximum(xy.min(axis=0) + 0.5, 0), np.minimum(xy.max(axis=0) - 0.5, size_xy - 1)
            middle = (low + high) / 2
            corners.append(np.concatenate([np.minimum(low, middle), np.maximum(high, middle)]))
    return np.array(corners).reshape(-1, 4)


def strokes_on(plane: Slice, prompts: Sequence[Prompt]) -> BoolArray | None:
    """Return the pixels that scribbles mark, (2, h, w), positive ones first; None without scribbles."""
    scribbles = [prompt for prompt in prompts if isinstance(prompt, Scribble | VoxelScribble)]
    if not scribbles:
        return None
    strokes = np.zeros((2, *plane.shape_hw), dtype=bool)
    for scribble in scribbles:
        patch = rasterize(scribble, plane.grid)
        strokes[0 if scribble.positive else 1][patch.extent.slices[1:]] |= patch.mask_kji.any(axis=0)
    return strokes


def _nearest_box(points_xy: FloatArray, boxes_xyxy: FloatArray) -> IntArray:
    """Return the index of the box that each point is in or nearest to: (n,)."""
    outside = np.maximum(boxes_xyxy[:, :2] - points_xy[:, None], points_xy[:, None] - boxes_xyxy[:, 2:])
    return np.asarray(np.linalg.norm(np.maximum(outside, 0), axis=2).argmin(axis=1))


def _logits_to_refine(
    plane: Slice, boxes: FloatArray, count: int, record: SliceRecord | None
) -> tuple[NDArray[Any], ...]:
    if record is None or len(record.logits) != count:
        return ()
    are_the_same = count == 1 or np.array_equal(boxes_on(plane, record.prompts), boxes)
    return record.logits if are_the_same else ()
