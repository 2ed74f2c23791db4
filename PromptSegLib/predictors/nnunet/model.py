"""Networks of nnU-Net's second version at work: folds together, logits added up in half precision, labels back.

Where the sums of all outputs of all folds fit into `KEPT_BYTES`, answers are to the last bit those of nnU-Net. Else
folds are averaged tile by tile, and the outputs asked for, and the strongest other, alone are added up; see
`with_strongest_other`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from PromptSegLib.bitmask import Patch
from PromptSegLib.cancel import CancelToken, Progress, no_progress
from PromptSegLib.errors import PredictionError
from PromptSegLib.geometry import AxisMap, Extent, Float32Array
from PromptSegLib.predictors.names.model import Inference, TurnedImage, finite_or_zero, turn_spacing, turn_to_ras
from PromptSegLib.predictors.names.tiling import slabs_of_probabilities, with_strongest_other
from PromptSegLib.predictors.nnunet.configuration import Configuration
from PromptSegLib.predictors.nnunet.labels import Labels
from PromptSegLib.predictors.nnunet.layers import layers_of_image
from PromptSegLib.predictors.nnunet.preparation import prepare
from PromptSegLib.predictors.torch_device import OnDevice
from PromptSegLib.volume import Volume

KEPT_BYTES = 512 * 2**20
_BYTES_OF_A_SUM = 2


@dataclass(frozen=True)
class Stage:
    """One network, or one of a cascade, in the folds that there are.

    networks: of one architecture. mirror_axes: those along which it was trained to be mirrored, of its tile.
    """

    configuration: Configuration
    networks: Sequence[nn.Module]
    mirror_axes: tuple[int, ...] = ()


class NnUNetModel:
    """Finds the labels of images by one stage, or by the stages of a cascade, the first one first."""

    def __init__(self, stages: Sequence[Stage], labels: Labels, device: str, inference: Inference) -> None:
        self.on_device = OnDevice(nn.ModuleList(nn.ModuleList(stage.networks) for stage in stages), device)
        self.stages = [replace(stage, networks=()) for stage in stages]
        self.labels = labels
        self.inference = inference

    def prepared(self, volumes: Sequence[Volume], cancel: CancelToken, progress: Progress = no_progress) -> TurnedImage:
        """Return the image as the last stage wants it, which takes answers of all stages before."""
        prepared = _prepared(self.stages[0].configuration, volumes, None, cancel)
        for number, stage in enumerate(self.stages[1:]):
            labels = np.zeros(prepared.image.shape_kji, np.int32)
            labels[prepared.image.crop.slices] = self._labels(number, prepared, None, None, cancel, progress)
            found = np.ascontiguousarray(prepared.turn.to_source(labels))
            prepared = _prepared(stage.configuration, volumes, (found, self.labels.foreground), cancel)
        return prepared

    def find(
        self, prepared: TurnedImage, names: Sequence[str], box: Extent | None, cancel: CancelToken, progress: Progress
    ) -> Iterator[Patch]:
        """Return where each of the classes `names` is, on the grid of the original image, within `box` at least."""
        asked = [self.labels.values[name] for name in names]
        wanted = sorted({label for labels in asked for label in labels})
        labels = self._labels(len(self.stages) - 1, prepared, wanted, box, cancel, progress)
        return prepared.patches(labels, asked)

    def probabilities(self, prepared: TurnedImage, cancel: CancelToken, progress: Progress) -> Float32Array:
        """Return the probabilities of all outputs on the original's grid, (output, k, j, i).

        Of labels they add up to 1, the background's first; of regions each is between 0 and 1 by itself.
        """
        image, order = prepared.image, self.labels.order
        every = np.zeros((self.labels.outputs, *image.shape_kji), np.float32)
        if order is None:
            every[0] = 1
        inside = every[:, *image.crop.slices]
        answers = self.stages[-1].configuration.answers
        slabs = self._slabs(len(self.stages) - 1, prepared, None, None, cancel, progress)
        for k, (_, layer) in enumerate(layers_of_image(slabs, image, answers, cancel)):
            logits = layer.float()
            inside[:, k] = (logits.softmax(dim=0) if order is None else logits.sigmoid()).numpy()
        return np.stack([np.ascontiguousarray(prepared.turn.to_source(one)) for one in every])

    # Within

    def _labels(
        self,
        stage: int,
        prepared: TurnedImage,
        wanted: Sequence[int] | None,
        box: Extent | None,
        cancel: CancelToken,
        progress: Progress,
    ) -> NDArray[Any]:
        """The labels of the crop, turned; where `wanted` are given, others may be missing."""
        order = self.labels.order
        # Regions paint over one another: each has its say. With all labels asked for, nothing would be saved.
        some = None
        if order is None and wanted is not None and not self._keeps_all(stage, prepared):
            some = wanted if len(wanted) + 2 < self.labels.outputs else None
        slabs = self._slabs(stage, prepared, some, None if box is None else prepared.extent(box), cancel, progress)
        crop = prepared.image.crop.shape_kji
        kind = np.uint8 if max([self.labels.outputs, *(order or ())]) < 256 else np.uint16
        numbers = np.array([0, *some] if some is not None else range(self.labels.outputs), kind)
        labels = np.empty(crop, kind)
        answers = self.stages[stage].configuration.answers
        for k, (outputs, layer) in enumerate(
            layers_of_image(slabs, prepared.image, answers, cancel, may_win=order is None)
        ):
            if order is not None:
                labels[k] = _painted(layer.float(), order)
            else:
                labels[k] = numbers[outputs[layer.argmax(dim=0)].numpy()]
        return labels

    def _keeps_all(self, stage: int, prepared: TurnedImage) -> bool:
        """Whether the sums of all outputs of all folds may be held."""
        tile = self.stages[stage].configuration.tile
        _, *across = np.maximum(prepared.image.data.shape[1:], tile).tolist()
        held = _BYTES_OF_A_SUM * self.labels.outputs * tile[0] * across[0] * across[1]
        return bool(held * len(self._folds(stage)) <= KEPT_BYTES)

    def _folds(self, stage: int) -> Sequence[nn.Module]:
        stages = self.on_device.network
        assert isinstance(stages, nn.ModuleList)
        return list(stages[stage].children())

    def _slabs(
        self,
        stage: int,
        prepared: TurnedImage,
        some: Sequence[int] | None,
        wanted: Extent | None,
        cancel: CancelToken,
        progress: Progress,
    ) -> Iterator[Tensor]:
        """The folds' mean logits : (output, n, j, i), half precision; of `some` as `with_strongest_other` has them."""
        how, folds = self.stages[stage], self._folds(stage)
        axes = [axis + (1 if how.configuration.is_of_slices else 0) for axis in how.mirror_axes]
        mirror_axes = axes if self.inference.mirror else []
        data = torch.from_numpy(prepared.image.data)

        def of(networks: Sequence[nn.Module], report: Progress) -> Iterator[Tensor]:
            def predict(tile: Tensor) -> Tensor:
                return self.on_device.run(lambda: self._answer(networks, tile, mirror_axes, some))

            return slabs_of_probabilities(
                data,
                predict,
                how.configuration.tile,
                step=self.inference.step,
                gaussian=self.inference.gaussian,
                half=True,
                wanted=wanted,
                cancel=cancel,
                progress=report,
            )

        if not self._keeps_all(stage, prepared):
            return map(_checked, of(folds, progress))
        # Side by side: each fold's own sums are rounded, then their mean, as where folds are run one after the other.
        runs = [of([fold], no_progress) for fold in folds[:-1]] + [of(folds[-1:], progress)]
        return (_checked(_mean(slabs)) for slabs in zip(*runs, strict=True))

    def _answer(
        self, networks: Sequence[nn.Module], tile: Tensor, mirror_axes: Sequence[int], some: Sequence[int] | None
    ) -> Tensor:
        """The mean logits of `networks` for a tile : (1, channel, a, b, c), (1, output, a, b, c), on the CPU."""
        tile = tile.to(self.on_device.device)
        total: Tensor | None = None
        with self.on_device.autocast():
            for network in networks:
                answer = mirrored_mean(network, tile, mirror_axes)
                total = answer if total is None else total.add_(answer)
        assert total is not None
        if len(networks) > 1:
            total /= len(networks)
        return (total if some is None else with_strongest_other(total, some)).float().cpu()


def mirrored_mean(network: nn.Module, tile: Tensor, mirror_axes: Sequence[int]) -> Tensor:
    """The mean logits : (1, output, a, b, c) over all mirrorings; a tile of one layer goes to a network of slices."""
    of_slices = tile.shape[2] == 1 and _is_of_slices(network)

    def answer(values: Tensor) -> Tensor:
        found: Tensor = network(values[:, :, 0])[:, :, None] if of_slices else network(values)
        return found

    total = answer(tile).float()
    mirrorings = [axes for n in range(1, len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]
    for axes in mirrorings:
        dims = [axis + 2 for axis in axes]
        total += answer(tile.flip(dims)).flip(dims)
    return total.div_(len(mirrorings) + 1) if mirrorings else total


def _is_of_slices(network: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


def _prepared(
    configuration: Configuration,
    volumes: Sequence[Volume],
    previous: tuple[NDArray[Any], Sequence[int]] | None,
    cancel: CancelToken,
) -> TurnedImage:
    """The image as one stage wants it. previous: labels on the original's grid, and those that the network sees."""
    grid = volumes[0].grid
    turn = turn_to_ras(grid) if configuration.turns_to_ras else AxisMap((0, 1, 2), (1, 1, 1), (0, 0, 0))
    turn = turn.reordered(configuration.transpose)
    arrays = [turn.from_source(np.array(finite_or_zero(volume.array), np.float32, order="C")) for volume in volumes]
    turned = None if previous is None else (turn.from_source(previous[0]), previous[1])
    return TurnedImage(prepare(arrays, turn_spacing(grid, turn), configuration, turned, cancel), turn)


def _mean(slabs: Sequence[Tensor]) -> Tensor:
    """The mean of the folds' logits, rounded at each step as nnU-Net has it."""
    if len(slabs) == 1:
        return slabs[0]
    total = slabs[0].clone()
    for slab in slabs[1:]:
        total += slab
    return total.div_(len(slabs))


def _checked(slab: Tensor) -> Tensor:
    if torch.isinf(slab).any():
        raise PredictionError("expected logits below 1,000, got larger ones: half precision cannot add them up")
    return slab


def _painted(logits: Tensor, order: Sequence[int]) -> NDArray[Any]:
    """The label of each pixel of `logits` : (region, j, i): that of the last region which is likelier than not."""
    labels = np.zeros(logits.shape[1:], np.int64)
    for probability, label in zip(logits.sigmoid().numpy(), order, strict=True):
        labels[probability > 0.5] = label
    return labels
