"""What others than the network make of the prompts: each shifts the network's odds, where that has shown to help."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from PromptSegLib.bitmask import BitMask
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent, Float32Array
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.predictors.default.appearance import appearance_of
from PromptSegLib.predictors.default.classical import ClassicalPredictor
from PromptSegLib.predictors.default.level_sets import filling_of
from PromptSegLib.predictors.default.prompt_maps import PromptMaps
from PromptSegLib.predictors.default.refinement import nearer_strokes
from PromptSegLib.predictors.default.scale_choice import Look
from PromptSegLib.predictors.default.seen_image import SeenImage
from PromptSegLib.predictors.default.tuning import TUNED


@dataclass(frozen=True, eq=False)
class Opinions:
    """Those on one state of one target.

    is_first: nothing was there before the prompt. is_boxed: a positive 3D box says where the structure may be.
    is_drawn: the newest prompt is a stroke or lasso. is_contrast: it is the first stroke of the other sign, in a slice.
    """

    seen: SeenImage
    state: TargetState
    cancel: CancelToken
    is_first: bool
    is_boxed: bool
    is_drawn: bool
    is_contrast: bool

    def shift(self, look: Look, maps: PromptMaps, progress: Progress) -> Look:
        """Return `look`, the network's of `maps`, with the odds shifted towards what the others say."""
        network = look
        is_boxed_slice = self.is_boxed and self.seen.dims == 2
        if self.is_first and self.is_boxed:
            look = self.of_level_sets(look, maps)
        if (self.is_first or self.is_drawn) and not is_boxed_slice:
            weight = TUNED.opinion_of_strokes if self.is_drawn else TUNED.opinion_of_clicks
            look = look.shifted(weight * self._of_classical(look.roi, progress))
        if self.is_contrast and maps.positive.any() and maps.negative.any():
            look = self.of_strokes(look, network, maps)
        return look

    def of_level_sets(self, look: Look, maps: PromptMaps) -> Look:
        """Return `look`, of a box, shifted by the image's level sets, and by what the network makes of the best one."""
        roi, box = look.roi, Extent.of_mask(maps.box > 0)
        found = filling_of(maps.image[box.slices], expit(look.logits[box.slices])) if box is not None else None
        if box is None or found is None:
            return look
        self.cancel.check()
        opinion, best = np.zeros((2, *roi.shape_kji), dtype=np.float32)
        opinion[box.slices], best[box.slices] = 2 * found.likelihood - 1, found.best
        again = self.seen.logits(replace(maps, previous=best))
        return look.shifted(TUNED.opinion_of_level_sets * opinion + TUNED.on_second_thought * (again - look.logits))

    def of_strokes(self, look: Look, network: Look, maps: PromptMaps) -> Look:
        """Return `look` shifted by what strokes of both signs say by themselves; network: what it said of all maps."""
        positive, negative = maps.positive > 0, maps.negative > 0
        if not self.is_first:
            anew = self.seen.logits(replace(maps, previous=np.zeros_like(maps.previous)))
            look = look.shifted(TUNED.anew * (anew - network.logits))
            self.cancel.check()
        look = look.shifted(TUNED.opinion_of_places * nearer_strokes(maps.image, positive, negative))
        self.cancel.check()
        likeness = appearance_of(maps.image, positive, negative, expit(look.logits))
        return look.shifted(TUNED.opinion_of_looks * (2 * likeness - 1))

    def _of_classical(self, roi: Roi, progress: Progress) -> Float32Array:
        """Return -1 to 1 on the working grid: what the classical predictor makes of all prompts at once."""
        image, anew = self.seen.image, replace(self.state, mask=None)
        opinion = np.zeros(roi.shape_kji, dtype=np.float32)
        for prediction in ClassicalPredictor().predict(image, anew, self.cancel, progress):
            patch = prediction.patches[self.state.target]
            mask = BitMask(image.grid.shape_kji)
            mask.write(patch.extent, patch.mask_kji)
            opinion = 2 * roi.read_mask(mask) - 1
        return opinion
