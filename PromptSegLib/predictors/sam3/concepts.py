"""SAM 3's words, an experiment: what a text names on the slices of a volume, each seen as a picture.

The network learned from photographs; on radiology its text mode alone degrades (arXiv:2601.10880). A click or a box
beside the text says where to look: on the click's slice, on the box's slices. Without one all slices are looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.bitmask import BitMask, Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent, flip_axes
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.imaging.windowing import IntensityRule, as_rgb
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.names.found_structures import names_asked, places_in
from PromptSegLib.predictors.names.named_places import NOWHERE, part_at
from PromptSegLib.predictors.slices.slices import ArraySlice
from PromptSegLib.predictors.weighted import WeightedPredictor
from PromptSegLib.prompts import Prompt, shown
from PromptSegLib.volume import Image, Volume
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    from PromptSegLib.predictors.sam3.concepts_model import ConceptModel

_WORDS = "clip-words"
NOTE = "experimental: SAM 3 learned words from photographs; look at what it found"


class Sam3Concepts(WeightedPredictor["ConceptModel"]):
    """Finds what words name, slice by slice, across the axis along which scanners stack slices.

    model: one to use in place of that with the published weights. checkpoint: of the network; the word pieces are the
    published ones. configuration: what the network is built with, see `sam3_detector`. The other arguments are
    `WeightedPredictor`'s.
    """

    capabilities = Capabilities.published(
        "sam3",
        _WORDS,
        name="sam3-text",
        title="SAM 3, words",
        summary="experimental: what a text names on slices; learned from photographs, poor on radiology",
        dimensions=frozenset({2}),
        prompts=frozenset({"text", "class", "point+", "box2d+", "box3d+"}),
        devices=("cuda", "mps", "cpu"),
        experimental=True,
    )
    intensities = IntensityRule()
    configuration: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(
        self,
        model: ConceptModel | None = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        checkpoint: Path | str | None = None,
    ) -> None:
        super().__init__(model, device=device, weights=weights, checkpoint=checkpoint)
        if model is None and self.capabilities.weights:
            self._weights.require(_WORDS)

    def published(self) -> ConceptModel:
        from PromptSegLib.predictors.published import with_weights_of_transformers
        from PromptSegLib.predictors.sam3.concepts_model import ConceptModel, read_merges
        from PromptSegLib.predictors.sam3.names import detector_from_published
        from PromptSegLib.predictors.sam3.network import sam3_detector

        weights = detector_from_published(self.state_dict())
        network = with_weights_of_transformers(lambda: sam3_detector(**self.configuration), weights)
        merges = read_merges(self._weights.path(_WORDS), network.config.text_config.vocab_size)  # type: ignore[union-attr]
        return ConceptModel(network, merges, self._device)

    def model_of(self, network: ConceptModel) -> ConceptModel:
        return network

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> Volume:
        """Load the network; slices are looked at when words are asked for."""
        self.loaded(progress)
        return image.reference

    def predict(
        self, encoding: Volume, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer all targets asked for, in one run through the slices that any of them wants."""
        started = time.perf_counter()
        texts = names_asked(state.asked, self.capabilities.name)
        places = {target: places_in(prompts) for target, prompts in state.asked.items()}
        wanted = {target: _slices(encoding, places[target]) for target in texts}
        masks = {target: BitMask(encoding.grid.shape_kji) for target in texts}
        surest = dict.fromkeys(texts, 0.0)
        model, axis = self.loaded(), _stacked(encoding)
        planes = sorted(set().union(*wanted.values()))
        for number, index in enumerate(planes):
            progress(number / len(planes), f"slice {number + 1} of {len(planes)}")
            plane = ArraySlice(encoding.grid, axis, index)
            pixels = plane.pixels(encoding)
            image = as_rgb(pixels, state.window or self.intensities.window(encoding, pixels))
            here = [target for target in texts if index in wanted[target]]
            for target, found in zip(here, model.find(image, [texts[one] for one in here], cancel), strict=True):
                patch = plane.patch(found.mask, masks[target])
                masks[target].write(patch.extent, patch.mask_kji)
                surest[target] = max(surest[target], found.score)
        timings_ms = {"slices": 1000 * (time.perf_counter() - started)}
        device = str(model.on_device.device)
        for target, text in texts.items():
            box = masks[target].bounds()
            everywhere = NOWHERE if box is None else Patch(box, masks[target].read(box))
            patch = part_at(everywhere, places[target], encoding.grid)
            nothing = "" if patch.mask_kji.size else f"{shown(text)} was not found there"
            note = "; ".join(filter(None, [NOTE, nothing, model.on_device.note]))
            yield Prediction({target: patch}, surest[target], timings_ms, note, device=device, replaces=True)
            timings_ms = {}


def _stacked(volume: Volume) -> int:
    """Return across which axis of the array (0 for i) slices are looked at: that of the largest voxels, or k."""
    if volume.grid.is_single_slice:
        return 2 - volume.grid.shape_kji.index(1)
    parts = (volume.grid.spacing_mm / volume.grid.spacing_mm.max()).round(6).tolist()
    return max(range(3), key=lambda axis: (parts[axis], axis))


def _slices(volume: Volume, places: Sequence[Prompt]) -> set[int]:
    """Return which slices of the stack to look at: those of `places`, or all."""
    around: Extent | None = None
    for place in places:
        extent = rasterize(place, volume.grid).extent
        around = extent if around is None else around.union(extent)
    extent = volume.grid.extent if around is None else around
    axis = _stacked(volume)
    return set(range(int(flip_axes(extent.start_kji)[axis]), int(flip_axes(extent.stop_kji)[axis])))
