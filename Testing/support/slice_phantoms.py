"""Images whose structures are known to the voxel, and a predictor of slices that sees exactly these."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PromptSegLib.geometry import Grid, flip_axes
from PromptSegLib.imaging.windowing import IntensityRule
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.slices.model import ObjectAnswer
from PromptSegLib.predictors.slices.predictor import SlicePredictor
from PromptSegLib.volume import Volume


def affine(spacing=(1.0, 1.0, 1.0), turned_deg=0.0, signs=(1, 1, 1), order=(0, 1, 2), origin=(3.0, -7.0, 11.0)):
    """Return ijk_to_ras: axes in another order, flipped, then turned about (1, 2, 3)."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    angle = np.deg2rad(turned_deg)
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(3) * np.cos(angle) + cross * np.sin(angle) + np.outer(axis, axis) * (1 - np.cos(angle))
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag(signs)[:, list(order)] * spacing
    matrix[:3, 3] = origin
    return matrix


def centres_ras(grid: Grid):
    """Return the (k, j, i, 3) centres of the voxels, mm."""
    return grid.to_ras(flip_axes(np.stack(np.indices(grid.shape_kji), axis=-1)))


def middle_ras(grid: Grid):
    return grid.to_ras(flip_axes(np.array(grid.shape_kji) - 1) / 2)


def ball(grid: Grid, center_ras, radius_mm):
    """Return the voxels whose centre is in a ball: (k, j, i), bool."""
    return np.linalg.norm(centres_ras(grid) - center_ras, axis=-1) <= radius_mm


def tube(grid: Grid, start_ras, end_ras, radius_mm):
    """Return the voxels of a tube with flat ends."""
    offsets, axis = centres_ras(grid) - start_ras, np.subtract(end_ras, start_ras)
    along = offsets @ axis / (axis @ axis)
    across = np.linalg.norm(offsets - along[..., None] * axis, axis=-1)
    return (across <= radius_mm) & (along >= 0) & (along <= 1)


def coloured(grid: Grid, *structures):
    """Return a volume in which the first structure is red, the second green and the third blue."""
    array = np.zeros((*grid.shape_kji, 3), dtype=np.uint8)
    for channel, structure in enumerate(structures):
        array[structure, channel] = 255
    return Volume(array, grid.ijk_to_ras)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


class PerfectModel:
    """Sees what is red, green and blue, and answers with the parts of one colour that its prompts mean.

    The colour is the one under most of the mask, or under most positive points, or in most of the box. Its parts
    are those that have a positive point, or more than half of which are in the box. Counts what it is asked.
    """

    fingerprint = "perfect"
    batch = 1
    note = ""
    device = "cpu"

    def __init__(self):
        self.embedded = 0
        self.asked = []

    def embed(self, images, cancel):
        cancel.check()
        self.embedded += len(images)
        return [image.copy() for image in images]

    def answer(self, embedding, shape_hw, objects):
        assert embedding.shape == (*shape_hw, 3)
        self.asked.append(objects)
        return [ObjectAnswer(self.mask(embedding > 127, one), 0.9, np.zeros((4, 4))) for one in objects]

    def mask(self, colours, prompts):
        x, y = np.rint(prompts.points_xy[prompts.labels == 1]).astype(int).T
        height, width = colours.shape[:2]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x, y = x[inside], y[inside]
        in_box = np.zeros((height, width), dtype=bool)
        if prompts.box_xyxy is not None:
            x0, y0, x1, y1 = np.rint(prompts.box_xyxy).astype(int)
            in_box[y0 : y1 + 1, x0 : x1 + 1] = True
        hints = (colours[prompts.mask] if prompts.mask is not None else (), colours[y, x], colours[in_box])
        votes = next((np.sum(hint, axis=0) for hint in hints if len(hint) and np.any(hint)), np.zeros(3))
        parts, count = ndimage.label(colours[..., votes.argmax()] if votes.any() else np.zeros(in_box.shape))
        meant = set(parts[y, x].tolist())
        for part in range(1, count + 1):
            if in_box[parts == part].mean() > 0.5:
                meant.add(part)
        return np.isin(parts, list(meant - {0}))


class PerfectPredictor(SlicePredictor):
    """See `PerfectModel`. What it answers is in `model`."""

    capabilities = Capabilities(
        name="perfect",
        title="Perfect",
        summary="sees colours",
        dimensions=frozenset({2}),
        prompts=frozenset({"point+", "point-", "box2d+", "scribble+", "scribble-", "mask"}),
        code_license="Apache-2.0",
    )
    intensities = IntensityRule()

    def __init__(self, **changes):
        super().__init__(cache=EmbeddingCache())
        self.model = PerfectModel()
        for name, value in changes.items():
            setattr(self.model, name, value)

    def published(self):
        return self.model

    def model_of(self, network):
        return network
