"""VISTA3D (arXiv:2406.05285) by MONAI's own network: classes and clicks in CT, in one model.

A class is found in the whole image. Clicks on what is there correct it: only parts that hang together with a click
change. Clicks alone segment what is clicked on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from PromptSegLib.bitmask import BitMask, Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import PromptError, VolumeError
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.names.found_structures import FoundStructures
from PromptSegLib.predictors.names.modality import modality_of
from PromptSegLib.predictors.names.named_places import NOWHERE, part_at
from PromptSegLib.predictors.naming import class_named
from PromptSegLib.predictors.vista3d.classes import NUMBERS, PARTS
from PromptSegLib.predictors.weighted import WeightedPredictor
from PromptSegLib.prompts import Box, ClassPrompt, Point, Prompt
from PromptSegLib.volume import Image

if TYPE_CHECKING:
    import numpy as np
    from monai.networks.nets.vista3d import VISTA3D
    from numpy.typing import NDArray

    from PromptSegLib.imaging.aligned_sampling import AlignedSampling
    from PromptSegLib.predictors.vista3d.model import Vista3dModel


@dataclass(eq=False)
class _VistaImage:
    """An image as the network wants it, (x, y, z), where it lies, and what was found in it."""

    values: NDArray[np.float32]
    sampling: AlignedSampling
    found: FoundStructures
    note: str


@dataclass(frozen=True, eq=False)
class _Before:
    """A target's mask before the clicks that correct it: they are answered together, from there."""

    mask: BitMask | None


class Vista3d(WeightedPredictor["Vista3dModel"]):
    """See `WeightedPredictor` for the arguments. tile: of the network, in voxels."""

    capabilities = Capabilities.published(
        "vista3d",
        title="VISTA3D",
        summary="127 structures and lesions in CT by their names, and clicks on them and on others",
        dimensions=frozenset({3}),
        prompts=frozenset({"class", "point+", "point-", "box3d+", "mask"}),
        classes=tuple(NUMBERS),
        corrects=True,
        devices=("cuda", "cpu"),
    )
    tile: ClassVar[tuple[int, int, int]] = (128, 128, 128)

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> _VistaImage:
        """Prepare the image for the network.

        Raises:
            VolumeError: for colour.
        """
        from PromptSegLib.predictors.vista3d.preparation import prepare

        volume = image.reference
        if volume.components > 1:
            raise VolumeError(f"expected one value in each voxel for {self.capabilities.name!r}, got {volume!r}")
        progress(0.0, "preparing the image")
        modality, _ = modality_of(image)
        note = "" if modality == "ct" else "made for CT in HU: this image seems to be something else"
        values, sampling = prepare(volume.finite(), volume.grid)
        return _VistaImage(values, sampling, FoundStructures(volume.grid), note)

    def predict(
        self, encoding: _VistaImage, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer all targets asked for: their classes in one run of the tiles, then the clicks of each.

        Raises:
            PromptError: for a target with neither a class nor a click.
            Cancelled: somebody asked for that.
        """
        started = time.perf_counter()
        classes = {target: self._class_among(prompts) for target, prompts in state.asked.items()}
        for target, prompts in state.asked.items():
            if classes[target] is None and not _points(prompts):
                raise PromptError(f"expected a class or a click for {target!r}, got neither")
        before = {target: self._before(target, state, classes[target]) for target in state.asked}
        wanted = [classes[target] for target in state.asked if before[target] is None]
        self._find([name for name in wanted if name is not None], encoding, cancel, progress)
        timings_ms = {"tiles": 1000 * (time.perf_counter() - started)}
        for target, prompts in state.asked.items():
            cancel.check()
            patch, feedback = self._answer(encoding, prompts, classes[target], before[target], cancel)
            device = self.loaded().on_device
            nothing = "" if patch.mask_kji.size else "nothing was found there"
            note = "; ".join(filter(None, [encoding.note, nothing, device.note]))
            yield Prediction(
                {target: patch}, None, timings_ms, note, feedback, device=str(device.device), replaces=True
            )
            timings_ms = {}

    def build(self) -> VISTA3D:
        """Return the network, with numbers of no meaning: it computes some when it is made."""
        from monai.networks.nets.vista3d import vista3d132

        network: VISTA3D = vista3d132()
        return network

    def published(self) -> VISTA3D:
        from PromptSegLib.predictors.published import filled

        return filled(self.build(), self.state_dict())

    def model_of(self, network: VISTA3D) -> Vista3dModel:
        from PromptSegLib.predictors.vista3d.model import Vista3dModel

        return Vista3dModel(network, self._device, self.tile)

    # Within

    def _class_among(self, prompts: Sequence[Prompt]) -> str | None:
        """The newest class that a target asks for."""
        names = [prompt.name for prompt in prompts if isinstance(prompt, ClassPrompt)]
        return class_named(self.capabilities, names[-1]) if names else None

    def _before(self, target: str, state: TargetState, name: str | None) -> _Before | None:
        """What a target's clicks correct: what it was before them; None for what its class is found to be."""
        if not _points(state.asked[target]):
            return None
        if target == state.target and isinstance(state.feedback, _Before):
            return state.feedback
        is_drawn_anew = state.redraw and state.mask_is_given
        mask = state.mask if target == state.target and not is_drawn_anew else None
        return None if mask is None and name is not None else _Before(mask)

    def _find(self, names: Sequence[str], encoding: _VistaImage, cancel: CancelToken, progress: Progress) -> None:
        missing = encoding.found.missing([part for name in names for part in PARTS.get(name, (name,))])
        if missing:
            numbers = [NUMBERS[part] for part in missing]
            masks = self.loaded().class_masks(encoding.values, encoding.sampling, numbers, cancel, progress)
            for part, mask in zip(missing, masks, strict=True):
                encoding.found.keep(part, mask)

    def _answer(
        self,
        encoding: _VistaImage,
        prompts: Sequence[Prompt],
        name: str | None,
        before: _Before | None,
        cancel: CancelToken,
    ) -> tuple[Patch, _Before | None]:
        points, boxes = _points(prompts), [prompt for prompt in prompts if isinstance(prompt, Box)]
        if before is None:
            assert name is not None
            found = encoding.found.patch(PARTS.get(name, (name,)), [])
            mask = BitMask(encoding.sampling.image.shape_kji)
            mask.write(found.extent, found.mask_kji)
            before = _Before(mask)
            if not points:
                return part_at(found, boxes, encoding.sampling.image), None
        corrected = self._corrected(encoding, points, name, before.mask, cancel)
        return part_at(corrected, boxes, encoding.sampling.image), before

    def _corrected(
        self,
        encoding: _VistaImage,
        points: Sequence[Point],
        name: str | None,
        mask: BitMask | None,
        cancel: CancelToken,
    ) -> Patch:
        """Return the mask after the clicks, in a box that holds all of it."""
        from PromptSegLib.predictors.vista3d.click_merging import merged

        number = NUMBERS[name] if name is not None and name not in PARTS else None
        answer, answered = self.loaded().click_masks(encoding.values, encoding.sampling, points, number, cancel)
        before = mask or BitMask(answer.shape_kji)
        extent = answered.bounds() or NOWHERE.extent
        extent = extent.union(before.bounds())
        if not extent.size:
            return NOWHERE
        grid = encoding.sampling.image.cropped(extent)
        return Patch(extent, merged(before.read(extent), answer.read(extent), answered.read(extent), points, grid))


def _points(prompts: Sequence[Prompt]) -> list[Point]:
    return [prompt for prompt in prompts if isinstance(prompt, Point)]
