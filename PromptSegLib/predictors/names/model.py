"""A network of named structures at work: images as its plan wants them, tiles over them, labels back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import AxisMap, Extent, Grid
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.names.label_export import labels_from_slabs
from PromptSegLib.predictors.names.named_places import NOWHERE
from PromptSegLib.predictors.names.nnunet_preparation import PreparedImage, prepare
from PromptSegLib.predictors.names.plan import Plan
from PromptSegLib.predictors.names.tiling import (
    class_probabilities,
    slabs_of_probabilities,
    with_strongest_other,
)
from PromptSegLib.predictors.torch_device import OnDevice
from PromptSegLib.volume import Volume

KEPT_BYTES = 256 * 2**20

# Tiles see this much more than a box, in voxels of the network: labels there follow from both neighbours.
_MARGIN = 2


@dataclass(frozen=True)
class Inference:
    """How tiles are laid over an image and weighed.

    step: their distance, at most, as a fraction of the tile. mirror: take the mean over the eight mirrorings of
    each, as where the published networks were measured: a little better, eight times slower. gaussian: weigh the
    middle of a tile more.
    """

    step: float = 0.5
    mirror: bool = False
    gaussian: bool = True


class TurnedImage:
    """An image as a network wants it, on a lattice of the image's voxels with other axes first or other directions.

    image: of the turned arrays. turn: from the original's voxels to theirs.
    """

    def __init__(self, image: PreparedImage, turn: AxisMap) -> None:
        self.image = image
        self.turn = turn

    def extent(self, box: Extent) -> Extent:
        """Return the voxels of the prepared image that decide about those of `box`, in the original."""
        crop, shape = self.image.crop, self.image.data.shape[1:]
        inside = self.turn.extent(box).intersection(crop).shifted([-n for n in crop.start_kji])
        scale = np.divide(shape, crop.shape_kji)
        first = np.floor(np.multiply(inside.start_kji, scale)).astype(int) - _MARGIN
        stop = np.ceil(np.multiply(inside.stop_kji, scale)).astype(int) + _MARGIN
        found = Extent(tuple(first.tolist()), tuple(stop.tolist()))
        return found.intersection(Extent.of_shape(shape))

    def patches(self, labels: NDArray[Any], wanted: Sequence[int | Sequence[int]]) -> Iterator[Patch]:
        """Yield where `labels` of the crop, turned, are each of `wanted`, or one of several, in the original."""
        to_image = self.turn.inverse
        for label in wanted:
            mask = labels == label if isinstance(label, int) else np.isin(labels, label)
            box = Extent.of_mask(mask)
            if box is None:
                yield NOWHERE
                continue
            turned = np.ascontiguousarray(self.turn.to_source(mask[box.slices]))
            yield Patch(to_image.extent(box.shifted(self.image.crop.start_kji)), turned)


class PlannedImage(TurnedImage):
    """An image as a plan wants it. Arrays are turned to RAS order first, unless the plan says otherwise."""

    def __init__(self, volumes: Sequence[Volume], plan: Plan, cancel: CancelToken) -> None:
        self.plan = plan
        turn = turn_to_ras(volumes[0].grid)
        if plan.transpose is not None:
            turn = AxisMap((0, 1, 2), (1, 1, 1), (0, 0, 0)).reordered(plan.transpose)
        arrays = []
        for volume in volumes:
            cancel.check()
            arrays.append(finite_or_zero(turn.from_source(volume.array)))
        spacing = turn_spacing(volumes[0].grid, turn)
        super().__init__(prepare(arrays, spacing, plan.spacing_kji_mm, plan.normalisations, plan.masked), turn)


class ClassModel:
    """Runs `network`, which answers (1, channel, *tile) values with (1, class, *tile) logits."""

    def __init__(self, network: nn.Module, device: str, inference: Inference) -> None:
        self.on_device = OnDevice(network, device)
        self.inference = inference

    def find(
        self,
        prepared: PlannedImage,
        asked: Sequence[int],
        box: Extent | None,
        logits: Callable[[nn.Module, Tensor], Tensor],
        cancel: CancelToken,
        progress: Progress,
    ) -> Iterator[Patch]:
        """Return where each of the output channels `asked` is the likeliest, on the grid of the original image.

        box: voxels of the original to be answered for, all by default. logits: calls the network.

        Only tiles that see the box are looked at. Where sums of all outputs would take more than KEPT_BYTES, those
        asked for, and the strongest other, alone are added up: see `with_strongest_other` for what that changes.
        """
        plan, data = prepared.plan, prepared.image.data
        inference, on_device = self.inference, self.on_device
        mirror_axes = (0, 1, 2) if inference.mirror else ()
        outputs = 1 + len(plan.classes)
        thickness, *across = np.maximum(data.shape[1:], plan.tile).tolist()
        keeps_all = 4 * outputs * min(thickness, plan.tile[0]) * across[0] * across[1] <= KEPT_BYTES

        def answer(tile: Tensor) -> Tensor:
            def network(values: Tensor) -> Tensor:
                with on_device.autocast():
                    return logits(on_device.network, values).float()

            every = class_probabilities(network, tile.to(on_device.device), mirror_axes=mirror_axes)
            every = every[:, :outputs]
            # Summed up on the CPU: a GPU's memory is the network's, and may run out between two tiles.
            return (every if keeps_all else with_strongest_other(every, asked)).cpu()

        slabs = slabs_of_probabilities(
            torch.from_numpy(data),
            lambda tile: on_device.run(lambda: answer(tile)),
            plan.tile,
            step=inference.step,
            gaussian=inference.gaussian,
            wanted=None if box is None else prepared.extent(box),
            cancel=cancel,
            progress=progress,
        )
        labels = labels_from_slabs(
            slabs,
            data.shape[1:],
            prepared.image.crop.shape_kji,
            thick_axis=prepared.image.thick_axis,
            cancel=cancel,
        )
        return prepared.patches(labels, asked if keeps_all else range(1, 1 + len(asked)))


def turn_to_ras(grid: Grid) -> AxisMap:
    """Return the map to the same voxels as an array (z, y, x), towards Superior, Anterior and Right."""
    turn = AxisMap.between(grid, AlignedSampling.in_ras_order(grid).grid.ijk_to_ras)
    assert turn is not None
    return turn


def turn_spacing(grid: Grid, turn: AxisMap) -> list[float]:
    """Return the size of the grid's voxels along the axes of its turned array, in mm."""
    spacing = grid.spacing_kji_mm.tolist()
    return [spacing[axis] for axis in turn.inverse.axes]


def finite_or_zero(array: NDArray[Any]) -> NDArray[Any]:
    """Return `array` with 0 for what is no number."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    return np.where(np.isfinite(array), array, 0)
